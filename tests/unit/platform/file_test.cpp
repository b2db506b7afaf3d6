#include "platform/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

namespace pyre::platform {
namespace {

class File : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pyre_file_test_XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    for (const char* name : {"/file", "/fifo"}) ::unlink((folder_ + name).c_str());
    ::rmdir(folder_.c_str());
  }
  std::string make(const std::string& bytes) {
    const std::string path = folder_ + "/file";
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    EXPECT_EQ(::write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    ::close(fd);
    return path;
  }
  std::string folder_;
};

TEST_F(File, opens_and_tells_size_time_and_kind) {
  const auto file = open_file(make("hello").c_str());
  ASSERT_TRUE(file.has_value());
  EXPECT_NE(::fcntl(file.value(), F_GETFD) & FD_CLOEXEC, 0);
  const auto info = stat_file(file.value());
  ASSERT_TRUE(info.has_value());
  EXPECT_EQ(info.value().size, 5U);
  EXPECT_TRUE(info.value().regular);
  EXPECT_GT(info.value().modified_ns, 1'600'000'000'000'000'000);
  const auto copy = duplicate_file(file.value());
  ASSERT_TRUE(copy.has_value());
  EXPECT_NE(::fcntl(copy.value(), F_GETFD) & FD_CLOEXEC, 0);
  close_file(copy.value());
  close_file(file.value());
}

TEST_F(File, a_folder_and_a_fifo_are_not_regular_and_do_not_hang) {
  const auto folder = open_file(folder_.c_str());
  ASSERT_TRUE(folder.has_value());
  EXPECT_FALSE(stat_file(folder.value()).value().regular);
  close_file(folder.value());
  const std::string fifo = folder_ + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto file = open_file(fifo.c_str());
  ASSERT_TRUE(file.has_value());
  EXPECT_FALSE(stat_file(file.value()).value().regular);
  close_file(file.value());
}

TEST_F(File, what_is_missing_is_an_error_with_its_number) {
  const auto file = open_file((folder_ + "/none").c_str());
  ASSERT_FALSE(file.has_value());
  EXPECT_EQ(file.error().os_error, ENOENT);
  EXPECT_FALSE(stat_file(-1).has_value());
  EXPECT_FALSE(duplicate_file(-1).has_value());
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
  EXPECT_FALSE(read_at(-1, 0, into).has_value());
  close_file(file.value());
}

TEST_F(File, read_ahead_makes_it_cached_and_tells_the_end) {
  const auto file = open_file(make(std::string(100'000, 'x')).c_str());
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(read_ahead(file.value(), 0, 100'000).code, Errc::ok);
  EXPECT_TRUE(is_cached(file.value(), 0));
  EXPECT_TRUE(is_cached(file.value(), 99'999));
  EXPECT_EQ(read_ahead(file.value(), 50'000, 100'000).code, Errc::eof);
  EXPECT_EQ(read_ahead(-1, 0, 1).os_error, EBADF);
  EXPECT_TRUE(is_cached(-1, 0));  // cannot be told: the send will find out
  close_file(file.value());
}

}  // namespace
}  // namespace pyre::platform
