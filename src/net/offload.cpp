// The only file that knows oneTBB.
#include "net/offload.h"

#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "net/loop.h"
#include "platform/cpus.h"
#include "platform/signals.h"
#include "platform/wait.h"

namespace pyre::net {
namespace {

// How long the first call waits for the threads. They start in well under a millisecond; a machine that cannot start
// them in this time is not worth waiting for, since they may still come.
constexpr std::chrono::milliseconds kStartWait{500};

std::atomic<bool> is_made{false};   // the one of the process
std::atomic<bool> is_child{false};  // of a fork()

// One for each processor: a server that does little else than compress may use them all, and where others want them,
// these threads have the lower priority.
unsigned threads_of_process() noexcept { return platform::usable_cpus(); }

std::size_t lag_bucket(platform::TimePoint since) noexcept {
  const auto lag = std::chrono::duration_cast<std::chrono::microseconds>(platform::now() - since).count();
  const auto steps = static_cast<std::uint64_t>(std::max<std::int64_t>(lag, 0)) / kFirstLagUs;
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(steps)), kLagBuckets - 1);
}

// All at the same time, as the arena's will be: a limit (RLIMIT_NPROC, pids.max) may allow some of them.
unsigned threads_that_start(unsigned wanted) {
  std::vector<std::thread> trial;
  trial.reserve(wanted);
  // Not std::atomic::wait(): where libstdc++ 12 has no futex (Windows), its notify_all() can be lost.
  std::mutex mutex;
  std::condition_variable changed;
  bool over = false;
  try {
    while (trial.size() < wanted)
      trial.emplace_back([&] {
        std::unique_lock lock(mutex);
        platform::wait_until_ready(changed, lock, [&over] { return over; });
      });
  } catch (const std::system_error&) {
  }
  {
    const std::lock_guard lock(mutex);
    over = true;
  }
  changed.notify_all();
  for (std::thread& thread : trial) thread.join();
  return static_cast<unsigned>(trial.size());
}

// The threads take no signals, and give way to those that serve.
void know_this_thread() noexcept {
  thread_local bool known = false;
  if (known) return;
  known = true;
  platform::block_all_signals();
  platform::lower_thread_priority();
}

}  // namespace

struct Offload::Impl {
  explicit Impl(unsigned number)
      : threads(number),
        limit(tbb::global_control::max_allowed_parallelism, number + 1),
        arena(static_cast<int>(number), 0, tbb::task_arena::priority::low) {}
  const unsigned threads;
  // oneTBB counts the caller as one, and has no thread for the last processor. (The limit is that of our own copy of
  // the library; where a shared one is linked instead, it holds for whoever else uses that.)
  tbb::global_control limit;
  tbb::task_arena arena;
  std::atomic<std::uint64_t> submitted{0};
  std::atomic<std::uint64_t> finished{0};
  std::atomic<std::uint64_t> refused{0};
  std::array<std::atomic<std::uint64_t>, kLagBuckets> lag{};
};

Offload& Offload::of_process() noexcept {
  // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): some hundred bytes, once
  static auto* const offload = new Offload(threads_of_process());
  is_made.store(true, std::memory_order_relaxed);
  return *offload;
}

OffloadStats Offload::stats_of_process() noexcept { return is_made.load() ? of_process().stats() : OffloadStats{}; }

bool Offload::submit_to_process(Loop& home, Task& task) noexcept {
  return !is_child.load(std::memory_order_relaxed) && of_process().submit(home, task);
}

unsigned Offload::idle_of_process() noexcept {
  return is_made.load(std::memory_order_relaxed) && !is_child.load(std::memory_order_relaxed) ? of_process().idle() : 0;
}

void Offload::abandon_after_fork() noexcept {
  if (is_made.load()) is_child.store(true);
}

// The threads are started here, and not by a task: without one the caller must know in time.
Offload::Offload(unsigned threads) noexcept {
  struct Start {
    std::atomic<unsigned> arrived{0};
    unsigned expected = 0;
  };
  try {
    const platform::SignalsBlocked blocked;  // new threads inherit that
    // oneTBB ends the process when it cannot start a thread, so it is tried out by hand.
    const unsigned possible = threads_that_start(std::max(threads, 1U));
    if (possible == 0) return;
    impl_ = std::make_unique<Impl>(possible);
    const auto start = std::make_shared<Start>();
    start->expected = impl_->threads;
    const platform::TimePoint until = platform::now() + kStartWait;
    // Each stays until all have come, so that each is another thread.
    for (unsigned i = 0; i < impl_->threads; ++i)
      impl_->arena.enqueue([start, until]() noexcept {
        know_this_thread();
        start->arrived.fetch_add(1);
        while (start->arrived.load() < start->expected && platform::now() < until) std::this_thread::yield();
      });
    while (start->arrived.load() < start->expected && platform::now() < until) std::this_thread::yield();
  } catch (const std::exception&) {
    impl_.reset();
  }
}

Offload::~Offload() = default;

bool Offload::submit(Loop& home, Task& task) noexcept {
  if (impl_ == nullptr) return false;
  task.home_ = &home;
  task.submitted_ = platform::now();
  impl_->submitted.fetch_add(1, std::memory_order_relaxed);
  home.task_left();
  try {
    impl_->arena.enqueue([this, &task]() noexcept { run(task); });
    return true;
  } catch (const std::exception&) {
    home.task_was_posted();
    impl_->refused.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
}

void Offload::run(Task& task) noexcept {
  know_this_thread();
  impl_->lag[lag_bucket(task.submitted_)].fetch_add(1, std::memory_order_relaxed);
  task.run_(task);
  impl_->finished.fetch_add(1, std::memory_order_relaxed);
  Loop& home = *task.home_;
  home.mailbox().post(task);  // it belongs to its loop again, and may be gone
  home.task_was_posted();
}

void Offload::Task::come_home(Letter& letter) noexcept {
  auto& task = static_cast<Task&>(letter);
  task.done_(task);
}

OffloadStats Offload::stats() const noexcept {
  OffloadStats out;
  if (impl_ == nullptr) return out;
  out.threads = impl_->threads;
  out.submitted = impl_->submitted.load(std::memory_order_relaxed);
  out.finished = impl_->finished.load(std::memory_order_relaxed);
  out.refused = impl_->refused.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < kLagBuckets; ++i) out.lag[i] = impl_->lag[i].load(std::memory_order_relaxed);
  return out;
}

unsigned Offload::idle() const noexcept {
  if (impl_ == nullptr) return 0;
  // In this order: what is over was begun.
  const std::uint64_t over =
      impl_->finished.load(std::memory_order_relaxed) + impl_->refused.load(std::memory_order_relaxed);
  const std::uint64_t under_way = impl_->submitted.load(std::memory_order_relaxed) - over;
  return under_way >= impl_->threads ? 0 : impl_->threads - static_cast<unsigned>(under_way);
}

OffloadPort OffloadPort::of(Offload& offload) noexcept {
  return {[](void* self, Loop& home, Offload::Task& task) noexcept {
            return static_cast<Offload*>(self)->submit(home, task);
          },
          [](void* self) noexcept { return static_cast<Offload*>(self)->idle(); }, &offload};
}

OffloadPort OffloadPort::of_process() noexcept {
  return {[](void*, Loop& home, Offload::Task& task) noexcept { return Offload::submit_to_process(home, task); },
          [](void*) noexcept { return Offload::idle_of_process(); }, nullptr};
}

}  // namespace pyre::net
