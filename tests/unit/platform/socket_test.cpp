#include "platform/socket.h"

#include <gtest/gtest.h>

#include <string>

#include "support/sockets.h"

namespace pyre::platform {
namespace {

Endpoint address_of(const char* text) {
  Endpoint address;
  EXPECT_TRUE(Endpoint::parse(text, address)) << text;
  return address;
}

TEST(SocketHelpers, a_listener_listens_and_so_does_its_copy) {
  const auto opened = open_listener(address_of("127.0.0.1:0"));
  ASSERT_TRUE(opened.has_value());
  const NativeSocket listener = opened.value();
  EXPECT_TRUE(is_listening(listener));
  EXPECT_NE(Endpoint::local_of(listener).port, 0);
  const auto copy = duplicate_socket(listener);
  ASSERT_TRUE(copy.has_value());
  EXPECT_NE(copy.value(), listener);
  close_socket(listener);
  EXPECT_TRUE(is_listening(copy.value()));
  const NativeSocket client = pyre::test::connect_to(copy.value());
  EXPECT_FALSE(is_listening(client));
  set_nodelay(client);
  set_linger_zero(client);
  close_socket(client);
  close_socket(copy.value());
  EXPECT_FALSE(is_listening(copy.value()));
}

// On Windows SO_REUSEADDR would hand our clients to whoever asks.
TEST(SocketHelpers, a_port_that_is_listened_on_is_nobody_elses) {
  const auto first = open_listener(address_of("127.0.0.1:0"));
  ASSERT_TRUE(first.has_value());
  const auto second =
      open_listener(address_of(("127.0.0.1:" + std::to_string(Endpoint::local_of(first.value()).port)).c_str()));
  ASSERT_FALSE(second.has_value());
  EXPECT_NE(second.error().os_error, 0);
  close_socket(first.value());
}

TEST(SocketHelpers, an_ipv6_listener_takes_ipv4_only_if_it_was_asked_to) {
  for (const bool dual_stack : {false, true}) {
    ListenOptions options;
    options.dual_stack = dual_stack;
    const auto listener = open_listener(address_of("[::]:0"), options);
    if (!listener.has_value()) GTEST_SKIP() << "no IPv6 here: error " << listener.error().os_error;
    const std::string port = std::to_string(Endpoint::local_of(listener.value()).port);
    // The port is free for IPv4 if, and only if, the IPv6 listener has not taken it.
    const auto ipv4 = open_listener(address_of(("0.0.0.0:" + port).c_str()));
    EXPECT_EQ(ipv4.has_value(), !dual_stack);
    if (ipv4.has_value()) close_socket(ipv4.value());
    close_socket(listener.value());
  }
}

TEST(SocketHelpers, tell_of_a_bad_handle_and_of_an_address_that_is_none) {
  EXPECT_NE(set_nonblocking_cloexec(no_socket).code, Errc::ok);
  EXPECT_FALSE(duplicate_socket(no_socket).has_value());
  EXPECT_FALSE(is_listening(no_socket));
  set_nodelay(no_socket);
  set_linger_zero(no_socket);
  Endpoint unix_socket;
  unix_socket.family = Endpoint::Family::unix_socket;
  EXPECT_EQ(open_listener(unix_socket).error().code, Errc::unsupported);
  EXPECT_EQ(open_listener({}).error().code, Errc::unsupported);
}

}  // namespace
}  // namespace pyre::platform
