#include "http/header_name.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace pyre::http {
namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(HeaderName::kCount)> kTexts = {
    "",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "baggage",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "dnt",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "origin",
    "pragma",
    "priority",
    "proxy-connection",
    "range",
    "referer",
    "sec-ch-ua",
    "sec-ch-ua-mobile",
    "sec-ch-ua-platform",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-fetch-user",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "upgrade-insecure-requests",
    "user-agent",
    "via",
    "x-api-key",
    "x-csrf-token",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "x-requested-with",
};

// The longest known name is "access-control-request-headers".
constexpr std::size_t kLongest = 30;

constexpr bool table_is_complete() {
  for (std::size_t i = 1; i < kTexts.size(); ++i)
    if (kTexts[i].empty() || kTexts[i].size() > kLongest) return false;
  return true;
}
static_assert(table_is_complete());

// Names grouped by length, so that a look-up compares only with names of its own length (at most 8 of them), and of
// these only with those whose last character fits too: nearly always one memcmp.
struct ByLength {
  std::array<std::uint8_t, kLongest + 2> first{};  // names of length n are ids[first[n] .. first[n + 1])
  std::array<HeaderName, kTexts.size()> ids{};
};

constexpr ByLength group_by_length() {
  ByLength groups;
  std::uint8_t at = 0;
  for (std::size_t length = 0; length <= kLongest; ++length) {
    groups.first[length] = at;
    for (std::size_t i = 1; i < kTexts.size(); ++i)
      if (kTexts[i].size() == length) groups.ids[at++] = static_cast<HeaderName>(i);
  }
  groups.first[kLongest + 1] = at;
  return groups;
}

constexpr ByLength kGroups = group_by_length();

}  // namespace

HeaderName find_header_name(std::string_view lower) noexcept {
  const std::size_t size = lower.size();
  if (size == 0 || size > kLongest) return HeaderName::other;
  const char last = lower[size - 1];
  for (std::uint8_t i = kGroups.first[size]; i < kGroups.first[size + 1]; ++i) {
    const HeaderName id = kGroups.ids[i];
    const char* text = kTexts[static_cast<std::size_t>(id)].data();
    if (text[size - 1] == last && std::memcmp(text, lower.data(), size) == 0) return id;
  }
  return HeaderName::other;
}

std::string_view text_of(HeaderName name) noexcept {
  const auto index = static_cast<std::size_t>(name);
  return index < kTexts.size() ? kTexts[index] : std::string_view{};
}

}  // namespace pyre::http
