// AccessLog: one line per finished exchange, formatted on the loop's thread without the GIL into that loop's bounded
// ring, written by one thread of its own for all of them. A full disk, a blocked pipe or a reader that stopped costs
// dropped lines and a counter, never a stalled loop. Lines of one loop are in order; those of several are in the order
// in which the writer came by.
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
  static constexpr std::size_t kRingBytes = 1024 * 1024;  // of each loop; ~8,000 lines: half a second at full speed

  struct Entry {
    const RequestHead* request;  // null for a request that could not be parsed
    const ConnectionInfo* connection;
    const ForwardedInfo* forwarded;
    std::uint16_t status;
    std::uint64_t body_bytes;   // response body bytes
    std::uint64_t duration_us;  // from the head's last byte to the response's last byte queued
  };

  // Writes to `fd` (not closed by us, nor are its flags changed; may be a pipe, a file or a terminal). `sources`: how
  // many threads record. The writer starts here; in a fork()ed child, which does not have it, everything here does
  // nothing.
  AccessLog(platform::NativeFile fd, Format format, std::uint32_t sources = 1) noexcept;
  ~AccessLog();  // writes what is there, for at most 1 s
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  // The thread of `source`; no allocation, no system call. `wall_second` is the Unix time.
  // Text: `INFO:     127.0.0.1:54321 - "GET /path?query HTTP/1.1" 200 13 0.000123`, uvicorn's default line with bytes
  // and seconds instead of the phrase. IPv6 is in brackets, a unix peer is "unix", a request that could not be parsed
  // is "-". Everything from the client is escaped (\xNN for what is not printable ASCII, and for '"' and '\'), so a
  // line is one line and no terminal code gets through.
  // JSON: one object a line, ASCII: time (RFC 3339, ms), level, logger "pyre.access", client, method, path, query,
  // http_version, status, bytes, duration_ms, user_agent (null: none). Bytes from the client are read as Latin-1
  // (\u00NN), so nothing is lost and any input is valid.
  // A target is cut after 8190 bytes, a user agent after 512, marked by "...".
  void record(const Entry& entry, std::int64_t wall_second, std::uint32_t source = 0) noexcept;
  // The thread of `source`, once per tick. Wakes the writer only if it sleeps for want of lines or the ring is a
  // quarter full; under load it wakes by itself every 50 ms, so a tick costs no system call, and a line is visible
  // within ~60 ms.
  void flush(std::uint32_t source = 0) noexcept;
  [[nodiscard]] std::uint64_t written() const noexcept;  // lines that the kernel took
  // Lines that found the ring full; the writer tells of them in a line when it works again.
  [[nodiscard]] std::uint64_t dropped() const noexcept;

  // Pure; used by record(), and by tests. Appends to `out`.
  static void format(Format format, const Entry& entry, std::int64_t wall_ms, std::string& out);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // shared with the writer, which may outlive us in a write(2) that never returns
};

}  // namespace pyre::http
