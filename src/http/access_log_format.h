// The two shapes of an access log line. Pure: entry in, bytes out, no allocation.
#pragma once

#include <cstddef>
#include <cstdint>

#include "http/access_log.h"

namespace pyre::http {

// "2026-11-21T05:34:12", made once a second, not once a line.
struct CachedDate {
  std::int64_t second = -1;
  char text[19];
};

// No line is longer; what is longer in the request is cut and ends in "...".
[[nodiscard]] std::size_t log_line_bound(const AccessLog::Entry& entry) noexcept;
// Writes a line with its '\n' to `out`, which has log_line_bound() bytes. Returns its end.
[[nodiscard]] char* write_text_line(const AccessLog::Entry& entry, char* out) noexcept;
[[nodiscard]] char* write_json_line(const AccessLog::Entry& entry, std::int64_t wall_ms, CachedDate& date,
                                    char* out) noexcept;

// The line that owns up to `count` lost ones.
inline constexpr std::size_t kLossLineBound = 256;
[[nodiscard]] char* write_loss_line(AccessLog::Format format, std::uint64_t count, std::int64_t wall_ms,
                                    char* out) noexcept;

}  // namespace pyre::http
