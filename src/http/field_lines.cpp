#include "http/field_lines.h"

#include <cstring>

#include "http/characters.h"

namespace pyre::http {

bool read_field_lines(RequestHead& head, const Limits& limits, const char*& p, const char* end) noexcept {
  static constexpr std::ptrdiff_t kLongestName = 64;
  static constexpr std::size_t kRoom =
      512;  // the block's copy grows by so much: zeroing it is cheap, and most heads fit
  std::vector<char>& bytes = head.bytes;
  const std::size_t old = bytes.size();
  std::size_t at = old;
  const char* q = p;
  bool complete = false;
  for (std::uint32_t left = limits.header_fields; end - q >= 2;) {
    if (*q == '\r') {
      complete = q[1] == '\n' && static_cast<std::size_t>(q + 2 - p) <= limits.header_bytes;
      break;
    }
    if (left-- == 0) break;
    if (bytes.size() < at + kLongestName) bytes.resize(at + kRoom);
    const char* const name_end = end - q > kLongestName ? q + kLongestName : end;
    char* const name = bytes.data() + at;
    char* out = name;
    while (q != name_end) {
      const char lower = kTokenLower[static_cast<unsigned char>(*q)];
      if (lower == 0) break;
      *out++ = lower;
      ++q;
    }
    const auto name_size = static_cast<std::size_t>(out - name);
    if (name_size == 0 || q == name_end || *q != ':') break;
    ++q;
    while (q != end && is_space(*q)) ++q;
    const char* const value = q;
    q = find_control(q, end);
    while (q != end && *q == '\t') q = find_control(q + 1, end);
    if (end - q < 2 || q[0] != '\r' || q[1] != '\n') break;
    const char* value_end = q;
    while (value_end != value && is_space(value_end[-1])) --value_end;
    q += 2;

    const auto value_size = static_cast<std::size_t>(value_end - value);
    HeaderField field;
    field.name_at = static_cast<std::uint32_t>(at);
    field.name_size = static_cast<std::uint16_t>(name_size);
    field.id = find_header_name({name, name_size});
    at += name_size;
    field.value_at = static_cast<std::uint32_t>(at);
    field.value_size = static_cast<std::uint32_t>(value_size);
    if (bytes.size() < at + value_size) bytes.resize(at + value_size + kRoom);
    if (value_size != 0) std::memcpy(bytes.data() + at, value, value_size);
    at += value_size;
    head.fields.push_back(field);
  }
  if (!complete) {
    head.fields.clear();
    bytes.resize(old);
    return false;
  }
  bytes.resize(at);
  p = q + 2;
  return true;
}

}  // namespace pyre::http
