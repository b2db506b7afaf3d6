// Addresses as Linux gives them, with interface names and unix sockets.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <string>

#include "platform/endpoint.h"

namespace pyre::platform {
namespace {

using Family = Endpoint::Family;

std::string text_of(const Endpoint& endpoint) {
  std::array<char, 64> buffer;
  return std::string(endpoint.host_text(buffer));
}

TEST(EndpointLinux, the_loopback_interface_is_a_scope) {
  Endpoint endpoint;
  ASSERT_TRUE(Endpoint::parse("fe80::1%lo", endpoint));
  EXPECT_NE(endpoint.scope_id, 0U);
  EXPECT_EQ(text_of(endpoint), "fe80::1%lo");
}

TEST(EndpointLinux, reads_what_the_kernel_gives) {
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

}  // namespace
}  // namespace pyre::platform
