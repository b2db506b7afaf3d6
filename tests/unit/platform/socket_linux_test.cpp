// What only Linux has: flags that can be asked for, unix sockets, and errno.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "platform/socket.h"

namespace pyre::platform {
namespace {

int option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
  return value;
}

TEST(SocketHelpersLinux, set_what_they_say) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(fd, 0);
  EXPECT_EQ(set_nonblocking_cloexec(fd).code, Errc::ok);
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
  EXPECT_EQ(set_nonblocking_cloexec(fd).code, Errc::ok);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
  set_nodelay(fd);
  EXPECT_NE(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
  set_linger_zero(fd);
  linger value{};
  socklen_t size = sizeof value;
  ASSERT_EQ(::getsockopt(fd, SOL_SOCKET, SO_LINGER, &value, &size), 0);
  EXPECT_EQ(value.l_onoff, 1);
  EXPECT_EQ(value.l_linger, 0);
  EXPECT_FALSE(is_listening(fd));
  ASSERT_EQ(::listen(fd, 1), 0);
  EXPECT_TRUE(is_listening(fd));
  const auto copy = duplicate_socket(fd);
  ASSERT_TRUE(copy.has_value());
  EXPECT_NE(copy.value(), fd);
  EXPECT_NE(::fcntl(copy.value(), F_GETFD) & FD_CLOEXEC, 0);
  close_socket(fd);
  EXPECT_TRUE(is_listening(copy.value()));
  close_socket(copy.value());
  EXPECT_FALSE(is_listening(copy.value()));
}

TEST(SocketHelpersLinux, tell_of_a_bad_descriptor) {
  EXPECT_EQ(set_nonblocking_cloexec(no_socket).os_error, EBADF);
  EXPECT_FALSE(duplicate_socket(no_socket).has_value());
  EXPECT_FALSE(is_listening(no_socket));
  set_nodelay(no_socket);
  set_linger_zero(no_socket);
}

TEST(SocketHelpersLinux, nodelay_on_a_unix_socket_is_no_trouble) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  set_nodelay(ends[0]);
  close_socket(ends[0]);
  close_socket(ends[1]);
}

}  // namespace
}  // namespace pyre::platform
