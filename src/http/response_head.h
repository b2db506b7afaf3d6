// ResponseHead: a status line and fields on their way out. Each field is checked when it is added (RFC 9110 5.1, 5.5),
// so what reaches the wire can never be split by a CR, LF or NUL from an app. Reused: reset() keeps up to 4 KiB.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace pyre::http {

enum class FieldError : std::uint8_t {
  ok,
  bad_name,   // not a token
  bad_value,  // CR, LF, NUL or another control byte (HTAB is fine), or leading/trailing whitespace is trimmed, not an
              // error
  bad_content_length,        // not digits, or over 2^63-1
  duplicate_content_length,  // a second one, whatever its value
  bad_transfer_encoding,     // anything but "chunked"
  too_large,                 // Limits::header_block_out
  forbidden_trailer,  // framing, routing, authentication and the like must not be in a trailer section (RFC 9110 6.5.1)
};
[[nodiscard]] const char* text_of(FieldError error) noexcept;  // for the app's exception: says what to do

class ResponseHead {
 public:
  // Starts over. 100..999; 1xx only through informational responses.
  void start(std::uint16_t status) noexcept;
  // Field names are written as given (apps send them lower-case). Hop-by-hop fields have a defined result:
  //   Connection: "close" closes after this response, "keep-alive" and others are dropped (the server writes its own);
  //   Transfer-Encoding: "chunked" is what the server would do: dropped, other values are an error;
  //   Keep-Alive, Upgrade, Proxy-Connection: dropped; Trailer: kept; Content-Length: remembered, written by the server;
  //   Date, Server: kept, and then the server adds none of its own.
  [[nodiscard]] FieldError add(std::string_view name, std::string_view value) noexcept;
  // Complete "name: value\r\n" lines of our own, in which nothing is left to check: none of the fields above.
  [[nodiscard]] FieldError add_lines(std::string_view lines) noexcept;
  // The same into the middle of fields().
  [[nodiscard]] FieldError insert(std::size_t at, std::string_view text) noexcept;
  [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
    return bytes <= limit_ && bytes_.size() <= limit_ - bytes;
  }
  void forget_content_length() noexcept { has_content_length_ = false; }

  [[nodiscard]] std::uint16_t status() const noexcept { return status_; }
  [[nodiscard]] std::string_view fields() const noexcept {
    return {bytes_.data(), bytes_.size()};
  }  // "name: value\r\n"...
  [[nodiscard]] bool has_content_length() const noexcept { return has_content_length_; }
  [[nodiscard]] std::uint64_t content_length() const noexcept { return content_length_; }
  [[nodiscard]] bool wants_close() const noexcept { return wants_close_; }
  [[nodiscard]] bool has_date() const noexcept { return has_date_; }
  [[nodiscard]] bool has_server() const noexcept { return has_server_; }
  [[nodiscard]] bool empty() const noexcept { return status_ == 0; }
  void reset() noexcept;
  // The size that fields() may grow to; the server sets it from Limits::header_block_out.
  void set_limit(std::uint32_t bytes) noexcept { limit_ = bytes; }

 private:
  friend class AppExchange;  // appends trailers once the head is taken over
  [[nodiscard]] FieldError append(std::string_view name, std::string_view value) noexcept;

  std::vector<char> bytes_;
  std::uint32_t limit_ = 256 * 1024;
  std::uint64_t content_length_ = 0;
  std::uint16_t status_ = 0;
  bool has_content_length_ = false;
  bool wants_close_ = false;
  bool has_date_ = false;
  bool has_server_ = false;
};

// Checks one field as ResponseHead::add() does and trims the value; looks at nothing but the grammar.
[[nodiscard]] FieldError check_field(std::string_view name, std::string_view& value) noexcept;
// May a field of this name be in a trailer section?
[[nodiscard]] bool is_allowed_in_trailers(std::string_view name) noexcept;

// "HTTP/1.1 200 OK\r\n"; a status without a registered phrase gets an empty one ("HTTP/1.1 299 \r\n").
[[nodiscard]] std::string_view status_line(std::uint16_t status, char (&scratch)[24]) noexcept;
[[nodiscard]] std::string_view reason_phrase(std::uint16_t status) noexcept;

}  // namespace pyre::http
