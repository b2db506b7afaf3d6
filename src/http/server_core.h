// ServerCore: what a server's connections and exchanges share. It outlives the Server until the last exchange that an
// application still holds is released.
#pragma once

#include <cstdint>
#include <memory>

#include "http/body_queue.h"
#include "http/date_cache.h"
#include "http/exchange_pool.h"
#include "http/server.h"
#include "net/loop.h"

namespace pyre::http {

class Connection;
class Overflow;
class StaticHandler;

struct ServerCore {
  ServerCore(net::Loop& on_loop, RequestHandler& to_handler, ServerOptions with) noexcept;
  ~ServerCore();
  ServerCore(const ServerCore&) = delete;
  ServerCore& operator=(const ServerCore&) = delete;

  net::Loop& loop;
  const std::unique_ptr<StaticHandler> static_handler;  // before the application's, if there are static files
  RequestHandler& handler;
  ServerOptions options;
  std::unique_ptr<Overflow> overflow;  // null: all is parsed by the loop's thread
  ServerStats stats;
  DateCache dates;
  std::string server_line;  // the Server field, or nothing
  BodyPool bodies;
  InfoPool infos{handler};
  std::uint64_t stream_memory = 0;  // of encoders that streams have
  std::uint32_t steps_out = 0;      // of coded bodies, on other threads
  std::uint64_t inline_tick = 0;    // the tick in which the loop's thread encoded last
  std::uint32_t inline_bytes = 0;   // and how much it did then
  ExchangePool exchanges{*this};
  bool draining = false;
  bool aborted = false;

  // Every open connection, newest first.
  void add(Connection& connection) noexcept;
  void remove(Connection& connection) noexcept;
  [[nodiscard]] Connection* first() const noexcept { return first_; }
  [[nodiscard]] static Connection* next_of(Connection& connection) noexcept;
  // Called when a connection was removed.
  void (*on_removed)(void* context) noexcept = nullptr;
  void* removed_context = nullptr;

  // The response is complete: its line is written in a deferred run, which holds no GIL.
  void log(Exchange& exchange) noexcept;

  // The Server is gone; deletes this as soon as no exchange is left, and no head is with another thread.
  void orphan() noexcept;
  void exchange_returned() noexcept {
    if (orphaned_ && exchanges.in_use() == 0) delete_this();
  }

 private:
  struct LogWork : net::Deferred {
    explicit LogWork(ServerCore& c) noexcept;
    ServerCore& core;
  };
  void write_log() noexcept;
  void delete_this() noexcept;

  Connection* first_ = nullptr;
  Exchange* log_first_ = nullptr;
  Exchange* log_last_ = nullptr;
  LogWork log_work_{*this};
  bool orphaned_ = false;
};

}  // namespace pyre::http
