// Forwarded headers from trusted proxies: X-Forwarded-For, X-Forwarded-Proto and RFC 7239 Forwarded. Semantics as
// uvicorn's ProxyHeadersMiddleware: the right-most address that is not itself trusted is the client; if all are
// trusted, the left-most.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/exchange.h"
#include "platform/endpoint.h"

namespace pyre::http {

class TrustedProxies {
 public:
  // Comma-separated: addresses, CIDR networks, "unix:" (any unix peer), "*" (everything), and names, which match the
  // name in a field exactly (uvicorn allows them). False, with the bad item in `bad`, for an empty item, an address
  // with a port, a network that is none or has host bits set ("10.0.0.5/8": uvicorn lets it match nothing without a
  // word). An empty list trusts nobody. Adds to what was parsed before.
  [[nodiscard]] bool parse(std::string_view list, std::string& bad);
  [[nodiscard]] bool empty() const noexcept;
  [[nodiscard]] bool everything() const noexcept { return everything_; }
  [[nodiscard]] bool trusts(const platform::Endpoint& peer) const noexcept;
  // A name or address as a forwarded field has it, without a port.
  [[nodiscard]] bool trusts_text(std::string_view name) const noexcept;

 private:
  struct Network {
    platform::Endpoint base;
    std::uint8_t prefix = 0;
  };
  [[nodiscard]] bool trusts_address(const platform::Endpoint& address) const noexcept;
  std::vector<Network> networks_;
  std::vector<std::string> literals_;
  bool everything_ = false;
  bool unix_ = false;
};

// Fills `out` from the head, if the peer is trusted and the head has any of the fields. No allocation, no system call.
//
// If an X-Forwarded-For or X-Forwarded-Proto is there, Forwarded is not looked at: most proxies set only the X- fields
// and pass a Forwarded from the client through, which must not override them (uvicorn does not know Forwarded at all).
//
// A list that cannot be read, where it matters, is not an error; the client is then the name "unknown" (RFC 7239 6.2).
// It is not the peer: that would make a stranger look like the proxy, which is often the local host. An empty field is
// as none. X-Forwarded-Proto must be one of the four schemes alone; else the scheme stays as it is. With several fields
// the last one counts.
void apply_forwarded(const RequestHead& head, const platform::Endpoint& peer, const TrustedProxies& trusted,
                     ForwardedInfo& out) noexcept;

}  // namespace pyre::http
