#include "http/static_path.h"

#include <gtest/gtest.h>

#include "http/static_files.h"
#include "support/files.h"

namespace pyre::http {
namespace {

using namespace std::string_view_literals;

std::string decoded(std::string_view raw) {
  std::string out = "left over";
  decode_path(raw, out);
  return out;
}

TEST(StaticPath, is_decoded_once) {
  EXPECT_EQ(decoded("/a%20b"), "/a b");
  EXPECT_EQ(decoded("/%2e%2E/"), "/../");
  EXPECT_EQ(decoded("/%252e"), "/%2e");
  EXPECT_EQ(decoded("/a%00b"), "/a\0b"sv);
  for (const std::string_view raw : {"/%", "/%2", "/%zz", "/%-1", ""}) EXPECT_EQ(decoded(raw), raw);
}

TEST(StaticPath, slashes_at_the_ends_are_taken_off) {
  struct Case {
    std::string_view rest;
    std::string_view name;
    bool folder;
  };
  for (const Case& expected : {Case{"", "", false}, Case{"/", "", true}, Case{"/a", "a", false}, Case{"/a/", "a", true},
                               Case{"/a/b", "a/b", false}, Case{"/a/b/", "a/b", true}}) {
    const StaticName split = split_static_name(expected.rest);
    EXPECT_EQ(split.name, expected.name) << expected.rest;
    EXPECT_EQ(split.folder, expected.folder) << expected.rest;
  }
}

// As the rest of a path behind its route.
bool servable(std::string_view rest, bool windows) { return is_servable(split_static_name(rest).name, windows); }

TEST(StaticPath, good_names_are_servable) {
  for (const std::string_view rest :
       {"", "/", "/a", "/a.css", "/a/b/c.txt", "/a..b", "/a/b..", "/a b", "/\xc3\xa4", "/com", "/com10", "/console",
        "/a-", "/auxiliary.js", "/lpt/x", "/nullable.txt"}) {
    EXPECT_TRUE(servable(rest, false)) << rest;
    EXPECT_EQ(servable(rest, true), rest != "/a/b..") << rest;
  }
}

TEST(StaticPath, hostile_names_are_not) {
  for (const std::string_view rest : std::initializer_list<std::string_view>{
           "/..",    "/../",  "/../x",        "/a/../b",      "/a/..",          "/.",    "/./a",
           "/a/./b", "/.env", "/.git/config", "/a/.htaccess", "/.well-known/x", "/...",  "//",
           "//a",    "/a//b", "/a//",         "///",          "/a\0b"sv,        "/\0"sv, "/a/\0/b"sv}) {
    EXPECT_FALSE(servable(rest, false)) << rest;
    EXPECT_FALSE(servable(rest, true)) << rest;
  }
  EXPECT_FALSE(servable("/" + std::string(kMaxStaticName + 1, 'a'), false));
}

TEST(StaticPath, what_windows_makes_of_a_name_is_not_servable_there) {
  for (const std::string_view rest :
       {"/a\\b",          "/a\\..\\b", "/\\",       "/C:",       "/C:/x",       "/a.txt:stream",
        "/a.txt::$DATA",  "/a.",       "/a ",       "/a.txt.",   "/a. .",       "/a./b",
        "/dir /b",        "/nul",      "/NUL",      "/Nul.txt",  "/nul.tar.gz", "/con",
        "/aux/b",         "/a/prn",    "/com1",     "/COM9.log", "/lpt0",       "/com\xc2\xb9",
        "/LPT\xc2\xb3.x", "/conin$",   "/nul .txt", "/a*",       "/a?",         "/a<b",
        "/a|b",           "/a\"b",     "/a\tb"}) {
    EXPECT_FALSE(servable(rest, true)) << rest;
    EXPECT_TRUE(servable(rest, false)) << rest << " is a plain name on Linux";
  }
}

class Routes : public ::testing::Test {
 protected:
  void add(std::string_view prefix) { EXPECT_EQ(files.add(prefix, folder.file("").c_str()).code, platform::Errc::ok); }
  std::string match(std::string_view path) {
    const StaticFiles::Route* route = files.match(path);
    return route == nullptr ? "none" : route->prefix + "/";
  }
  const test::TemporaryFolder folder;
  StaticFiles files;
};

TEST_F(Routes, match_whole_segments) {
  add("/static");
  EXPECT_EQ(match("/static"), "/static/");
  EXPECT_EQ(match("/static/"), "/static/");
  EXPECT_EQ(match("/static/x"), "/static/");
  for (const std::string_view other : {"/staticx", "/stati", "/", "", "*", "/Static/x", "/x/static/x"})
    EXPECT_EQ(match(other), "none") << other;
}

TEST_F(Routes, the_longest_wins_whatever_came_first) {
  for (const std::string_view prefix : {"/a/b", "/", "/a", "/a/b/c/", "/other"}) add(prefix);
  EXPECT_EQ(match("/a/b/c/d"), "/a/b/c/");
  EXPECT_EQ(match("/a/b/cc"), "/a/b/");
  EXPECT_EQ(match("/a/x"), "/a/");
  EXPECT_EQ(match("/ax"), "/");
  EXPECT_EQ(files.match("/x")->falls_through(), true);
  EXPECT_EQ(files.match("/a")->falls_through(), false);
  add("/a/");
  EXPECT_EQ(files.routes().size(), 5U);
}

TEST_F(Routes, a_directory_that_is_none_is_an_error) {
  EXPECT_NE(files.add("/x", folder.file("none").c_str()).os_error, 0);
  EXPECT_NE(files.add("/x", folder.make_file("file", "").c_str()).os_error, 0);
  EXPECT_TRUE(files.routes().empty());
}

}  // namespace
}  // namespace pyre::http
