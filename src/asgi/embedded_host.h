// EmbeddedHost: the app's own event loop (asyncio or uvloop) hosts the reactor. The reactor's pollable handle is
// registered with loop.add_reader; each call back from there is one tick:
//
//   [no GIL: flush, harvest, parse]  ->  batch (GIL)  ->  [no GIL: write batch n, harvest and parse n+1]  ->  back to
//   asyncio
//
// The first section is left out when requests wait already, so a busy server releases and takes the GIL once per tick.
// If work is left, the tick schedules itself once by call_soon: it never loops inside, so the app's own callbacks get
// their turn.
//
// When another Python thread wants the GIL all the time, each release costs up to its switch interval (5 ms). A take
// that took longer than 1 ms is taken as the sign: for the next 100 ms the sections keep the GIL (their system calls do
// not block), and only the event loop's own wait releases it.
#pragma once

#include <memory>

#include "asgi/giver.h"
#include "asgi/host.h"
#include "asgi/loop_group.h"
#include "net/loop.h"

namespace pyre::asgi {

class EmbeddedHost final : public Host, private Lane::Taker {
 public:
  explicit EmbeddedHost(std::unique_ptr<net::Loop> loop) noexcept;
  ~EmbeddedHost() override;  // GIL

  // False with an exception set. Registers with the event loop. `group`: the loops that this one is one of, or null.
  [[nodiscard]] bool init(const Dispatcher::Options& options, http::ServerOptions server_options,
                          PyObject* on_max_requests, std::shared_ptr<LoopGroup> group = nullptr) noexcept;

  [[nodiscard]] platform::Error listen(platform::NativeSocket listener, bool unix_socket,
                                       std::int32_t io_thread) noexcept override;
  void stop_listening() noexcept override;
  void drain() noexcept override;
  void abort() noexcept override;
  [[nodiscard]] std::uint64_t connections() const noexcept override;
  [[nodiscard]] std::uint64_t unfinished() const noexcept override;
  [[nodiscard]] bool listening() noexcept override { return server_ && server_->listening(); }
  [[nodiscard]] std::vector<IoStats> io_stats() noexcept override;
  void abandon_after_fork() noexcept override;
  [[nodiscard]] platform::Errc open(FileOpening& request) noexcept override;

 private:
  void on_wake() noexcept override {}
  PyObject* tick() noexcept override;
  [[nodiscard]] bool has_work() const noexcept override;
  void unregister() noexcept override;
  void before_sleep() noexcept override;
#ifdef Py_GIL_DISABLED
  [[nodiscard]] std::vector<IoStats> published_io() noexcept override { return {published_io_}; }
#endif
  void io_section() noexcept;
  void close() noexcept;
  void flush_lanes() noexcept;

  // ---- Lane::Taker
  void on_taken(http::AppExchange& exchange) noexcept override { dispatcher_.start_taken(exchange); }
  void on_taken_change(http::AppExchange& exchange) noexcept override { dispatcher_.wake_later(exchange); }
  void on_lane_commands(Lane& lane) noexcept override;

  std::uint32_t group_index_ = 0;
  Lane* waiting_lanes_ = nullptr;  // with commands for other loops
  std::unique_ptr<net::Loop> net_loop_;
  std::unique_ptr<Giver> giver_;  // in a group
  std::unique_ptr<http::Server> server_;
#ifdef Py_GIL_DISABLED
  IoStats published_io_;
#endif
  platform::TimePoint contended_until_{};
  bool registered_ = false;
  bool may_call_python_ = true;  // false: the loop runs without a thread state (in_tick_ does not say it: ticks nest)
};

}  // namespace pyre::asgi
