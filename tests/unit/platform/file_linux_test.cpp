// What only Linux has: descriptors that are not inherited, and fifos.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "platform/file.h"
#include "support/files.h"

namespace pyre::platform {
namespace {

TEST(FileLinux, no_descriptor_of_ours_survives_an_exec) {
  const pyre::test::TemporaryFile file("hello");
  EXPECT_NE(::fcntl(file.native(), F_GETFD) & FD_CLOEXEC, 0);
  const auto copy = duplicate_file(file.native());
  ASSERT_TRUE(copy.has_value());
  EXPECT_NE(::fcntl(copy.value(), F_GETFD) & FD_CLOEXEC, 0);
  close_file(copy.value());
}

TEST(FileLinux, a_fifo_is_not_regular_and_does_not_hang) {
  const pyre::test::TemporaryFolder folder;
  const std::string fifo = folder.file("fifo");
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  const auto file = open_file(fifo.c_str());
  ASSERT_TRUE(file.has_value());
  EXPECT_FALSE(stat_file(file.value()).value().regular);
  close_file(file.value());
}

TEST(FileLinux, errors_have_their_numbers) {
  const pyre::test::TemporaryFolder folder;
  EXPECT_EQ(open_file(folder.file("none").c_str()).error().os_error, ENOENT);
  EXPECT_EQ(read_ahead(no_file, 0, 1).os_error, EBADF);
}

}  // namespace
}  // namespace pyre::platform
