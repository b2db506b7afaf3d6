#include "http/access_log_format.h"

#include <array>
#include <bit>
#include <charconv>
#include <chrono>
#include <cstring>

namespace pyre::http {
namespace {

// Parts from the client are cut at these lengths, so that the longest line (six bytes for each) is a small part of the
// ring.
constexpr std::size_t kMaxMethod = 32;
constexpr std::size_t kMaxTarget = 8190;  // the default limit of the request line
constexpr std::size_t kMaxUserAgent = 512;
constexpr std::size_t kMaxClient = 256;   // a name in a Forwarded field
constexpr std::size_t kFixedBytes = 512;  // everything else in a line: keys, numbers, an address, the date
constexpr std::size_t kBytesPerEscape = 6;

template <std::size_t N>
char* put(char* out, const char (&literal)[N]) noexcept {
  std::memcpy(out, literal, N - 1);
  return out + N - 1;
}

char* put_number(char* out, std::uint64_t number) noexcept { return std::to_chars(out, out + 20, number).ptr; }

// `digits` digits, with leading zeros.
char* put_padded(char* out, std::uint32_t number, int digits) noexcept {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + number % 10);
    number /= 10;
  }
  return out + digits;
}

constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0x20; c < 0x7f; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}();

// True if one of the 8 bytes is not printable ASCII, or is '"' or '\'. (Exact as a yes or no: a borrow can only start
// at a byte that is one of those itself.)
bool has_special(std::uint64_t bytes) noexcept {
  constexpr std::uint64_t ones = 0x0101010101010101;
  constexpr std::uint64_t high = 0x8080808080808080;
  const std::uint64_t control = bytes - ones * 0x20;
  const std::uint64_t quote = (bytes ^ (ones * '"')) - ones;
  const std::uint64_t backslash = (bytes ^ (ones * '\\')) - ones;
  const std::uint64_t del = (bytes ^ (ones * 0x7f)) - ones;
  return ((bytes | control | quote | backslash | del) & high) != 0;
}

template <AccessLog::Format kFormat>
char* put_escape(char* out, unsigned char c) noexcept {
  constexpr char hex[] = "0123456789abcdef";
  if constexpr (kFormat == AccessLog::Format::json) {
    if (c == '"' || c == '\\') {
      *out++ = '\\';
      *out++ = static_cast<char>(c);
      return out;
    }
    // One byte is one escape, as Latin-1, which is how ASGI and RFC 9110 5.5 have always read header bytes: nothing is
    // lost, the line is ASCII whatever came, and no terminal code (C1 controls neither) gets through.
    out = put(out, "\\u00");
  } else {
    out = put(out, "\\x");
  }
  *out++ = hex[c >> 4];
  *out++ = hex[c & 15];
  return out;
}

template <AccessLog::Format kFormat>
char* put_escaped(char* out, std::string_view text, std::size_t limit) noexcept {
  const bool cut = text.size() > limit;
  if (cut) text = text.substr(0, limit);
  const char* at = text.data();
  const char* const end = at + text.size();
  while (end - at >= 8) {
    std::uint64_t bytes;
    std::memcpy(&bytes, at, 8);
    if (!has_special(bytes)) {
      std::memcpy(out, &bytes, 8);
      out += 8;
      at += 8;
      continue;
    }
    for (const char* const stop = at + 8; at != stop; ++at) {
      const auto c = static_cast<unsigned char>(*at);
      if (kPlain[c]) {
        *out++ = *at;
      } else {
        out = put_escape<kFormat>(out, c);
      }
    }
  }
  for (; at != end; ++at) {
    const auto c = static_cast<unsigned char>(*at);
    if (kPlain[c]) {
      *out++ = *at;
    } else {
      out = put_escape<kFormat>(out, c);
    }
  }
  return cut ? put(out, "...") : out;
}

char* put_octet(char* out, unsigned octet) noexcept {
  if (octet >= 100) {
    *out++ = static_cast<char>('0' + octet / 100);
    octet %= 100;
    *out++ = static_cast<char>('0' + octet / 10);
  } else if (octet >= 10) {
    *out++ = static_cast<char>('0' + octet / 10);
  }
  *out++ = static_cast<char>('0' + octet % 10);
  return out;
}

// RFC 5952, without the zone. By hand, too: inet_ntop() costs more than the rest of the line.
char* put_ipv6(char* out, const std::array<std::uint8_t, 16>& address) noexcept {
  constexpr char hex[] = "0123456789abcdef";
  std::array<unsigned, 8> groups;
  for (std::size_t i = 0; i < 8; ++i) groups[i] = static_cast<unsigned>(address[2 * i] << 8 | address[2 * i + 1]);
  std::size_t zeros_at = 8;
  std::size_t zeros = 1;  // a single zero group is written out
  for (std::size_t i = 0; i < 8; ++i) {
    std::size_t end = i;
    while (end < 8 && groups[end] == 0) ++end;
    if (end - i > zeros) {
      zeros_at = i;
      zeros = end - i;
    }
    i = end;
  }
  for (std::size_t i = 0; i < 8; ++i) {
    if (i == zeros_at) {
      out = put(out, "::");
      i += zeros - 1;
      continue;
    }
    if (i != 0 && i != zeros_at + zeros) *out++ = ':';
    int shift = 12;
    while (shift > 0 && groups[i] >> shift == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) *out++ = hex[groups[i] >> shift & 15];
  }
  return out;
}

char* put_endpoint(char* out, const platform::Endpoint& endpoint) noexcept {
  using Family = platform::Endpoint::Family;
  if (endpoint.family == Family::unix_socket) return put(out, "unix");
  if (endpoint.family == Family::ipv4) {  // the usual one by hand: inet_ntop() goes through printf
    for (std::size_t i = 0; i < 4; ++i) {
      if (i != 0) *out++ = '.';
      out = put_octet(out, endpoint.address[i]);
    }
  } else if (endpoint.family == Family::ipv6) {
    *out++ = '[';
    if (endpoint.scope_id == 0) {
      out = put_ipv6(out, endpoint.address);
    } else {
      std::array<char, 64> buffer;
      const std::string_view host = endpoint.host_text(buffer);
      std::memcpy(out, host.data(), host.size());
      out += host.size();
    }
    *out++ = ']';
  } else {
    return put(out, "-");
  }
  *out++ = ':';
  return put_number(out, endpoint.port);
}

template <AccessLog::Format kFormat>
char* put_client(char* out, const AccessLog::Entry& entry) noexcept {
  const ForwardedInfo* forwarded = entry.forwarded;
  if (forwarded != nullptr && forwarded->client_set) {
    if (forwarded->client_text.empty()) return put_endpoint(out, forwarded->client);
    out = put_escaped<kFormat>(out, forwarded->client_text, kMaxClient);
    *out++ = ':';
    return put_number(out, forwarded->client.port);
  }
  return entry.connection == nullptr ? put(out, "-") : put_endpoint(out, entry.connection->peer);
}

char* put_date(char* out, std::int64_t wall_ms, CachedDate& date) noexcept {
  std::int64_t second = wall_ms / 1000;
  std::int64_t ms = wall_ms % 1000;
  if (ms < 0) {
    --second;
    ms += 1000;
  }
  if (second != date.second) {
    using std::chrono::days;
    using std::chrono::seconds;
    const std::chrono::sys_seconds when{seconds{second}};
    const auto day = std::chrono::floor<days>(when);
    const std::chrono::year_month_day ymd{day};
    const std::chrono::hh_mm_ss time{when - day};
    char* text = put_padded(date.text, static_cast<std::uint32_t>(static_cast<int>(ymd.year())), 4);
    *text++ = '-';
    text = put_padded(text, static_cast<unsigned>(ymd.month()), 2);
    *text++ = '-';
    text = put_padded(text, static_cast<unsigned>(ymd.day()), 2);
    *text++ = 'T';
    text = put_padded(text, static_cast<std::uint32_t>(time.hours().count()), 2);
    *text++ = ':';
    text = put_padded(text, static_cast<std::uint32_t>(time.minutes().count()), 2);
    *text++ = ':';
    put_padded(text, static_cast<std::uint32_t>(time.seconds().count()), 2);
    date.second = second;
  }
  std::memcpy(out, date.text, sizeof date.text);
  out += sizeof date.text;
  *out++ = '.';
  out = put_padded(out, static_cast<std::uint32_t>(ms), 3);
  *out++ = 'Z';
  return out;
}

std::string_view user_agent_of(const RequestHead& head) noexcept {
  const HeaderField* field = head.find(HeaderName::user_agent);
  return field == nullptr ? std::string_view{} : head.value(*field);
}

std::size_t at_most(std::size_t size, std::size_t limit) noexcept { return size < limit ? size : limit; }

}  // namespace

std::size_t log_line_bound(const AccessLog::Entry& entry) noexcept {
  std::size_t escapable = 0;
  if (entry.request != nullptr) {
    const RequestHead& head = *entry.request;
    escapable += at_most(head.method_size, kMaxMethod);
    // JSON writes path and query, text the target as it was sent: count whichever is longer.
    const std::size_t split = at_most(head.path_size, kMaxTarget) + at_most(head.query_size, kMaxTarget);
    escapable += std::max(split, at_most(head.target_size, kMaxTarget));
    escapable += at_most(user_agent_of(head).size(), kMaxUserAgent);
  }
  if (entry.forwarded != nullptr) escapable += at_most(entry.forwarded->client_text.size(), kMaxClient);
  return kFixedBytes + kBytesPerEscape * escapable;
}

char* write_text_line(const AccessLog::Entry& entry, char* out) noexcept {
  constexpr auto format = AccessLog::Format::text;
  out = put(out, "INFO:     ");
  out = put_client<format>(out, entry);
  out = put(out, " - \"");
  if (entry.request == nullptr) {
    *out++ = '-';
  } else {
    const RequestHead& head = *entry.request;
    out = put_escaped<format>(out, head.method(), kMaxMethod);
    *out++ = ' ';
    out = put_escaped<format>(out, head.target(), kMaxTarget);
    out = put(out, " HTTP/1.");
    *out++ = static_cast<char>('0' + head.minor_version % 10);
  }
  out = put(out, "\" ");
  out = put_number(out, entry.status);
  *out++ = ' ';
  out = put_number(out, entry.body_bytes);
  *out++ = ' ';
  out = put_number(out, entry.duration_us / 1'000'000);
  *out++ = '.';
  out = put_padded(out, static_cast<std::uint32_t>(entry.duration_us % 1'000'000), 6);
  *out++ = '\n';
  return out;
}

char* write_json_line(const AccessLog::Entry& entry, std::int64_t wall_ms, CachedDate& date, char* out) noexcept {
  constexpr auto format = AccessLog::Format::json;
  out = put(out, R"({"time":")");
  out = put_date(out, wall_ms, date);
  out = put(out, R"(","level":"info","logger":"pyre.access","client":")");
  out = put_client<format>(out, entry);
  if (entry.request == nullptr) {
    out = put(out, R"(","method":null,"path":null,"query":null,"http_version":null,"status":)");
  } else {
    const RequestHead& head = *entry.request;
    out = put(out, R"(","method":")");
    out = put_escaped<format>(out, head.method(), kMaxMethod);
    out = put(out, R"(","path":")");
    out = put_escaped<format>(out, head.path(), kMaxTarget);
    out = put(out, R"(","query":")");
    out = put_escaped<format>(out, head.query(), kMaxTarget);
    out = put(out, R"(","http_version":"1.)");
    *out++ = static_cast<char>('0' + head.minor_version % 10);
    out = put(out, R"(","status":)");
  }
  out = put_number(out, entry.status);
  out = put(out, R"(,"bytes":)");
  out = put_number(out, entry.body_bytes);
  out = put(out, R"(,"duration_ms":)");
  out = put_number(out, entry.duration_us / 1000);
  *out++ = '.';
  out = put_padded(out, static_cast<std::uint32_t>(entry.duration_us % 1000), 3);
  const HeaderField* agent = entry.request == nullptr ? nullptr : entry.request->find(HeaderName::user_agent);
  if (agent == nullptr) return put(out, ",\"user_agent\":null}\n");
  out = put(out, R"(,"user_agent":")");
  out = put_escaped<format>(out, entry.request->value(*agent), kMaxUserAgent);
  return put(out, "\"}\n");
}

char* write_loss_line(AccessLog::Format format, std::uint64_t count, std::int64_t wall_ms, char* out) noexcept {
  if (format == AccessLog::Format::text) {
    out = put(out, "WARNING:  access log: ");
    out = put_number(out, count);
    return put(out, " lines were dropped while the output did not take them\n");
  }
  CachedDate date;
  out = put(out, R"({"time":")");
  out = put_date(out, wall_ms, date);
  out = put(out, R"(","level":"warning","logger":"pyre.access","message":)");
  out = put(out, R"("access log lines were dropped while the output did not take them","dropped":)");
  out = put_number(out, count);
  return put(out, "}\n");
}

}  // namespace pyre::http
