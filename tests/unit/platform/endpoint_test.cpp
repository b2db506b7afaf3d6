#include "platform/endpoint.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

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

TEST(Endpoint, the_loopback_interface_is_a_scope) {
  Endpoint endpoint;
  ASSERT_TRUE(Endpoint::parse("fe80::1%lo", endpoint));
  EXPECT_NE(endpoint.scope_id, 0U);
  EXPECT_EQ(text_of(endpoint), "fe80::1%lo");
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

TEST(Endpoint, reads_what_the_kernel_gives) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(8080);
  ::inet_pton(AF_INET, "192.0.2.7", &in.sin_addr);
  Endpoint endpoint = Endpoint::from_sockaddr(&in, sizeof in);
  EXPECT_EQ(endpoint.family, Family::ipv4);
  EXPECT_EQ(endpoint.port, 8080);
  EXPECT_EQ(text_of(endpoint), "192.0.2.7");

  sockaddr_in6 in6{};
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(443);
  ::inet_pton(AF_INET6, "::ffff:192.0.2.7", &in6.sin6_addr);
  endpoint = Endpoint::from_sockaddr(&in6, sizeof in6);
  EXPECT_EQ(endpoint.family, Family::ipv4);  // as a dual-stack listener tells of an IPv4 client
  EXPECT_EQ(endpoint.port, 443);
  EXPECT_EQ(text_of(endpoint), "192.0.2.7");

  sockaddr_un un{};
  un.sun_family = AF_UNIX;
  EXPECT_EQ(Endpoint::from_sockaddr(&un, sizeof(sa_family_t)).family, Family::unix_socket);  // an unnamed peer
  EXPECT_EQ(text_of(Endpoint::from_sockaddr(&un, sizeof un)), "");

  EXPECT_EQ(Endpoint::from_sockaddr(&in, 4).family, Family::unknown);  // cut off
  EXPECT_EQ(Endpoint::from_sockaddr(&in, 0).family, Family::unknown);
  EXPECT_EQ(Endpoint::from_sockaddr(nullptr, 100).family, Family::unknown);
}

TEST(Endpoint, local_of_asks_the_socket) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in), 0);
  const Endpoint endpoint = Endpoint::local_of(fd);
  EXPECT_EQ(text_of(endpoint), "127.0.0.1");
  EXPECT_NE(endpoint.port, 0);
  ::close(fd);
  EXPECT_EQ(Endpoint::local_of(-1).family, Family::unknown);
}

}  // namespace
}  // namespace pyre::platform
