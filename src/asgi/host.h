// Host: what joins a Dispatcher to the app's own event loop (asyncio, uvloop, ...): the callbacks that the loop keeps,
// the one scheduled tick, the futures that wait for the end, and the host's own end, which may come from inside a tick.
// How the loop learns that there is I/O is for the two kinds: EmbeddedHost and DetachedHost.
//
// All functions need the GIL and run on the event loop's thread, except where they say so.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "asgi/dispatcher.h"
#include "asgi/loop_group.h"
#include "asgi/python_api.h"
#include "http/access_log.h"
#include "http/server.h"
#include "platform/reactor.h"

namespace pyre::asgi {

struct HostStats {
  std::uint64_t ticks = 0;
  std::uint64_t gil_releases = 0;
  std::uint64_t sections_with_gil = 0;  // because the GIL was contended
  std::uint64_t wakes = 0;              // by an I/O thread
};

struct IoStats {
  http::ServerStats server;
  platform::ReactorStats reactor;
  std::uint64_t refused_surplus = 0;  // 503 by an I/O thread: too many wait for the app to look at them
};

// All the counters of an engine.
struct Snapshot {
  std::vector<IoStats> io;  // of each loop
  DispatcherStats dispatcher;
  HostStats host;
};

class Host : public DispatcherHost {
 public:
  virtual ~Host() = default;
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  // Unregisters; cuts everything that is left; deletes the host. What a tick runs (a handler, a callback) may call it:
  // then all but the first happens when the tick is over, since the tick is still reading what would be cut. The log
  // that the server writes to goes with it.
  static void dispose(std::unique_ptr<Host> host, std::unique_ptr<http::AccessLog> log) noexcept;

  // ---- what the engine asks of the server
  // `io_thread`: the one that accepts there, and keeps what it accepts. kAnyThread: the clients are spread over all.
  static constexpr std::int32_t kAnyThread = -1;
  [[nodiscard]] virtual platform::Error listen(platform::NativeSocket listener, bool unix_socket,
                                               std::int32_t io_thread) noexcept = 0;
  virtual void stop_listening() noexcept = 0;
  virtual void drain() noexcept = 0;
  virtual void abort() noexcept = 0;  // the connections; the requests' tasks are the dispatcher's to cancel
  [[nodiscard]] virtual std::uint64_t connections() const noexcept = 0;
  // Those, and listeners that are still being closed.
  [[nodiscard]] virtual std::uint64_t unfinished() const noexcept = 0;
  // Whether clients may still be accepted, also by a listener that is being closed.
  [[nodiscard]] virtual bool listening() noexcept = 0;
  [[nodiscard]] virtual std::vector<IoStats> io_stats() noexcept = 0;  // of each loop
  virtual void abandon_after_fork() noexcept = 0;

  [[nodiscard]] Dispatcher& dispatcher() noexcept { return dispatcher_; }
  [[nodiscard]] Snapshot snapshot() noexcept { return {io_stats(), dispatcher_.stats(), stats_}; }
#ifdef Py_GIL_DISABLED
  [[nodiscard]] Snapshot published() noexcept;  // the same as of the last tick, on any thread
#endif
  // Resolves the future (set_result(None)) once no connection and no request is left.
  [[nodiscard]] bool add_idle_future(PyRef future) noexcept;
  [[nodiscard]] bool idle() const noexcept { return closed_ || (unfinished() == 0 && dispatcher_.active() == 0); }

  void schedule_tick() noexcept final;
  void on_max_requests() noexcept final { max_requests_reached_ = true; }

  // Around each of the next two.
  void enter() noexcept { ++depth_; }
  void leave() noexcept;
  // The callables' entry points. A new reference to None, or null with an exception set.
  PyObject* on_readable() noexcept {
    on_wake();
    return tick();
  }
  PyObject* on_soon() noexcept;

 protected:
  explicit Host(net::Loop* own_loop) noexcept : dispatcher_(own_loop, *this) {}
  // False with an exception set.
  [[nodiscard]] bool init_host(const Dispatcher::Options& options, PyObject* on_max_requests) noexcept;
  virtual void on_wake() noexcept = 0;  // the event loop found our handle readable: a tick follows
  virtual PyObject* tick() noexcept = 0;
  [[nodiscard]] virtual bool has_work() const noexcept = 0;  // a tick would find something to do
  virtual void unregister() noexcept = 0;                    // from the event loop
  virtual void before_sleep() noexcept = 0;                  // a tick is over
#ifdef Py_GIL_DISABLED
  [[nodiscard]] virtual std::vector<IoStats> published_io() noexcept = 0;  // under published_mutex_
#endif
  void after_tick() noexcept;
  // after_tick(), and what a tick returns; `ok` false: an exception is set, for the event loop.
  PyObject* finish_tick(bool ok) noexcept;
  void disarm_callbacks() noexcept;
  void resolve_idle_futures() noexcept;

  std::unique_ptr<http::AccessLog> log_;  // only once it is disposed of
  std::shared_ptr<LoopGroup> group_;      // of which this is one, or null; the dispatcher uses it to its end
  Dispatcher dispatcher_;
  PyRef loop_;
  PyRef readable_callback_;
  PyRef soon_callback_;
  PyRef call_soon_;  // loop.call_soon, bound once
  PyRef max_requests_callback_;
  PyRef idle_futures_;       // list
  std::uint32_t depth_ = 0;  // entries that are under way: more than one with a nested event loop
  bool disposed_ = false;
  bool abandoned_ = false;  // we are in a fork()ed child
  bool closed_ = true;      // there is no server
  bool in_tick_ = false;
  bool scheduled_ = false;
  bool max_requests_reached_ = false;
  HostStats stats_;
#ifdef Py_GIL_DISABLED
  std::mutex published_mutex_;  // of what other threads may ask for
  DispatcherStats published_dispatcher_;
  HostStats published_stats_;
#endif
};

[[nodiscard]] bool init_host_types();

}  // namespace pyre::asgi
