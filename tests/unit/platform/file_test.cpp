#include "platform/file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "support/files.h"

namespace pyre::platform {
namespace {

class File : public testing::Test {
 protected:
  std::string make(const std::string& bytes) { return folder_.make_file("file", bytes); }
  pyre::test::TemporaryFolder folder_;
};

TEST_F(File, opens_and_tells_size_time_and_kind) {
  const auto file = open_file(make("hello").c_str());
  ASSERT_TRUE(file.has_value());
  const auto info = stat_file(file.value());
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info.value().size, 5U);
  EXPECT_TRUE(info.value().regular);
  EXPECT_GT(info.value().modified_ns, 1'600'000'000'000'000'000);
  EXPECT_LT(info.value().modified_ns, 4'000'000'000'000'000'000);
  const auto copy = duplicate_file(file.value());
  ASSERT_TRUE(copy.has_value());
  close_file(file.value());
  EXPECT_EQ(stat_file(copy.value()).value().size, 5U);
  close_file(copy.value());
}

TEST_F(File, a_folder_is_not_regular) {
  const auto folder = open_file(folder_.file("").c_str());
  ASSERT_TRUE(folder.has_value());
  EXPECT_FALSE(stat_file(folder.value()).value().regular);
  close_file(folder.value());
}

TEST_F(File, what_is_missing_is_an_error_with_its_number) {
  const auto file = open_file(folder_.file("none").c_str());
  ASSERT_FALSE(file.has_value());
  EXPECT_NE(file.error().os_error, 0);
  EXPECT_FALSE(stat_file(no_file).has_value());
  EXPECT_FALSE(duplicate_file(no_file).has_value());
}

TEST_F(File, read_at_takes_the_range_or_what_there_is_of_it) {
  const auto file = open_file(make("0123456789").c_str());
  ASSERT_TRUE(file.has_value());
  std::string bytes(6, '.');
  const MutableBytes into{reinterpret_cast<std::byte*>(bytes.data()), bytes.size()};
  EXPECT_EQ(read_at(file.value(), 2, into).value(), 6U);
  EXPECT_EQ(bytes, "234567");
  EXPECT_EQ(read_at(file.value(), 7, into).value(), 3U);
  EXPECT_EQ(bytes.substr(0, 3), "789");
  EXPECT_EQ(read_at(file.value(), 100, into).value(), 0U);
  EXPECT_FALSE(read_at(no_file, 0, into).has_value());
  close_file(file.value());
}

TEST_F(File, read_ahead_makes_it_cached_and_tells_the_end) {
  const auto file = open_file(make(std::string(100'000, 'x')).c_str());
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(read_ahead(file.value(), 0, 100'000).code, Errc::ok);
  EXPECT_TRUE(is_cached(file.value(), 0));
  EXPECT_TRUE(is_cached(file.value(), 99'999));
  EXPECT_EQ(read_ahead(file.value(), 50'000, 100'000).code, Errc::eof);
  EXPECT_NE(read_ahead(no_file, 0, 1).code, Errc::ok);
  EXPECT_TRUE(is_cached(no_file, 0));  // cannot be told: the send will find out
  close_file(file.value());
}

// Others may replace a file that is being sent; the open one stays what it was.
TEST_F(File, a_file_that_is_open_can_be_replaced_and_deleted) {
  const std::string path = make("old");
  const auto file = open_file(path.c_str());
  ASSERT_TRUE(file.has_value());
  std::filesystem::rename(folder_.path() / "file", folder_.path() / "moved");
  EXPECT_TRUE(std::filesystem::remove(folder_.path() / "moved"));
  std::string bytes(3, '.');
  EXPECT_EQ(read_at(file.value(), 0, {reinterpret_cast<std::byte*>(bytes.data()), 3}).value(), 3U);
  EXPECT_EQ(bytes, "old");
  close_file(file.value());
  EXPECT_FALSE(open_file(path.c_str()).has_value());
}

TEST_F(File, names_may_have_any_letters_and_blanks) {
  for (const char* name :
       {"with a blank", "\xc3\xa4\xc3\xb6\xc3\xbc", "\xe6\x97\xa5\xe6\x9c\xac", "\xf0\x9f\x94\xa5"}) {
    const std::string path = folder_.make_file(name, name);
    const auto file = open_file(path.c_str());
    ASSERT_TRUE(file.has_value()) << name;
    EXPECT_EQ(stat_file(file.value()).value().size, std::string_view(name).size());
    close_file(file.value());
  }
}

}  // namespace
}  // namespace pyre::platform
