// DateCache: the Date field (RFC 9110 6.6.1), formatted once per second of the wall clock.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace pyre::http {

class DateCache {
 public:
  // "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" for this Unix time; valid until the next call.
  [[nodiscard]] std::string_view line(std::int64_t wall_second) noexcept {
    if (wall_second != second_) format(wall_second);
    return {text_.data(), text_.size()};
  }

 private:
  void format(std::int64_t wall_second) noexcept;
  std::int64_t second_ = INT64_MIN;
  std::array<char, 37> text_{};
};

}  // namespace pyre::http
