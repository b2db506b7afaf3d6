// AccessLog: one line per finished exchange, formatted on the loop's thread without the GIL into a bounded ring, written by a thread of
// its own. A full disk, a blocked pipe or a reader that stopped costs dropped lines and a counter, never a stalled loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "http/exchange.h"
#include "platform/native.h"

namespace pyre::http {

class AccessLog {
 public:
  enum class Format : std::uint8_t { text, json };
  static constexpr std::size_t kRingBytes = 1024 * 1024;  // ~8,000 lines: half a second at full speed

  struct Entry {
    const RequestHead* request;       // null for a request that could not be parsed
    const ConnectionInfo* connection;
    const ForwardedInfo* forwarded;
    std::uint16_t status;
    std::uint64_t body_bytes;         // response body bytes
    std::uint64_t duration_us;        // from the head's last byte to the response's last byte queued
  };

  // Writes to `fd` (not closed by us; may be a pipe, a file or a terminal). The thread starts here.
  AccessLog(platform::NativeFile fd, Format format) noexcept;
  ~AccessLog();  // writes what is there, for at most 1 s
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // The loop's thread. `wall_second` is the Unix time. Text: `127.0.0.1:54321 - "GET /path?query HTTP/1.1" 200 13 0.000123` preceded by
  // "INFO:     " as uvicorn's default does; everything from the client is escaped (\xNN), so a line is one line and no terminal code
  // gets through. JSON: one object a line: time (RFC 3339, ms), level, logger "pyre.access", client, method, path, query, http_version, status,
  // bytes, duration_ms, user_agent.
  void record(const Entry& entry, std::int64_t wall_second) noexcept;
  void flush() noexcept;  // hands what was recorded in this tick to the thread: one notify per tick, not per line
  [[nodiscard]] std::uint64_t written() const noexcept;
  [[nodiscard]] std::uint64_t dropped() const noexcept;

  // Pure; used by record(), and by tests. Appends to `out`.
  static void format(Format format, const Entry& entry, std::int64_t wall_ms, std::string& out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pyre::http
