// Forwarded headers from trusted proxies: X-Forwarded-For, X-Forwarded-Proto and RFC 7239 Forwarded. Semantics as uvicorn's
// ProxyHeadersMiddleware: the right-most address that is not itself trusted is the client; if all are trusted, the left-most.
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
  // Comma-separated: addresses, CIDR networks, "unix:" (any unix peer), "*" (everything). False, with the bad item in `bad`, if one is
  // none of these. Literals that are not addresses (uvicorn allows them) match a forwarded name exactly, so they are never `bad` unless empty.
  [[nodiscard]] bool parse(std::string_view list, std::string& bad);
  [[nodiscard]] bool empty() const noexcept;
  [[nodiscard]] bool trusts(const platform::Endpoint& peer) const noexcept;
  [[nodiscard]] bool trusts_text(std::string_view name) const noexcept;

 private:
  struct Network {
    platform::Endpoint base;
    std::uint8_t prefix = 0;
  };
  std::vector<Network> networks_;
  std::vector<std::string> literals_;
  bool everything_ = false;
  bool unix_ = false;
};

// Fills `out` from the head, if the peer is trusted and the head has any of the fields. Malformed fields are ignored (the peer is the
// client then), never an error. When both kinds are there, Forwarded wins.
void apply_forwarded(const RequestHead& head, const platform::Endpoint& peer, const TrustedProxies& trusted, ForwardedInfo& out) noexcept;

}  // namespace pyre::http
