#include "http/response_head.h"

#include <algorithm>
#include <cstring>

#include "http/characters.h"

namespace pyre::http {
namespace {

constexpr std::size_t kKeepBytes = 4096;  // what a pooled head may keep; most answers have < 1 KiB of fields

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (to_lower(text[i]) != lower[i]) return false;
  return true;
}

bool has_close(std::string_view list) noexcept {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view option = list.substr(0, comma);
    while (!option.empty() && is_space(option.front())) option.remove_prefix(1);
    while (!option.empty() && is_space(option.back())) option.remove_suffix(1);
    if (equals_ignoring_case(option, "close")) return true;
    list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
  }
  return false;
}

bool parse_length(std::string_view text, std::uint64_t& out) noexcept {
  while (text.size() > 1 && text.front() == '0') text.remove_prefix(1);  // an app's "007" is 7: we write our own digits
  if (text.empty() || text.size() > 19) return false;
  std::uint64_t value = 0;
  for (char c : text) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (value > 0x7fff'ffff'ffff'ffffU) return false;
  out = value;
  return true;
}

// The fields with a meaning for the connection, by length and then by text; most fields have other lengths.
enum class Special : std::uint8_t { none, connection, content_length, date, dropped, server, transfer_encoding };

Special special_of(std::string_view name) noexcept {
  switch (name.size()) {
    case 4:
      return equals_ignoring_case(name, "date") ? Special::date : Special::none;
    case 6:
      return equals_ignoring_case(name, "server") ? Special::server : Special::none;
    case 7:
      return equals_ignoring_case(name, "upgrade") ? Special::dropped : Special::none;
    case 10:
      if (equals_ignoring_case(name, "connection")) return Special::connection;
      return equals_ignoring_case(name, "keep-alive") ? Special::dropped : Special::none;
    case 14:
      return equals_ignoring_case(name, "content-length") ? Special::content_length : Special::none;
    case 16:
      return equals_ignoring_case(name, "proxy-connection") ? Special::dropped : Special::none;
    case 17:
      return equals_ignoring_case(name, "transfer-encoding") ? Special::transfer_encoding : Special::none;
    default:
      return Special::none;
  }
}

}  // namespace

const char* text_of(FieldError error) noexcept {
  switch (error) {
    case FieldError::ok:
      return "ok";
    case FieldError::bad_name:
      return "a header name must be a token: letters, digits and !#$%&'*+-.^_`|~ only, and at least one of them";
    case FieldError::bad_value:
      return "a header value must not contain CR, LF, NUL or other control characters";
    case FieldError::bad_content_length:
      return "content-length must be a decimal number below 2**63";
    case FieldError::duplicate_content_length:
      return "content-length must be given only once";
    case FieldError::bad_transfer_encoding:
      return "transfer-encoding is the server's business; leave it out, or say 'chunked'";
    case FieldError::too_large:
      return "the response headers are too large";
    case FieldError::forbidden_trailer:
      return "this field must not be sent as a trailer (RFC 9110, section 6.5.1); send it as a header";
  }
  return "unknown error";
}

FieldError check_field(std::string_view name, std::string_view& value) noexcept {
  if (name.empty()) return FieldError::bad_name;
  for (char c : name)
    if (!is_token(c)) return FieldError::bad_name;
  const char* p = value.data();
  const char* const end = p + value.size();
  while ((p = find_control(p, end)) != end) {
    if (*p != '\t') return FieldError::bad_value;
    ++p;
  }
  while (!value.empty() && is_space(value.front())) value.remove_prefix(1);
  while (!value.empty() && is_space(value.back())) value.remove_suffix(1);
  return FieldError::ok;
}

bool is_allowed_in_trailers(std::string_view name) noexcept {
  // RFC 9110 6.5.1: nothing that frames, routes, modifies the request, authenticates, or says how to process the
  // content.
  static constexpr std::string_view kForbidden[] = {
      "age",
      "authorization",
      "cache-control",
      "connection",
      "content-encoding",
      "content-length",
      "content-range",
      "content-type",
      "date",
      "expect",
      "expires",
      "host",
      "if-match",
      "if-modified-since",
      "if-none-match",
      "if-range",
      "if-unmodified-since",
      "keep-alive",
      "location",
      "max-forwards",
      "pragma",
      "proxy-authenticate",
      "proxy-authorization",
      "proxy-connection",
      "range",
      "retry-after",
      "set-cookie",
      "te",
      "trailer",
      "transfer-encoding",
      "upgrade",
      "vary",
      "warning",
      "www-authenticate",
  };
  return std::none_of(std::begin(kForbidden), std::end(kForbidden),
                      [name](std::string_view forbidden) { return equals_ignoring_case(name, forbidden); });
}

void ResponseHead::start(std::uint16_t status) noexcept {
  reset();
  status_ = status;
}

FieldError ResponseHead::add(std::string_view name, std::string_view value) noexcept {
  if (const FieldError error = check_field(name, value); error != FieldError::ok) return error;
  switch (special_of(name)) {
    case Special::none:
      break;
    case Special::connection:
      if (has_close(value)) wants_close_ = true;
      return FieldError::ok;
    case Special::content_length:
      if (has_content_length_) return FieldError::duplicate_content_length;
      if (!parse_length(value, content_length_)) return FieldError::bad_content_length;
      has_content_length_ = true;
      return FieldError::ok;
    case Special::date:
      has_date_ = true;
      break;
    case Special::dropped:
      return FieldError::ok;
    case Special::server:
      has_server_ = true;
      break;
    case Special::transfer_encoding:
      return equals_ignoring_case(value, "chunked") ? FieldError::ok : FieldError::bad_transfer_encoding;
  }
  return append(name, value);
}

FieldError ResponseHead::add_lines(std::string_view lines) noexcept { return insert(bytes_.size(), lines); }

FieldError ResponseHead::insert(std::size_t at, std::string_view text) noexcept {
  if (!has_room(text.size())) return FieldError::too_large;
  bytes_.insert(bytes_.begin() + static_cast<std::ptrdiff_t>(at), text.begin(), text.end());
  return FieldError::ok;
}

FieldError ResponseHead::append(std::string_view name, std::string_view value) noexcept {
  const std::size_t old = bytes_.size();
  const std::size_t size = name.size() + value.size() + 4;
  if (size > limit_ || old > limit_ - size) return FieldError::too_large;
  bytes_.resize(old + size);
  char* out = bytes_.data() + old;
  std::memcpy(out, name.data(), name.size());
  out += name.size();
  *out++ = ':';
  *out++ = ' ';
  if (!value.empty()) std::memcpy(out, value.data(), value.size());
  out += value.size();
  *out++ = '\r';
  *out = '\n';
  return FieldError::ok;
}

void ResponseHead::reset() noexcept {
  if (bytes_.capacity() > kKeepBytes)
    std::vector<char>().swap(bytes_);
  else
    bytes_.clear();
  content_length_ = 0;
  status_ = 0;
  has_content_length_ = wants_close_ = has_date_ = has_server_ = false;
}

}  // namespace pyre::http
