#include "http/chunk_decoder.h"

#include <algorithm>

#include "http/characters.h"

namespace pyre::http {

void ChunkDecoder::start() noexcept { *this = ChunkDecoder{}; }

bool ChunkDecoder::extension(char c) noexcept {
  switch (state_) {
    case State::ext_before_semicolon:
      if (is_space(c)) return true;
      if (c != ';') return false;
      state_ = State::ext_name_start;
      return true;
    case State::ext_name_start:
      if (is_space(c)) return true;
      if (!is_token(c)) return false;
      state_ = State::ext_name;
      return true;
    case State::ext_name:
      if (is_token(c)) return true;
      break;
    case State::ext_before_equals:
      if (is_space(c)) return true;
      if (c != '=' && c != ';') return false;
      break;
    case State::ext_value_start:
      if (is_space(c)) return true;
      if (c == '"') {
        state_ = State::ext_quoted;
        return true;
      }
      if (!is_token(c)) return false;
      state_ = State::ext_value;
      return true;
    case State::ext_value:
      if (is_token(c)) return true;
      break;
    case State::ext_quoted:
      if (c == '"')
        state_ = State::ext_quoted_end;
      else if (c == '\\')
        state_ = State::ext_quoted_pair;
      else
        return c == '\t' || !is_control(c);
      return true;
    case State::ext_quoted_pair:
      state_ = State::ext_quoted;
      return c == '\t' || !is_control(c);
    case State::ext_quoted_end:
      break;
    default:
      return false;
  }
  // After a name, a token value or a quoted value.
  const bool after_name = state_ == State::ext_name || state_ == State::ext_before_equals;
  if (c == ';')
    state_ = State::ext_name_start;
  else if (c == '=' && after_name)
    state_ = State::ext_value_start;
  else if (is_space(c))
    state_ = after_name ? State::ext_before_equals : State::ext_before_semicolon;
  else if (c == '\r' && state_ != State::ext_before_equals)
    state_ = State::size_lf;
  else
    return false;
  return true;
}

ChunkDecoder::Step ChunkDecoder::decode(std::span<const std::byte> input, const Limits& limits,
                                        std::uint32_t& header_bytes, std::uint16_t& header_fields) noexcept {
  const auto fail = [](std::uint16_t status, const char* reason) noexcept {
    return Step{Event::error, 0, {}, {status, reason}};
  };
  const char* const begin = reinterpret_cast<const char*>(input.data());
  const char* const end = begin + input.size();
  const char* p = begin;
  while (p != end) {
    const char c = *p;
    switch (state_) {
      case State::size_start:
      case State::size: {
        const int digit = hex_value(c);
        if (digit >= 0) {
          if (++digits_ > 16) return fail(400, "chunk size with too many digits");
          left_ = left_ << 4 | static_cast<std::uint64_t>(digit);
          state_ = State::size;
        } else if (state_ == State::size_start || (c != '\r' && c != ';' && !is_space(c))) {
          return fail(400, "chunk size that is not a hexadecimal number");
        } else if (left_ > 0x7fff'ffff'ffff'ffffU) {
          return fail(400, "chunk size too large");
        } else if (c == '\r') {
          state_ = State::size_lf;
        } else {
          ++extension_bytes_;
          state_ = c == ';' ? State::ext_name_start : State::ext_before_semicolon;
        }
        break;
      }
      case State::ext_before_semicolon:
      case State::ext_name_start:
      case State::ext_name:
      case State::ext_before_equals:
      case State::ext_value_start:
      case State::ext_value:
      case State::ext_quoted:
      case State::ext_quoted_pair:
      case State::ext_quoted_end:
        if (!extension(c)) return fail(400, "malformed chunk extension");
        if (++extension_bytes_ > limits.chunk_extension_bytes) return fail(400, "chunk extensions over the limit");
        break;
      case State::size_lf:
        if (c != '\n') return fail(400, "chunk size line that does not end in CRLF");
        last_ = left_ == 0;
        state_ = last_ ? State::trailer_start : State::data;
        break;
      case State::data: {
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, static_cast<std::uint64_t>(end - p)));
        left_ -= size;
        if (left_ == 0) state_ = State::data_cr;
        return Step{
            Event::data, static_cast<std::size_t>(p - begin) + size, {reinterpret_cast<const std::byte*>(p), size}, {}};
      }
      case State::data_cr:
        if (c != '\r') return fail(400, "chunk data that does not end in CRLF");
        state_ = State::data_lf;
        break;
      case State::data_lf:
        if (c != '\n') return fail(400, "chunk data that does not end in CRLF");
        digits_ = 0;
        state_ = State::size_start;
        break;
      case State::trailer_start:
        if (c == '\r') {
          state_ = State::end_lf;
          break;
        }
        if (!is_token(c)) return fail(400, "malformed trailer field");
        if (++header_fields > limits.header_fields) return fail(431, "too many trailer fields");
        ++header_bytes;
        state_ = State::trailer_name;
        break;
      case State::trailer_name:
        if (c == ':')
          state_ = State::trailer_value;
        else if (!is_token(c))
          return fail(400, "malformed trailer field");
        if (++header_bytes > limits.header_bytes) return fail(431, "trailer section too large");
        break;
      case State::trailer_value:
        if (c == '\r')
          state_ = State::trailer_lf;
        else if (is_control(c) && c != '\t')
          return fail(400, "malformed trailer field");
        if (++header_bytes > limits.header_bytes) return fail(431, "trailer section too large");
        break;
      case State::trailer_lf:
        if (c != '\n') return fail(400, "trailer field that does not end in CRLF");
        ++header_bytes;
        state_ = State::trailer_start;
        break;
      case State::end_lf:
        if (c != '\n') return fail(400, "chunked body that does not end in CRLF");
        return Step{Event::end, static_cast<std::size_t>(p - begin) + 1, {}, {}};
    }
    ++p;
  }
  return Step{Event::need_more, input.size(), {}, {}};
}

}  // namespace pyre::http
