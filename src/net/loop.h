// Loop: one reactor, its timers, buffers and mailbox, and the list of streams that have output to flush. One thread.
//
// A host drives it. The embedded host (src/asgi/embedded_host) calls run_once() without the GIL from an asyncio
// callback; a detached thread calls it in a loop of its own.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "net/buffer_pool.h"
#include "net/mailbox.h"
#include "net/output_queue.h"
#include "net/timer_wheel.h"
#include "platform/reactor.h"

namespace pyre::net {

class FilePool;
class Stream;

// A stream's place on the flush list.
struct FlushLink {
  FlushLink* previous = nullptr;
  FlushLink* next = nullptr;
};

// The pieces of one gathered send, lent to a stream while the send is in flight: too large to be part of every stream.
struct SendFrame {
  static constexpr std::size_t kPieces = 64;  // a batch of 16 pipelined answers with borrowed bodies needs 32
  std::array<platform::ConstBytes, kPieces> pieces;
  SendFrame* next = nullptr;
};

// Work to be done on the loop's thread soon, without the GIL, once: e.g. "parse what is left of this connection's
// input". Intrusive; scheduling it twice before it ran is one run. cancel() or the destructor unlinks.
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
  std::uint64_t flushes = 0;     // streams flushed
  std::uint64_t late_ticks = 0;  // ticks that began more than 100 ms after a timer was due or work was left
  std::uint64_t harvests = 0;    // extra polls before the timers of late ticks
  std::uint64_t starved = 0;     // reads put off because every buffer was lent
};

class Loop {
 public:
  // The reactor is made by `make` from this loop's own buffer pool (tests pass the simulated one).
  using MakeReactor = platform::Expected<std::unique_ptr<platform::Reactor>> (*)(platform::BufferSource&,
                                                                                 void* context);
  [[nodiscard]] static platform::Expected<std::unique_ptr<Loop>> create() noexcept;  // the native reactor
  [[nodiscard]] static platform::Expected<std::unique_ptr<Loop>> create(MakeReactor make, void* context) noexcept;
  // Every stream and acceptor is gone by now. Waits for the file pool and for offloaded tasks, and delivers the mail
  // that is left.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  [[nodiscard]] platform::Reactor& reactor() noexcept { return *reactor_; }
  [[nodiscard]] BufferPool& buffers() noexcept { return buffers_; }
  [[nodiscard]] BlockPool& blocks() noexcept { return blocks_; }
  [[nodiscard]] TimerWheel& timers() noexcept { return timers_; }
  [[nodiscard]] Mailbox& mailbox() noexcept { return mailbox_; }
  // Two threads for file work, made when first asked for. Null when memory is exhausted.
  [[nodiscard]] FilePool* files() noexcept;
  [[nodiscard]] bool files_are_idle() const noexcept;  // no file work of ours is under way
  // Tasks of this loop that are with the Offload, each some milliseconds of computing at most. The second by the thread
  // that posted the task home, as the last thing that it does with this loop.
  void task_left() noexcept { tasks_out_.fetch_add(1, std::memory_order_relaxed); }
  void task_was_posted() noexcept { tasks_out_.fetch_sub(1, std::memory_order_release); }
  [[nodiscard]] bool tasks_are_home() const noexcept { return tasks_out_.load(std::memory_order_acquire) == 0; }
  // Waits until they are home, and delivers their mail. For the end of a server.
  void wait_for_tasks() noexcept;
  [[nodiscard]] TimePoint now() const noexcept {
    return now_;
  }  // read from the clock when a tick begins, when its poll has waited, and after its poll
  // Reads the clock again. For a host that sets timers (by calls into the upper layers) after other code held the
  // thread: deadlines counted from a stale now() would come early.
  void update_now() noexcept;
  // Bumped whenever now() moves to another wall-clock second; caches (the Date header) compare it.
  [[nodiscard]] std::int64_t wall_second() const noexcept { return wall_second_; }

  // One tick: flush streams, run deferred work, poll the reactor until `until` at most (or the next timer, whichever is
  // first), deliver mail, fire timers, run deferred work and flush what those queued. In a tick that began late (the
  // last poll was more than 100 ms ago) all readable sockets are harvested before any timer fires, so that a peer that
  // spoke in time is not timed out because Python was slow. Each step does a bounded amount of work. Returns the number
  // of callbacks run.
  std::size_t run_once(TimePoint until) noexcept;
  // Flushes only: every stream that asked. No poll.
  void flush() noexcept;
  // Something can be done without a new kernel event (ready ops, deferred work, unflushed streams, mail).
  [[nodiscard]] bool has_work() const noexcept;
  // Arms the reactor's alarm for the next timer; no system call if the armed one is already right or earlier (it then
  // rings early and finds nothing: at most once per wheel tick).
  void arm_alarm() noexcept;

  void defer(Deferred& work) noexcept;
  void cancel(Deferred& work) noexcept;
  void request_flush(Stream& stream) noexcept;  // intrusive list in the stream; once per tick
  void forget(Stream& stream) noexcept;         // takes it off the flush list
  // In a fork()ed child: nothing is run, flushed or closed any more, and the parent's threads and kernel objects are
  // left alone.
  void abandon_after_fork() noexcept;
  // Tests only: what answers platform::is_cached() for streams that send files.
  using IsCached = bool (*)(platform::NativeFile file, std::uint64_t offset) noexcept;
  void set_is_cached_for_tests(IsCached is_cached) noexcept { is_cached_ = is_cached; }
  [[nodiscard]] std::uint32_t frames_in_use() const noexcept { return frames_in_use_; }
  [[nodiscard]] const LoopStats& stats() const noexcept { return stats_; }

 private:
  friend class Stream;
  static constexpr std::chrono::milliseconds kLate{100};
  static constexpr std::size_t kMaxExpired =
      1024;  // timers fired in one tick; some 5 us each when they close a connection
  static constexpr std::size_t kMaxDeferred = 1024;  // deferred runs in one go
  static constexpr int kMaxHarvests = 64;  // polls before the timers of a late tick: 16,384 sockets at 256 events
  static constexpr std::uint32_t kKeepFrames = 64;               // 64 KiB; one for each request of a batch
  static constexpr std::chrono::milliseconds kStarvedPause{64};  // before streams that found no buffer try again

  Loop() noexcept;
  std::size_t run_deferred() noexcept;
  std::size_t run_resumed() noexcept;
  [[nodiscard]] SendFrame* take_frame() noexcept;
  void give_back(SendFrame* frame) noexcept;
  // Streams whose kept bytes wait to be delivered, and streams that found the buffer pool empty. A stream is in one of
  // them at most.
  void resume(Stream& stream) noexcept;
  void starve(Stream& stream) noexcept;
  void forget_reader(Stream& stream) noexcept;
  static void retry_starved(Timer& timer) noexcept;

  struct StarvedTimer : Timer {
    explicit StarvedTimer(Loop& l) noexcept : Timer(&Loop::retry_starved), loop(l) {}
    Loop& loop;
  };

  BufferPool buffers_;
  BlockPool blocks_;
  std::unique_ptr<platform::Reactor> reactor_;
  TimePoint now_{};
  TimePoint harvested_at_{};               // when the last poll ended
  TimePoint expected_ = TimePoint::max();  // when the next tick could begin, as far as we know
  TimePoint armed_ = TimePoint::max();     // the reactor's alarm
  TimePoint next_second_{};                // when wall_second_ is to be read again
  TimerWheel timers_{TimePoint{}};
  Mailbox mailbox_;
  std::int64_t wall_second_ = 0;
  LoopStats stats_;
  Deferred deferred_{nullptr};                     // the ends of a ring
  FlushLink unflushed_{&unflushed_, &unflushed_};  // the ends of a ring
  Stream* resumed_ = nullptr;
  Stream* running_ = nullptr;
  Stream* starved_ = nullptr;
  StarvedTimer starved_timer_{*this};
  SendFrame* free_frames_ = nullptr;
  std::uint32_t idle_frames_ = 0;
  std::uint32_t frames_in_use_ = 0;
  std::atomic<std::uint32_t> tasks_out_{0};
  IsCached is_cached_;
  std::unique_ptr<FilePool> files_;
  bool abandoned_ = false;
};

}  // namespace pyre::net
