#include "platform/endpoint.h"

#ifdef _WIN32
#include "platform/windows/winsock.h"
// Keep this order.
#include <ws2tcpip.h>
#else
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#endif

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstring>

namespace pyre::platform {
namespace {

#ifdef _WIN32

using FamilyNumber = ADDRESS_FAMILY;
using SocketSize = int;
constexpr int kUnixFamily = 1;  // AF_UNIX, from a header that not every SDK has

std::uint32_t interface_number(const char*) noexcept { return 0; }
std::size_t interface_name(std::uint32_t, char*, std::size_t) noexcept { return 0; }

#else

using FamilyNumber = sa_family_t;
using SocketSize = socklen_t;
constexpr int kUnixFamily = AF_UNIX;

std::uint32_t interface_number(const char* name) noexcept { return ::if_nametoindex(name); }

// The length, cut to `room`; 0 if there is no such interface.
std::size_t interface_name(std::uint32_t number, char* out, std::size_t room) noexcept {
  char name[IF_NAMESIZE];
  if (::if_indextoname(number, name) == nullptr) return 0;
  const std::size_t length = std::min(std::strlen(name), room);
  std::copy_n(name, length, out);
  return length;
}

#endif

constexpr std::size_t kMaxZone = 15;  // of a zone's name: IF_NAMESIZE less the terminating zero

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

void set_ipv6(Endpoint& out, const std::uint8_t* bytes, std::uint32_t scope) noexcept {
  if (std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes)) {
    out.family = Endpoint::Family::ipv4;
    std::copy_n(bytes + 12, 4, out.address.begin());
    return;
  }
  out.family = Endpoint::Family::ipv6;
  std::copy_n(bytes, 16, out.address.begin());
  out.scope_id = scope;
}

// Digits only, no sign, no empty text.
bool parse_number(std::string_view text, std::uint32_t limit, std::uint32_t& out) noexcept {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value > limit) return false;
  out = value;
  return true;
}

bool parse_host(std::string_view host, bool want_ipv6, Endpoint& out) noexcept {
  std::string_view zone;
  if (want_ipv6) {
    if (const auto percent = host.find('%'); percent != std::string_view::npos) {
      zone = host.substr(percent + 1);
      host = host.substr(0, percent);
      if (zone.empty()) return false;
    }
  }
  char text[INET6_ADDRSTRLEN];
  if (host.empty() || host.size() >= sizeof text || host.find('\0') != std::string_view::npos) return false;
  std::memcpy(text, host.data(), host.size());
  text[host.size()] = '\0';
  std::uint8_t bytes[16];
  if (!want_ipv6) {
    if (::inet_pton(AF_INET, text, bytes) != 1) return false;
    out.family = Endpoint::Family::ipv4;
    std::copy_n(bytes, 4, out.address.begin());
    return true;
  }
  if (::inet_pton(AF_INET6, text, bytes) != 1) return false;
  std::uint32_t scope = 0;
  if (!zone.empty() && !parse_number(zone, 0xffffffffU, scope)) {
    char name[kMaxZone + 1];
    if (zone.size() >= sizeof name || zone.find('\0') != std::string_view::npos) return false;
    std::memcpy(name, zone.data(), zone.size());
    name[zone.size()] = '\0';
    scope = interface_number(name);
    if (scope == 0) return false;
  }
  set_ipv6(out, bytes, scope);
  return true;
}

}  // namespace

std::string_view Endpoint::host_text(std::array<char, 64>& buffer) const noexcept {
  if (family == Family::ipv4) {
    // By hand: this runs once per connection, and inet_ntop goes through sprintf.
    std::size_t size = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const unsigned part = address[i];
      if (i != 0) buffer[size++] = '.';
      if (part >= 100) buffer[size++] = static_cast<char>('0' + part / 100);
      if (part >= 10) buffer[size++] = static_cast<char>('0' + part / 10 % 10);
      buffer[size++] = static_cast<char>('0' + part % 10);
    }
    return {buffer.data(), size};
  }
  if (family != Family::ipv6) return {};
  if (::inet_ntop(AF_INET6, address.data(), buffer.data(), INET6_ADDRSTRLEN) == nullptr) return {};
  std::size_t size = std::strlen(buffer.data());
  if (scope_id != 0) {
    // 45 characters at most so far; '%', and an interface name of at most 15 or a number of at most 10, fit into 64.
    buffer[size++] = '%';
    if (const std::size_t length = interface_name(scope_id, buffer.data() + size, buffer.size() - size); length != 0) {
      size += length;
    } else {
      char* end = std::to_chars(buffer.data() + size, buffer.data() + buffer.size(), scope_id).ptr;
      size = static_cast<std::size_t>(end - buffer.data());
    }
  }
  return {buffer.data(), size};
}

Endpoint Endpoint::from_sockaddr(const void* address, std::uint32_t size) noexcept {
  Endpoint out;
  FamilyNumber family_number = AF_UNSPEC;
  if (address == nullptr || size < offsetof(sockaddr, sa_family) + sizeof family_number) return out;
  std::memcpy(&family_number, static_cast<const char*>(address) + offsetof(sockaddr, sa_family), sizeof family_number);
  if (family_number == AF_INET && size >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    out.family = Family::ipv4;
    out.port = ntohs(in.sin_port);
    std::memcpy(out.address.data(), &in.sin_addr, 4);
  } else if (family_number == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    out.port = ntohs(in.sin6_port);
    set_ipv6(out, in.sin6_addr.s6_addr, in.sin6_scope_id);
  } else if (family_number == kUnixFamily) {
    out.family = Family::unix_socket;
  }
  return out;
}

Endpoint Endpoint::local_of(NativeSocket socket) noexcept {
  sockaddr_storage storage{};
  SocketSize size = sizeof storage;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return {};
  return from_sockaddr(&storage, std::min(static_cast<std::uint32_t>(size), std::uint32_t{sizeof storage}));
}

std::uint32_t Endpoint::to_sockaddr(void* out, std::uint32_t room) const noexcept {
  if (family == Family::ipv4 && room >= sizeof(sockaddr_in)) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, address.data(), 4);
    std::memcpy(out, &in, sizeof in);
    return sizeof in;
  }
  if (family == Family::ipv6 && room >= sizeof(sockaddr_in6)) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    std::memcpy(&in.sin6_addr, address.data(), 16);
    in.sin6_scope_id = scope_id;
    std::memcpy(out, &in, sizeof in);
    return sizeof in;
  }
  return 0;
}

bool Endpoint::parse(std::string_view text, Endpoint& out) noexcept {
  Endpoint result;
  std::string_view host = text;
  std::string_view port_text;
  bool has_port = false;
  bool want_ipv6 = false;
  if (text.starts_with('[')) {
    const auto bracket = text.find(']');
    if (bracket == std::string_view::npos) return false;
    host = text.substr(1, bracket - 1);
    want_ipv6 = true;
    std::string_view rest = text.substr(bracket + 1);
    if (!rest.empty()) {
      if (rest.front() != ':') return false;
      port_text = rest.substr(1);
      has_port = true;
    }
  } else if (const auto colon = text.find(':'); colon != std::string_view::npos) {
    if (text.find(':', colon + 1) != std::string_view::npos) {
      want_ipv6 = true;  // two colons without brackets: all of it is the address
    } else {
      host = text.substr(0, colon);
      port_text = text.substr(colon + 1);
      has_port = true;
    }
  }
  if (!parse_host(host, want_ipv6, result)) return false;
  if (has_port) {
    std::uint32_t port_number = 0;
    if (!parse_number(port_text, 65535, port_number)) return false;
    result.port = static_cast<std::uint16_t>(port_number);
  }
  out = result;
  return true;
}

}  // namespace pyre::platform
