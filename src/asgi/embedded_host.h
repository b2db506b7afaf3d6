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

#include <cstdint>
#include <memory>

#include "asgi/dispatcher.h"
#include "asgi/python_api.h"
#include "http/access_log.h"
#include "http/server.h"
#include "net/loop.h"

namespace pyre::asgi {

struct HostStats {
  std::uint64_t ticks = 0;
  std::uint64_t gil_releases = 0;
  std::uint64_t sections_with_gil = 0;  // because the GIL was contended
};

class EmbeddedHost final : public DispatcherHost {
 public:
  explicit EmbeddedHost(std::unique_ptr<net::Loop> loop) noexcept;
  ~EmbeddedHost();  // GIL
  EmbeddedHost(const EmbeddedHost&) = delete;
  EmbeddedHost& operator=(const EmbeddedHost&) = delete;

  // False with an exception set. Registers with the event loop.
  [[nodiscard]] bool init(const Dispatcher::Options& options, http::ServerOptions server_options,
                          PyObject* on_max_requests) noexcept;
  // Unregisters; cuts everything that is left; deletes the host. What a tick runs (a handler, a callback) may call it:
  // then all but the first happens when the tick is over, since the tick is still reading what would be cut. The log
  // that the server writes to goes with it.
  static void dispose(std::unique_ptr<EmbeddedHost> host, std::unique_ptr<http::AccessLog> log) noexcept;

  [[nodiscard]] net::Loop& net_loop() noexcept { return *net_loop_; }
  [[nodiscard]] http::Server& server() noexcept { return *server_; }
  [[nodiscard]] Dispatcher& dispatcher() noexcept { return dispatcher_; }
  [[nodiscard]] const HostStats& stats() const noexcept { return stats_; }
  // Resolves the future (set_result(None)) once no connection and no request is left.
  [[nodiscard]] bool add_idle_future(PyRef future) noexcept;
  [[nodiscard]] bool idle() const noexcept;

  void schedule_tick() noexcept override;
  void on_max_requests() noexcept override { max_requests_reached_ = true; }
  void abandon_after_fork() noexcept;

  // Around each of the next two.
  void enter() noexcept { ++depth_; }
  void leave() noexcept;
  // The callables' entry points. A new reference to None, or null with an exception set.
  PyObject* on_readable() noexcept;
  PyObject* on_soon() noexcept;

 private:
  void io_section() noexcept;
  PyObject* tick() noexcept;
  void after_tick() noexcept;
  void resolve_idle_futures() noexcept;
  void unregister() noexcept;
  void close() noexcept;

  std::unique_ptr<http::AccessLog> log_;  // only once it is disposed of
  std::unique_ptr<net::Loop> net_loop_;
  Dispatcher dispatcher_;
  std::unique_ptr<http::Server> server_;
  PyRef loop_;
  PyRef readable_callback_;
  PyRef soon_callback_;
  PyRef call_soon_;  // loop.call_soon, bound once
  PyRef max_requests_callback_;
  PyRef idle_futures_;  // list
  platform::TimePoint contended_until_{};
  std::uint32_t depth_ = 0;  // entries that are under way: more than one with a nested event loop
  bool disposed_ = false;
  bool abandoned_ = false;  // we are in a fork()ed child
  bool in_tick_ = false;
  bool scheduled_ = false;
  bool registered_ = false;
  bool max_requests_reached_ = false;
  HostStats stats_;
};

[[nodiscard]] bool init_embedded_host_types();

}  // namespace pyre::asgi
