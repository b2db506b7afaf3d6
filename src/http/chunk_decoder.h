// ChunkDecoder: the chunked transfer coding (RFC 9112 7.1), byte-exact. It is apart from llhttp on purpose: versions of
// that have let through bare LF, spaces after the size and endless extensions, and each of these was a way to smuggle a
// request.
//
// Strict: CRLF only; 1-16 hexadecimal digits and no sign, prefix or leading space; extensions by the grammar; trailer
// fields by the grammar, then dropped (ASGI has no event for them).
#pragma once

#include <cstdint>
#include <span>

#include "http/limits.h"
#include "http/refusal.h"

namespace pyre::http {

class ChunkDecoder {
 public:
  enum class Event : std::uint8_t { need_more, data, end, error };
  struct Step {
    Event event;
    std::size_t used;
    std::span<const std::byte> data{};
    Refusal refusal{};
  };

  void start() noexcept;
  // One event. `trailer_bytes` and `trailer_fields` count on from the head's, since the limits are for both together.
  [[nodiscard]] Step decode(std::span<const std::byte> input, const Limits& limits, std::uint32_t& header_bytes,
                            std::uint16_t& header_fields) noexcept;

 private:
  enum class State : std::uint8_t {
    size_start,
    size,
    ext_before_semicolon,  // spaces after the size or after an extension: only ";" may follow
    ext_name_start,
    ext_name,
    ext_before_equals,  // spaces after a name: "=" or ";" may follow
    ext_value_start,
    ext_value,
    ext_quoted,
    ext_quoted_pair,
    ext_quoted_end,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer_name,
    trailer_value,
    trailer_lf,
    end_lf,
  };

  [[nodiscard]] bool extension(char c) noexcept;  // one character of an extension; false if it may not stand there

  std::uint64_t left_ = 0;  // of the chunk, once its size is known
  std::uint32_t extension_bytes_ = 0;
  State state_ = State::size_start;
  std::uint8_t digits_ = 0;
  bool last_ = false;  // the size was 0
};

}  // namespace pyre::http
