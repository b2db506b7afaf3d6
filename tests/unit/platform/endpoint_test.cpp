#include "platform/endpoint.h"

#include <gtest/gtest.h>

#include <string>

#include "platform/socket.h"
#include "support/sockets.h"

namespace pyre::platform {
namespace {

using Family = Endpoint::Family;

std::string text_of(const Endpoint& endpoint) {
  std::array<char, 64> buffer;
  return std::string(endpoint.host_text(buffer));
}

TEST(Endpoint, parses_what_an_address_is) {
  struct Case {
    const char* text;
    Family family;
    const char* host;
    int port;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"1.2.3.4", Family::ipv4, "1.2.3.4", 0},
           {"255.255.255.255:65535", Family::ipv4, "255.255.255.255", 65535},
           {"0.0.0.0:0", Family::ipv4, "0.0.0.0", 0},
           {"::1", Family::ipv6, "::1", 0},
           {"[::1]", Family::ipv6, "::1", 0},
           {"[::1]:80", Family::ipv6, "::1", 80},
           {"2001:DB8::1", Family::ipv6, "2001:db8::1", 0},
           {"[fe80::1%7]:443", Family::ipv6, "fe80::1%7", 443},
           {"::ffff:10.0.0.1", Family::ipv4, "10.0.0.1", 0},
           {"[::ffff:10.0.0.1]:99", Family::ipv4, "10.0.0.1", 99},
           {"[1:2:3:4:5:6:7:8]:1", Family::ipv6, "1:2:3:4:5:6:7:8", 1},
       }) {
    Endpoint endpoint;
    ASSERT_TRUE(Endpoint::parse(c.text, endpoint)) << c.text;
    EXPECT_EQ(endpoint.family, c.family) << c.text;
    EXPECT_EQ(text_of(endpoint), c.host) << c.text;
    EXPECT_EQ(endpoint.port, c.port) << c.text;
  }
}

TEST(Endpoint, refuses_what_is_none_and_leaves_the_result_alone) {
  Endpoint endpoint;
  endpoint.port = 42;
  for (const char* text : {"",
                           " ",
                           "localhost",
                           "1.2.3",
                           "1.2.3.4.5",
                           "1.2.3.4:",
                           "1.2.3.4:x",
                           "1.2.3.4:65536",
                           "1.2.3.4:-1",
                           "1.2.3.4:+1",
                           "1.2.3.4 ",
                           " 1.2.3.4",
                           "01.2.3.4x",
                           "256.1.1.1",
                           "[::1",
                           "::1]",
                           "[::1]80",
                           "[::1]:",
                           "[::1]:99999",
                           "[]",
                           "[]:80",
                           "[1.2.3.4]",
                           ":80",
                           "::1%",
                           "fe80::1%nosuchinterface",
                           "1:2:3:4:5:6:7:8:9",
                           "unknown",
                           "_hidden",
                           "::g",
                           "%",
                           "1.2.3.4%1",
                           "[fe80::1%7]x",
                           "12345:12345:12345:12345:12345:12345:12345:12345:12345:12345"}) {
    EXPECT_FALSE(Endpoint::parse(text, endpoint)) << text;
  }
  EXPECT_FALSE(Endpoint::parse(std::string_view("1.2.3.4\0", 8), endpoint));
  EXPECT_FALSE(Endpoint::parse(std::string_view("::1\0", 4), endpoint));
  EXPECT_FALSE(Endpoint::parse(std::string(10'000, '1'), endpoint));
  EXPECT_EQ(endpoint.port, 42);
  EXPECT_EQ(endpoint.family, Family::unknown);
}

TEST(Endpoint, becomes_what_the_kernel_wants_and_comes_back) {
  for (const char* text : {"192.0.2.7:8080", "[2001:db8::1]:443", "[fe80::1%7]:1"}) {
    Endpoint before;
    ASSERT_TRUE(Endpoint::parse(text, before));
    std::array<std::byte, 128> storage{};
    const std::uint32_t size = before.to_sockaddr(storage.data(), storage.size());
    ASSERT_NE(size, 0U);
    const Endpoint after = Endpoint::from_sockaddr(storage.data(), size);
    EXPECT_EQ(after.family, before.family);
    EXPECT_EQ(after.port, before.port);
    EXPECT_EQ(after.address, before.address);
    EXPECT_EQ(after.scope_id, before.scope_id);
    EXPECT_EQ(Endpoint::from_sockaddr(storage.data(), 4).family, Family::unknown);  // cut off
    EXPECT_EQ(Endpoint::from_sockaddr(storage.data(), 0).family, Family::unknown);
    EXPECT_EQ(before.to_sockaddr(storage.data(), 8), 0U);
  }
  EXPECT_EQ(Endpoint::from_sockaddr(nullptr, 100).family, Family::unknown);
}

TEST(Endpoint, local_of_asks_the_socket) {
  const NativeSocket listener = pyre::test::listen_on_loopback();
  const Endpoint endpoint = Endpoint::local_of(listener);
  EXPECT_EQ(text_of(endpoint), "127.0.0.1");
  EXPECT_NE(endpoint.port, 0);
  close_socket(listener);
  EXPECT_EQ(Endpoint::local_of(no_socket).family, Family::unknown);
}

}  // namespace
}  // namespace pyre::platform
