// Dispatcher: the GIL-aware edge between the connections and the app. Exchanges are pushed onto its list, with or
// without the GIL; run_batch(), with the GIL, builds scopes, starts tasks and wakes those that wait, bounded by
// BatchPolicy. Everything on the app's thread: embedded, that is the I/O loop's, and the http layer pushes by itself;
// detached, the host pushes what the I/O thread has sent (DetachedHost).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "asgi/decref_queue.h"
#include "asgi/http_cycle.h"
#include "asgi/python_api.h"
#include "asgi/scope_builder.h"
#include "asgi/task_starter.h"
#include "asgi/thread_owner.h"
#include "http/exchange.h"
#include "net/file_pool.h"
#include "net/loop.h"

namespace pyre::asgi {

// A file that is opened for an app. `delivered` runs on the app's thread.
struct FileOpening : net::FilePool::OpenRequest {
  explicit FileOpening(Deliver delivered) noexcept : OpenRequest(delivered), on_app_thread(delivered) {}
  const Deliver on_app_thread;
  net::Mailbox* inbox = nullptr;  // the app's, if its thread is not the loop's
};

// What tells the dispatcher's host that there is something to do: output to flush or requests to start.
class DispatcherHost {
 public:
  // With the GIL; cheap when it was told already or runs a tick right now.
  virtual void schedule_tick() noexcept = 0;
  // With or without the GIL: once, when limit_max_requests is reached. Python is told in the next section with the GIL.
  virtual void on_max_requests() noexcept = 0;
  // Not ok: the request is still the caller's.
  [[nodiscard]] virtual platform::Errc open(FileOpening& request) noexcept = 0;

 protected:
  ~DispatcherHost() = default;
};

struct DispatcherStats {
  std::uint64_t batches = 0;
  std::uint64_t requests = 0;  // first steps
  std::uint64_t wakes = 0;     // wake-ups of suspended receive() and send()
  std::uint64_t app_errors = 0;
  std::uint64_t refused_busy = 0;  // 503 by limit_concurrency
  std::uint64_t largest_batch = 0;
  std::uint64_t stolen = 0;  // requests of another loop's connections that were run here
  std::uint64_t given = 0;   // and those of ours that were run there
};

class LoopGroup;

class Dispatcher final : public http::RequestHandler {
 public:
  // `net_loop` is the one that this thread runs; null if it runs on another.
  Dispatcher(net::Loop* net_loop, DispatcherHost& host) noexcept;
  ~Dispatcher();  // GIL; after cancel_all() and detach_all()
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  struct Options {
    PyObject* app = nullptr;
    PyObject* loop = nullptr;
    PyObject* state = nullptr;     // or None
    PyObject* on_error = nullptr;  // callable(exception, {"type", "method", "path"}), or None
    std::string scheme = "http";
    std::string root_path;
    std::uint64_t limit_concurrency = 0;
    std::uint64_t limit_max_requests = 0;
    LoopGroup* group = nullptr;  // null: this is the only loop. Outlives the dispatcher.
    std::uint32_t group_index = 0;
  };
  [[nodiscard]] bool init(const Options& options) noexcept;  // False with an exception set

  // http::RequestHandler
  void on_request(http::Exchange& exchange) noexcept override;
  void on_body(http::Exchange& exchange) noexcept override;
  void on_drained(http::Exchange& exchange) noexcept override;
  void on_disconnect(http::Exchange& exchange, bool dead) noexcept override;
  void on_connection_info_released(http::ConnectionInfo& info) noexcept override;

  // ---- with the GIL
  // Runs one batch. False: a BaseException (KeyboardInterrupt) is set and must be passed on to the event loop.
  [[nodiscard]] bool run_batch() noexcept;
  void report_app_error(PyObject* exception, const http::RequestHead& head) noexcept;
  void release(http::AppExchange& exchange) noexcept;
  void cancel_all() noexcept;  // task.cancel() for every running request
  void detach_all() noexcept;  // their receive() and send() lose their exchange
  void remember(HttpCycle& cycle) noexcept;
  void forget(HttpCycle& cycle) noexcept;
  void note_work() noexcept { host_.schedule_tick(); }
  [[nodiscard]] platform::Errc open(FileOpening& request) noexcept { return host_.open(request); }
  // The loop's now() is of the last tick, or of before a slow step: deadlines that a send() sets must not count from
  // then.
  void touch_clock() noexcept {
    if (clock_is_fresh_) return;
    clock_is_fresh_ = true;
    if (net_loop_ != nullptr) net_loop_->update_now();
  }
  void clock_grows_old() noexcept { clock_is_fresh_ = false; }

  // ---- with or without
  [[nodiscard]] bool has_pending() const noexcept { return first_ != nullptr; }
  void start_later(http::AppExchange& exchange) noexcept;  // a new request
  void wake_later(http::AppExchange& exchange) noexcept;
  [[nodiscard]] bool on_loop_thread() const noexcept { return PyThread_get_thread_ident() == thread_; }
  [[nodiscard]] PyObject* loop() const noexcept { return loop_.get(); }
  [[nodiscard]] std::uint64_t active() const noexcept { return active_; }  // requests given to the app and not over
  [[nodiscard]] const DispatcherStats& stats() const noexcept { return stats_; }

  // ---- between the loops of a LoopGroup
  static constexpr std::uint8_t kGiven = 16;  // an exchange's flags: it is with another loop
  void start_taken(http::AppExchange& exchange) noexcept {
    ++stats_.stolen;
    start_later(exchange);
    exchange.app_flags |= kTaken;
  }
  // New requests of our own connections among the first 256 of the list.
  [[nodiscard]] std::uint32_t count_new() const noexcept;
  // What a first step took lately, by the mean of a batch.
  [[nodiscard]] std::chrono::nanoseconds step_time() const noexcept { return step_time_; }
  // Takes those behind the first `keep` off the list, `most` of them, and calls `give` for each.
  template <typename Give>
  void give_away(std::uint32_t keep, std::uint32_t most, Give give) noexcept {
    std::uint32_t looked_at = 0;
    std::uint32_t found = 0;
    http::AppExchange* before = nullptr;
    for (http::AppExchange* exchange = first_; exchange != nullptr && most != 0 && looked_at < kMostLookedAt;
         ++looked_at) {
      http::AppExchange* next = exchange->app_next;
      if (!is_ours_and_new(*exchange) || ++found <= keep) {
        before = exchange;
      } else {
        --most;
        (before == nullptr ? first_ : before->app_next) = next;
        if (next == nullptr) last_ = before;
        exchange->app_next = nullptr;
        change_active(-1);
        ++stats_.given;
        give(*exchange);
      }
      exchange = next;
    }
  }

 private:
  enum Flags : std::uint8_t { kQueued = 1, kNew = 2, kReleased = 4, kNextInLine = 8, kTaken = 32 };
  static constexpr std::uint32_t kMostLookedAt = 256;  // four batches; looking at one costs a cache miss
  [[nodiscard]] static bool is_ours_and_new(const http::AppExchange& exchange) noexcept {
    // A dead one is dropped when its turn comes: nobody would tell the other loop.
    return (exchange.app_flags & (kNew | kReleased | kNextInLine | kTaken)) == kNew && !exchange.dead();
  }
  void push(http::AppExchange& exchange) noexcept;
  void push_front(http::AppExchange& exchange) noexcept;
  [[nodiscard]] http::AppExchange& pop() noexcept;
  void step(http::AppExchange& exchange) noexcept;
  void start_request(http::AppExchange& exchange) noexcept;
  void change_active(std::int32_t by) noexcept {
    active_ += static_cast<std::uint64_t>(static_cast<std::int64_t>(by));
    if constexpr (kFreeThreaded) tell_active();
  }
  void tell_active() noexcept;

  net::Loop* net_loop_;
  DispatcherHost& host_;
  PyRef app_;
  PyRef loop_;
  PyRef on_error_;
  ScopeBuilder scopes_;
  TaskStarter tasks_;
  http::AppExchange* first_ = nullptr;  // FIFO through Exchange::app_next
  http::AppExchange* last_ = nullptr;
  HttpCycle* cycles_ = nullptr;  // unfinished ones
  std::uint64_t limit_concurrency_ = 0;
  std::uint64_t limit_max_requests_ = 0;
  std::uint64_t active_ = 0;
  LoopGroup* group_ = nullptr;
  std::uint32_t group_index_ = 0;
  platform::TimePoint refresh_at_{};
  std::chrono::nanoseconds step_time_{0};
  unsigned long thread_ = 0;
  bool clock_is_fresh_ = false;
  bool front_is_open_ =
      false;  // a request that becomes due now, by the end of the one before it, comes next (InLine, batch_policy.h)
  DispatcherStats stats_;
};

// Whether this is another thread than that of the loop that runs the request. Without a GIL `dispatcher` may change
// while we look, and the owner cannot.
[[nodiscard]] inline bool is_foreign(const HttpCycle* cycle) noexcept {
  if constexpr (kFreeThreaded) return !cycle->owner.is_here();
  return cycle->dispatcher != nullptr && !cycle->dispatcher->on_loop_thread();
}

}  // namespace pyre::asgi
