// Loop: one reactor, its timers, buffers and mailbox, and the list of streams that have output to flush. One thread.
//
// A host drives it. The embedded host (src/asgi/embedded_host) calls run_once() without the GIL from an asyncio callback; a detached
// thread calls it in a loop of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "net/buffer_pool.h"
#include "net/mailbox.h"
#include "net/output_queue.h"
#include "net/timer_wheel.h"
#include "platform/reactor.h"

namespace pyre::net {

class Stream;

// Work to be done on the loop's thread soon, without the GIL, once: e.g. "parse what is left of this connection's input".
// Intrusive; scheduling it twice before it ran is one run. cancel() or the destructor unlinks.
class Deferred {
 public:
  using Run = void (*)(Deferred&) noexcept;
  explicit Deferred(Run run) noexcept : run_(run) {}
  ~Deferred();
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;
  [[nodiscard]] bool scheduled() const noexcept { return next_ != nullptr; }

 private:
  friend class Loop;
  Deferred* previous_ = nullptr;
  Deferred* next_ = nullptr;
  Run run_;
};

struct LoopStats {
  std::uint64_t ticks = 0;
  std::uint64_t flushes = 0;         // streams flushed
  std::uint64_t late_ticks = 0;      // ticks that began more than 100 ms after they could have
};

class Loop {
 public:
  // The reactor is made by `make` from this loop's own buffer pool (tests pass the simulated one).
  using MakeReactor = platform::Expected<std::unique_ptr<platform::Reactor>> (*)(platform::BufferSource&, void* context);
  [[nodiscard]] static platform::Expected<std::unique_ptr<Loop>> create() noexcept;  // the native reactor
  [[nodiscard]] static platform::Expected<std::unique_ptr<Loop>> create(MakeReactor make, void* context) noexcept;
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] platform::Reactor& reactor() noexcept { return *reactor_; }
  [[nodiscard]] BufferPool& buffers() noexcept { return buffers_; }
  [[nodiscard]] BlockPool& blocks() noexcept { return blocks_; }
  [[nodiscard]] TimerWheel& timers() noexcept { return timers_; }
  [[nodiscard]] Mailbox& mailbox() noexcept { return mailbox_; }
  [[nodiscard]] TimePoint now() const noexcept { return now_; }  // read from the clock once per tick
  // Bumped whenever now() moves to another wall-clock second; caches (the Date header) compare it.
  [[nodiscard]] std::int64_t wall_second() const noexcept { return wall_second_; }

  // One tick: flush streams, run deferred work, poll the reactor until `until` at most (or the next timer, whichever is
  // first), deliver mail, fire timers, run deferred work and flush what those queued. After a tick that began late
  // (> 100 ms after `now()` and something was waiting) readable sockets are harvested before any timer fires, so that a peer that spoke in time is not
  // timed out because Python was slow. Returns the number of callbacks run.
  std::size_t run_once(TimePoint until) noexcept;
  // Flushes only: every stream that asked. No poll.
  void flush() noexcept;
  // Something can be done without a new kernel event (ready ops, deferred work, unflushed streams, mail).
  [[nodiscard]] bool has_work() const noexcept;
  // Arms the reactor's alarm for the next timer; no system call if the armed one is already right or earlier (it then rings early
  // and finds nothing: at most once per wheel tick).
  void arm_alarm() noexcept;

  void defer(Deferred& work) noexcept;
  void cancel(Deferred& work) noexcept;
  void request_flush(Stream& stream) noexcept;  // intrusive list in the stream; once per tick
  void forget(Stream& stream) noexcept;         // takes it off the flush list
  [[nodiscard]] const LoopStats& stats() const noexcept { return stats_; }

 private:
  // the implementer's; these are used inline above
  BufferPool buffers_;
  BlockPool blocks_;
  std::unique_ptr<platform::Reactor> reactor_;
  TimePoint now_{};
  TimerWheel timers_;
  Mailbox mailbox_;
  std::int64_t wall_second_ = 0;
  LoopStats stats_;
  Loop() noexcept;
};

}  // namespace pyre::net
