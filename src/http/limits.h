// Limits and time-outs of an HTTP/1.1 connection. Every one is on by default; each default says why.
#pragma once

#include <chrono>
#include <cstdint>

namespace pyre::http {

struct Limits {
  std::uint32_t request_line_bytes = 8190;          // gunicorn's and Apache's figure; longer is 414
  std::uint32_t header_fields = 100;                // 431
  std::uint32_t header_bytes = 64 * 1024;           // whole header block, trailers too; 431
  std::uint64_t body_bytes = 0;                     // 0: no limit (bodies are streamed); longer is 413
  std::uint32_t chunk_extension_bytes = 16 * 1024;  // per request, or a peer could feed nothing for ever; 400
  std::uint32_t pipelined_heads = 16;               // parsed requests that wait for their turn
  std::uint32_t pipelined_bytes = 64 * 1024;        // their bytes; above either, reading stops
  std::uint32_t body_high_water = 64 * 1024;        // unread body bytes above which reading stops (uvicorn's figure)
  std::uint32_t body_low_water = 16 * 1024;         // and below which it goes on
  std::uint32_t output_high_water = 256 * 1024;     // queued output above which send() waits
  std::uint32_t output_low_water = 64 * 1024;
  std::uint32_t output_files = 16;              // queued files above which it waits, too: each holds a descriptor
  std::uint32_t drain_bytes = 64 * 1024;        // unread body that is drained to keep the connection alive
  std::uint32_t linger_bytes = 256 * 1024;      // discarded after an early answer, before the close
  std::uint32_t connections = 10'000;           // open at once, on all loops; then accepting pauses
  std::uint32_t header_block_out = 256 * 1024;  // a response head that an app may build
};

struct Timeouts {
  using ms = std::chrono::milliseconds;
  ms header{
      10'000};      // from accept, or a later request's first byte, to the end of its head; 408 if part of it had come
  ms body{30'000};  // no body byte while we are reading; 408
  std::uint32_t body_min_rate = 240;  // bytes/s over the time spent reading, after a grace of `body`; 0 turns it off
  ms write{60'000};                   // output queued and no byte taken
  ms keep_alive{75'000};              // idle between requests; nginx's default, above the usual load balancers' 60 s
  ms linger{2'000};                   // after an early answer
};

}  // namespace pyre::http
