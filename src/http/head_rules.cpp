#include "http/head_rules.h"

#include "http/characters.h"
#include "http/request_line.h"

namespace pyre::http {
namespace {

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (to_lower(text[i]) != lower[i]) return false;
  return true;
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// The next element of a comma-separated list (may be empty); takes it off `list`.
std::string_view next_element(std::string_view& list) noexcept {
  const std::size_t comma = list.find(',');
  const std::string_view element = trimmed(list.substr(0, comma));
  list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  return element;
}

struct ConnectionOptions {
  bool close = false;
  bool keep_alive = false;
  bool upgrade = false;

  void add(std::string_view list) noexcept {
    while (!list.empty()) {
      const std::string_view option = next_element(list);
      if (equals_ignoring_case(option, "close"))
        close = true;
      else if (equals_ignoring_case(option, "keep-alive"))
        keep_alive = true;
      else if (equals_ignoring_case(option, "upgrade"))
        upgrade = true;
    }
  }
};

bool list_has(std::string_view list, std::string_view lower) noexcept {
  while (!list.empty())
    if (equals_ignoring_case(next_element(list), lower)) return true;
  return false;
}

Refusal check_transfer_encoding(std::string_view value) noexcept {
  if (equals_ignoring_case(value, "chunked")) return {};
  // Anything else is refused; which status depends on whether the length could have been found (RFC 9112 6.3: 400 if
  // not) or only the coding is unknown to us (RFC 9112 6.1: 501).
  std::string_view rest = value;
  std::string_view last;
  bool well_formed = true;
  bool chunked_before_the_end = false;
  while (!rest.empty()) {
    if (equals_ignoring_case(last, "chunked")) chunked_before_the_end = true;
    last = next_element(rest);
    if (last.empty()) well_formed = false;
    for (char c : last)
      if (!is_token(c)) well_formed = false;
  }
  if (!well_formed || chunked_before_the_end || !equals_ignoring_case(last, "chunked") || value.back() == ',')
    return {400, "Transfer-Encoding that does not end in chunked"};
  return {501, "unknown transfer coding"};
}

}  // namespace

bool parse_content_length(std::string_view text, std::uint64_t& out) noexcept {
  if (text.empty() || text.size() > 19) return false;  // 2^63-1 has 19 digits
  if (text.size() > 1 && text.front() == '0') return false;
  std::uint64_t value = 0;
  for (char c : text) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');  // 19 digits fit in 64 bits
  }
  if (value > 0x7fff'ffff'ffff'ffffU) return false;
  out = value;
  return true;
}

Refusal apply_head_rules(RequestHead& head, const Limits& limits) noexcept {
  const bool is_1_1 = head.minor_version >= 1;
  ConnectionOptions options;
  HeaderField* host = nullptr;
  const HeaderField* coding = nullptr;
  bool upgrade = false;
  bool unknown_expectation = false;
  for (HeaderField& field : head.fields) {
    switch (field.id) {
      case HeaderName::host:
        if (host != nullptr) return {400, "more than one Host field"};
        host = &field;
        break;
      case HeaderName::content_length:
        // A repeated one is refused even if it says the same (RFC 9110 8.6 allows that): proxies differ in what they
        // make of it.
        if (head.has_content_length) return {400, "more than one Content-Length field"};
        if (!parse_content_length(head.value(field), head.content_length)) return {400, "malformed Content-Length"};
        head.has_content_length = true;
        break;
      case HeaderName::transfer_encoding:
        if (coding != nullptr) return {400, "more than one Transfer-Encoding field"};
        coding = &field;
        break;
      case HeaderName::connection:
        options.add(head.value(field));
        break;
      case HeaderName::expect:
        if (equals_ignoring_case(head.value(field), "100-continue"))
          head.expect_continue = true;
        else
          unknown_expectation = true;
        break;
      case HeaderName::upgrade:
        upgrade = true;
        break;
      case HeaderName::te:
        if (list_has(head.value(field), "trailers")) head.accepts_trailers = true;
        break;
      default:
        break;
    }
  }

  if (host == nullptr) {
    if (is_1_1) return {400, "HTTP/1.1 request without a Host field"};
  } else {
    if (!is_authority(head.value(*host))) return {400, "malformed Host field"};
    // RFC 9112 3.2.2: with an absolute-form target the Host field is ignored, and the target's authority used instead.
    const std::string_view authority = authority_of(head);
    if (!authority.empty()) {
      host->value_at = static_cast<std::uint32_t>(authority.data() - head.bytes.data());
      host->value_size = static_cast<std::uint32_t>(authority.size());
    }
  }

  if (coding != nullptr) {
    if (!is_1_1) return {400, "Transfer-Encoding in an HTTP/1.0 request"};
    if (head.has_content_length) return {400, "both Transfer-Encoding and Content-Length"};
    if (head.value(*coding).empty()) return {400, "empty Transfer-Encoding"};
    if (const Refusal refusal = check_transfer_encoding(head.value(*coding))) return refusal;
    head.chunked = true;
  }
  if (limits.body_bytes != 0 && head.content_length > limits.body_bytes) return {413, "Content-Length over the limit"};

  head.keep_alive = options.close ? false : (is_1_1 || options.keep_alive);
  head.upgrade = is_1_1 && upgrade && options.upgrade;  // RFC 9110 7.8: ignored in HTTP/1.0
  if (!is_1_1) {                                        // RFC 9110 10.1.1: expectations of HTTP/1.0 are ignored
    head.expect_continue = false;
  } else if (unknown_expectation) {
    return {417, "expectation other than 100-continue"};
  }
  if (!head.has_body()) head.expect_continue = false;
  return {};
}

}  // namespace pyre::http
