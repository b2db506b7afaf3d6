// HTTP dates (RFC 9110 5.6.7): written in the one form, read in all three.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace pyre::http {

inline constexpr std::size_t kHttpDateSize = 29;
// "Sun, 06 Nov 1994 08:49:37 GMT" for this Unix time, of the years 1970 to 9999.
void format_http_date(std::int64_t seconds, std::array<char, kHttpDateSize>& out) noexcept;

// The Unix time, or none if `text` is no date. "Sunday, 06-Nov-94 08:49:37 GMT" and "Sun Nov  6 08:49:37 1994" are
// dates, too. `now` tells the century of a year with two digits: not more than 50 years in the future.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(std::string_view text, std::int64_t now) noexcept;

}  // namespace pyre::http
