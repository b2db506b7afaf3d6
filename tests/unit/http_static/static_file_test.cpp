#include "http/static_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/files.h"

namespace pyre::http {
namespace {

class Load : public ::testing::Test {
 protected:
  Load() : directory(std::move(platform::Directory::open(folder.file("").c_str()).value())) {}
  FileSet load(std::string_view name, bool is_folder = false) {
    return FileSet::load(*directory, name, is_folder, {}, 1'795'280'459);
  }
  const test::TemporaryFolder folder;
  std::unique_ptr<platform::Directory> directory;
};

TEST_F(Load, a_small_file_is_in_memory_and_a_large_one_is_not) {
  folder.make_file("small", std::string(StaticFile::kMaxInMemory, 's'));
  folder.make_file("large", std::string(StaticFile::kMaxInMemory + 1, 'l'));
  const FileSet small = load("small");
  ASSERT_EQ(small.kind, FileSet::Kind::file);
  EXPECT_TRUE(small.variants[0]->in_memory());
  EXPECT_EQ(small.variants[0]->body(), std::string(StaticFile::kMaxInMemory, 's'));
  EXPECT_EQ(small.descriptors(), 0U);
  const FileSet large = load("large");
  ASSERT_EQ(large.kind, FileSet::Kind::file);
  EXPECT_FALSE(large.variants[0]->in_memory());
  EXPECT_EQ(large.variants[0]->size(), StaticFile::kMaxInMemory + 1);
  EXPECT_EQ(large.descriptors(), 1U);
}

TEST_F(Load, siblings_come_along_with_tags_of_their_own) {
  folder.make_file("a.css", "plain");
  folder.make_file("a.css.gz", "gz");
  folder.make_file("a.css.br", "br");
  const FileSet set = load("a.css");
  EXPECT_EQ(set.available(), 0b1011U);
  const StaticFile& br = *set.variants[static_cast<std::size_t>(Coding::br)];
  EXPECT_EQ(br.body(), "br");
  EXPECT_NE(br.lines().find("content-type: text/css; charset=utf-8\r\ncontent-encoding: br\r\n"), std::string::npos);
  EXPECT_NE(br.etag(), set.variants[0]->etag());
  for (const auto& variant : set.variants) {
    if (variant == nullptr) continue;
    EXPECT_NE(variant->cache_lines().find("vary: accept-encoding\r\n"), std::string::npos);
  }
}

TEST_F(Load, a_sibling_alone_is_nothing) {
  folder.make_file("a.css.gz", "gz");
  EXPECT_EQ(load("a.css").kind, FileSet::Kind::missing);
  EXPECT_EQ(load("a.css.gz").kind, FileSet::Kind::file);
}

TEST_F(Load, a_folder_is_its_index) {
  std::filesystem::create_directory(folder.path() / "with");
  std::filesystem::create_directory(folder.path() / "without");
  folder.make_file("with/index.html", "hi");
  EXPECT_EQ(load("with").kind, FileSet::Kind::folder);
  EXPECT_EQ(load("with", true).variants[0]->body(), "hi");
  EXPECT_EQ(load("without").kind, FileSet::Kind::missing);
  EXPECT_EQ(load("without", true).kind, FileSet::Kind::missing);
  EXPECT_EQ(load("").kind, FileSet::Kind::missing);
  EXPECT_EQ(load("with/index.html", true).kind, FileSet::Kind::missing) << "a file is no folder";
  folder.make_file("index.html", "root");
  EXPECT_EQ(load("").kind, FileSet::Kind::folder);
  EXPECT_EQ(load("", true).variants[0]->body(), "root");
}

TEST_F(Load, another_file_has_another_tag) {
  const std::string path = folder.make_file("a", "one");
  const FileSet one = load("a");
  const FileSet again = load("a");
  EXPECT_EQ(one.variants[0]->etag(), again.variants[0]->etag());
  std::filesystem::rename(folder.make_file("b", "two"), path);
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) - std::chrono::hours(1));
  EXPECT_NE(load("a").variants[0]->etag(), one.variants[0]->etag());
}

TEST_F(Load, a_file_from_the_future_was_modified_now) {
  const std::string path = folder.make_file("a", "one");
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::hours(1'000'000));
  EXPECT_EQ(load("a").variants[0]->modified(), 1'795'280'459);
}

TEST_F(Load, an_empty_file_is_a_file) {
  folder.make_file("empty", "");
  ASSERT_EQ(load("empty").kind, FileSet::Kind::file);
  EXPECT_EQ(load("empty").variants[0]->size(), 0U);
}

}  // namespace
}  // namespace pyre::http
