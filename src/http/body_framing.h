// BodyFraming: how the end of a response body is told (RFC 9112 6 and 7), decided once per response from what is known
// when its head is written; and the framing of chunks.
#pragma once

#include <cstdint>
#include <string_view>

namespace pyre::http {

struct BodyFraming {
  enum class Kind : std::uint8_t {
    none,    // no body may be sent (HEAD, 204, 205, 304): what the app gives is dropped
    length,  // Content-Length: exactly `length` bytes
    chunked,
    close_delimited,  // HTTP/1.0 without a length: the end of the connection is the end of the body
  };
  enum class Field : std::uint8_t { none, content_length, chunked };  // what the head says about it

  Kind kind = Kind::none;
  Field field = Field::none;
  std::uint64_t length = 0;  // the field's value, if it is content_length
};

struct BodyFacts {
  bool head_request = false;
  std::uint8_t minor_version = 1;
  std::uint16_t status = 200;
  bool app_length_set = false;  // the app gave a Content-Length
  std::uint64_t app_length = 0;
  bool total_known = false;  // the first piece is the last
  std::uint64_t total = 0;
  bool trailers_follow = false;
};

[[nodiscard]] BodyFraming choose_framing(const BodyFacts& facts) noexcept;

// Responses with these never have a body, whatever the request was.
[[nodiscard]] constexpr bool is_bodyless(std::uint16_t status) noexcept {
  return status < 200 || status == 204 || status == 205 || status == 304;
}

// "1a2b\r\n"; size > 0, since an empty chunk would end the body.
inline constexpr std::size_t kMaxChunkHeader = 18;
[[nodiscard]] std::string_view chunk_header(std::uint64_t size, char (&scratch)[kMaxChunkHeader]) noexcept;

// Decimal digits.
inline constexpr std::size_t kMaxDecimal = 20;
[[nodiscard]] std::string_view decimal(std::uint64_t value, char (&scratch)[kMaxDecimal]) noexcept;

}  // namespace pyre::http
