// Server: the connections of one loop, from accept to close. Owns the acceptors, the pools and the options.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "http/access_log.h"
#include "http/exchange.h"
#include "http/forwarded.h"
#include "http/limits.h"
#include "net/acceptor.h"
#include "net/loop.h"
#include "net/offload.h"

namespace pyre::http {

class Compression;
class Placement;
class StaticFiles;

class ServerOptions {
 public:
  Limits limits;
  Timeouts timeouts;
  bool date_header = true;
  std::string server_header;  // "" = none
  std::string
      default_fields;  // complete "name: value\r\n" lines, checked when they were configured; added to every response
  TrustedProxies trusted_proxies;   // empty: forwarded headers are left alone
  AccessLog* access_log = nullptr;  // null: off. Outlives the server.
  std::uint32_t loop_index = 0;     // among the loops of one process: its source in the log, its place in `placement`
  Placement* placement = nullptr;   // null: this server is alone. Outlives the server.
  std::shared_ptr<const Compression> compression;  // null: responses are sent as they are
  // Bytes from which on a piece is compressed by the Offload and not by the loop's thread. See bench/micro/offload.
  std::uint32_t offload_from = kOffloadFrom;
  // gzip's usual level takes 47 us for that much, zstd's 21; the way there and back takes 4 us of the loop's thread.
  static constexpr std::uint32_t kOffloadFrom = 4096;
  // Work in one tick, in microseconds, above which the loop offers heads to `overflow_to`; and the bytes from which on
  // a head is offered that came alone and whole: what parsing smaller ones saves is not worth the answers that come a
  // tick later (0: whatever ends as a head does, for tests). See overflow.h.
  std::uint32_t overflow_after_us = kNeverOverflow;
  static constexpr std::uint32_t kNeverOverflow = UINT32_MAX;
  std::uint32_t overflow_from = kOverflowFrom;
  static constexpr std::uint32_t kOverflowFrom = 4096;
  net::OffloadPort overflow_to = net::OffloadPort::of_process();
  std::shared_ptr<const StaticFiles> static_files;  // null: none. They are answered before the handler sees them.
};

// Of compression (coded_body.h).
struct CodingStats {
  std::uint64_t responses = 0;  // that were coded
  std::uint64_t bytes_in = 0;   // of their bodies, as the applications gave them
  std::uint64_t bytes_out = 0;
  std::uint64_t inlined = 0;    // steps that the loop's thread did
  std::uint64_t offloaded = 0;  // and those that the Offload did
  std::uint64_t no_gain = 0;    // responses sent as they were: coding would have made them larger
  std::uint64_t no_room = 0;    // streams sent as they were: see CodedBody::kStreamMemory
};

// Of heads that came while the loop was behind (overflow.h).
struct ParseStats {
  std::uint64_t ticks_behind = 0;  // ticks in which there was more to do than overflow_after_us
  std::uint64_t inlined = 0;     // reads that were parsed at once all the same: small, not one head, no thread was idle
  std::uint64_t offered = 0;     // the others; of these
  std::uint64_t stolen = 0;      // came back parsed
  std::uint64_t repeated = 0;    // came back as something that the connection had to parse itself
  std::uint64_t taken_back = 0;  // were parsed by the loop, since nobody else had begun with them
};

struct ServerStats {
  std::uint64_t connections_total = 0;
  std::uint64_t connections_open = 0;
  std::uint64_t requests_total = 0;
  std::uint64_t requests_active = 0;  // started (on_request) and not complete
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t bad_requests = 0;  // refused by the parser
  std::uint64_t timeouts_header = 0, timeouts_body = 0, timeouts_write = 0, timeouts_keep_alive = 0;
  std::uint64_t accepts_paused = 0;  // times the limit of connections, or EMFILE, stopped accepting
  CodingStats coding;
  ParseStats parse;
};

class Server {
 public:
  Server(net::Loop& loop, RequestHandler& handler, ServerOptions options) noexcept;
  ~Server();  // closed() must be true
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Begins to accept on a bound, listening socket, which the caller keeps open. Several times for several sockets.
  // `keep`: what it accepts stays on this loop, also where there is a placement.
  [[nodiscard]] platform::Error listen(platform::NativeSocket listener, bool unix_socket, bool keep = false) noexcept;
  void stop_listening() noexcept;
  // Graceful: idle connections are closed now (one that had no request yet has 1 s for its first), the others get
  // "Connection: close" on their running response and are closed after it; pipelined requests that have not started are
  // not started.
  void drain() noexcept;
  // Cuts every connection (RST where a response is half sent).
  void abort() noexcept;
  // Connections (those included that are on their way from the loop that accepted them), and listeners that are being
  // closed: clients that won the race with stop_listening() may still come.
  [[nodiscard]] std::uint64_t unfinished() const noexcept;
  [[nodiscard]] bool listening() const noexcept;  // clients may still come, also by one that is being closed
  [[nodiscard]] bool closed() const noexcept;     // no acceptor and no connection is left
  [[nodiscard]] bool draining() const noexcept;
  [[nodiscard]] const ServerStats& stats() const noexcept;
  [[nodiscard]] const ServerOptions& options() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pyre::http
