#include "http/request_line.h"

#include <cstring>

#include "http/characters.h"

namespace pyre::http {
namespace {

// What may stand in a target: printable ASCII but "#". RFC 3986 excludes a few more (quotes, braces, backslash, ...),
// but browsers send some of them raw, none of them changes where the target ends, and the app sees the raw path.
constexpr std::array<bool, 256> kTargetCharacter = [] {
  std::array<bool, 256> table{};
  for (int c = 0x21; c <= 0x7e; ++c) table[static_cast<std::size_t>(c)] = c != '#';
  return table;
}();

// reg-name of RFC 3986: unreserved, sub-delims; "%" is looked at apart. No comma: it is a sub-delim, but in a Host
// field it means that two of them were joined on the way.
constexpr std::array<bool, 256> kHostCharacter = [] {
  std::array<bool, 256> table{};
  for (char c = '0'; c <= '9'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c : {'-', '.', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ';', '='})
    table[static_cast<unsigned char>(c)] = true;
  return table;
}();

std::size_t scheme_size(std::string_view target) noexcept {  // with "://"; 0 if it is neither http nor https
  static constexpr std::string_view kHttps = "https";
  std::size_t at = 0;
  while (at < kHttps.size() && at < target.size() && to_lower(target[at]) == kHttps[at]) ++at;
  if (at < 4 || target.substr(at, 3) != "://") return 0;
  return at + 3;
}

std::size_t authority_size(std::string_view after_scheme) noexcept {
  const std::size_t end = after_scheme.find_first_of("/?");
  return end == std::string_view::npos ? after_scheme.size() : end;
}

void split_query(RequestHead& head, std::uint32_t at, std::uint32_t size) noexcept {
  const char* path = head.bytes.data() + at;
  const void* mark = std::memchr(path, '?', size);
  head.path_at = at;
  head.path_size = mark == nullptr ? size : static_cast<std::uint32_t>(static_cast<const char*>(mark) - path);
  head.query_at = mark == nullptr ? at + size : at + head.path_size + 1;
  head.query_size = mark == nullptr ? 0 : size - head.path_size - 1;
  head.path_has_escape = std::memchr(path, '%', head.path_size) != nullptr;
}

Refusal parse_target(RequestHead& head) noexcept {
  const std::string_view target = head.target();
  for (char c : target)
    if (!kTargetCharacter[static_cast<unsigned char>(c)])
      return {400, "character that is not allowed in a request target"};

  if (target.front() == '/') {
    split_query(head, head.target_at, head.target_size);
    return {};
  }
  if (target == "*") {
    if (head.method() != "OPTIONS") return {400, "asterisk-form with a method other than OPTIONS"};
    split_query(head, head.target_at, 1);
    return {};
  }
  const std::size_t scheme = scheme_size(target);
  if (scheme == 0) return {400, "request target in no known form"};
  const std::size_t authority = authority_size(target.substr(scheme));
  if (!is_authority(target.substr(scheme, authority))) return {400, "bad authority in the request target"};
  const auto path_at = head.target_at + static_cast<std::uint32_t>(scheme + authority);
  const auto path_size = head.target_size - static_cast<std::uint32_t>(scheme + authority);
  split_query(head, path_at, path_size);
  if (head.path_size == 0) {  // "http://host" and "http://host?query": the path is "/" (RFC 9110 4.2.3)
    head.path_at = static_cast<std::uint32_t>(head.bytes.size());
    head.path_size = 1;
    head.bytes.push_back('/');
  }
  return {};
}

bool is_ipv6_literal(
    std::string_view text) noexcept {  // between the brackets; loosely: what reaches the app is text only
  if (text.size() < 2) return false;
  for (char c : text)
    if (hex_value(c) < 0 && c != ':' && c != '.') return false;
  return text.find(':') != std::string_view::npos;
}

}  // namespace

Refusal parse_request_line(RequestHead& head) noexcept {
  const char* line = head.bytes.data();
  const std::size_t size = head.bytes.size();

  std::size_t method = 0;
  while (method < size && method <= kLongestMethod && is_token(line[method])) ++method;
  if (method == 0 || method > kLongestMethod || method == size || line[method] != ' ') return {400, "malformed method"};

  const char* target = line + method + 1;
  const std::size_t rest = size - method - 1;
  const void* space = std::memchr(target, ' ', rest);
  if (space == nullptr) return {400, "request line without a version"};  // HTTP/0.9, too
  const auto target_size = static_cast<std::size_t>(static_cast<const char*>(space) - target);
  if (target_size == 0) return {400, "empty request target"};

  const std::string_view version(target + target_size + 1, rest - target_size - 1);
  if (version.size() != 8 || version.substr(0, 5) != "HTTP/" || !is_digit(version[5]) || version[6] != '.' ||
      !is_digit(version[7]))
    return {400, "malformed version, or a space in the request target"};
  if (version[5] != '1' || version[7] > '1') return {505, "HTTP version other than 1.0 and 1.1"};

  head.minor_version = static_cast<std::uint8_t>(version[7] - '0');
  head.method_size = static_cast<std::uint32_t>(method);
  head.target_at = static_cast<std::uint32_t>(method + 1);
  head.target_size = static_cast<std::uint32_t>(target_size);
  // Not 405: that would need an Allow field, which only the app could know.
  if (head.method() == "CONNECT") return {501, "CONNECT is not supported"};
  return parse_target(head);
}

bool is_authority(std::string_view text) noexcept {
  std::size_t host = 0;
  if (!text.empty() && text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || !is_ipv6_literal(text.substr(1, close - 1))) return false;
    host = close + 1;
  } else {
    while (true) {
      while (host < text.size() && kHostCharacter[static_cast<unsigned char>(text[host])]) ++host;
      if (host == text.size()) return host != 0;
      if (text[host] == '%' && host + 2 < text.size() && hex_value(text[host + 1]) >= 0 &&
          hex_value(text[host + 2]) >= 0) {
        host += 3;
      } else {
        break;
      }
    }
  }
  if (host == 0) return false;
  if (host == text.size()) return true;
  if (text[host] != ':') return false;
  const std::string_view port = text.substr(host + 1);  // may be empty (RFC 3986 3.2.3)
  if (port.size() > 5) return false;
  std::uint32_t number = 0;
  for (char c : port) {
    if (!is_digit(c)) return false;
    number = number * 10 + static_cast<std::uint32_t>(c - '0');
  }
  return number <= 65535;
}

std::string_view authority_of(const RequestHead& head) noexcept {
  const std::string_view target = head.target();
  if (target.empty() || target.front() == '/' || target == "*") return {};
  const std::size_t scheme = scheme_size(target);
  return target.substr(scheme, authority_size(target.substr(scheme)));
}

}  // namespace pyre::http
