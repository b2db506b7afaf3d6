// Endpoint: a peer's or our own address, parsed once.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "platform/native.h"
#include "platform/op.h"

namespace pyre::platform {

struct Endpoint {
  enum class Family : std::uint8_t { unknown, ipv4, ipv6, unix_socket };
  Family family = Family::unknown;
  std::uint16_t port = 0;  // host order; 0 for unix
  std::array<std::uint8_t, 16>
      address{};  // network order; IPv4 in the first 4 bytes. IPv4-mapped IPv6 is stored as IPv4.
  std::uint32_t scope_id = 0;

  // "127.0.0.1", "::1", "fe80::1%eth0" as getpeername() text (no brackets); "" for unix and unknown. Writes at most 64
  // chars. On Windows a scope is always a number ("fe80::1%12"), as in everything that Windows prints.
  [[nodiscard]] std::string_view host_text(std::array<char, 64>& buffer) const noexcept;
  [[nodiscard]] static Endpoint from_sockaddr(const void* address, std::uint32_t size) noexcept;
  // Writes a sockaddr_in or sockaddr_in6 and gives its size; 0 if the family has none, or `room` is too small.
  [[nodiscard]] std::uint32_t to_sockaddr(void* out, std::uint32_t room) const noexcept;
  [[nodiscard]] static Endpoint local_of(NativeSocket socket) noexcept;  // getsockname
  // Parses "1.2.3.4", "::1", "[::1]", with an optional ":port" ("[::1]:80"). False if it is not an address.
  [[nodiscard]] static bool parse(std::string_view text, Endpoint& out) noexcept;
};

}  // namespace pyre::platform
