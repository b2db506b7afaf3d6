// What may be reached below a directory: links, with and without openat2(), and what is no file.
#include "platform/directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "platform/file.h"
#include "support/files.h"

namespace pyre::platform {
namespace {

class Beneath : public ::testing::TestWithParam<bool> {
 protected:
  Beneath() {
    std::filesystem::create_directories(folder.path() / "root/sub/deep");
    folder.make_file("secret", "secret");
    folder.make_file("root/file", "file");
    folder.make_file("root/sub/deep/file", "deep");
    directory = std::move(Directory::open(folder.file("root").c_str()).value());
    if (old_kernel()) directory->pretend_old_kernel_for_tests();
  }
  static bool old_kernel() { return GetParam(); }
  void link(const char* target, std::string_view name) { ASSERT_EQ(::symlink(target, folder.file(name).c_str()), 0); }
  // 0, or the error.
  int open(const char* name) {
    const auto file = directory->open_beneath(name);
    if (!file.has_value()) return file.error().os_error;
    EXPECT_NE(::fcntl(file.value(), F_GETFD) & FD_CLOEXEC, 0);
    close_file(file.value());
    return 0;
  }
  const pyre::test::TemporaryFolder folder;
  std::unique_ptr<Directory> directory;
};

TEST_P(Beneath, files_and_folders_are_found) {
  EXPECT_EQ(open("file"), 0);
  EXPECT_EQ(open("sub/deep/file"), 0);
  EXPECT_EQ(open("sub"), 0);
  EXPECT_EQ(open(""), 0);
  EXPECT_EQ(open("none"), ENOENT);
  EXPECT_EQ(open("none/file"), ENOENT);
  EXPECT_EQ(open("file/file"), ENOTDIR);
  EXPECT_NE(open(std::string(300, 'a').append("/b").c_str()), 0);
}

TEST_P(Beneath, no_link_leads_out) {
  link("../secret", "root/relative");
  link(folder.file("secret").c_str(), "root/absolute");
  link("..", "root/up");
  link("/", "root/everything");
  link("sub/../../secret", "root/crooked");
  link("/proc/self/root", "root/magic");
  for (const char* name : {"relative", "absolute", "up", "up/secret", "everything", "everything/etc/passwd", "crooked",
                           "magic/etc/passwd"})
    EXPECT_NE(open(name), 0) << name;
}

TEST_P(Beneath, links_that_stay_below_are_followed_where_the_kernel_can_tell) {
  link("file", "root/same");
  link("sub/deep", "root/shortcut");
  link("../file", "root/sub/above");
  link("loop", "root/loop");
  for (const char* name : {"same", "shortcut/file", "sub/above"}) EXPECT_EQ(open(name) == 0, !old_kernel()) << name;
  EXPECT_EQ(open("loop"), ELOOP);
}

TEST_P(Beneath, it_does_not_wait_for_a_fifo) {
  ASSERT_EQ(::mkfifo(folder.file("root/fifo").c_str(), 0600), 0);
  EXPECT_EQ(open("fifo"), 0);
}

TEST_P(Beneath, it_means_the_directory_and_not_its_name) {
  std::filesystem::rename(folder.path() / "root", folder.path() / "elsewhere");
  EXPECT_EQ(open("file"), 0);
}

TEST_P(Beneath, what_is_there_is_never_known_to_be_missing) {
  EXPECT_NE(open("none/file"), 0);  // now the kernel remembers
  EXPECT_FALSE(directory->is_known_missing("file"));
  EXPECT_FALSE(directory->is_known_missing("sub"));
  EXPECT_FALSE(directory->is_known_missing(""));
  EXPECT_FALSE(old_kernel() && directory->is_known_missing("none/file"));
  folder.make_file("root/none", "");
  EXPECT_FALSE(directory->is_known_missing("none"));
}

INSTANTIATE_TEST_SUITE_P(Directory, Beneath, ::testing::Bool(),
                         [](const auto& of) { return of.param ? "on_an_old_kernel" : "with_openat2"; });

}  // namespace
}  // namespace pyre::platform
