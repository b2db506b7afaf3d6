// Offload: computations that would hold a loop up, such as compressing a large body, on the threads of a oneTBB arena.
// The one of the process, for all its loops: what one loop has too much of runs on whatever processor is free.
//
// What is offloaded is a value: it owns its input, and touches no socket, no Python object, and nothing of a loop. Its
// result comes home by mailbox. Sockets, connections and timers never leave their loop, and no loop ever waits for the
// arena.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "net/mailbox.h"
#include "platform/clock.h"

namespace pyre::net {

class Loop;

// How long tasks waited before a thread took them: below 50 us, 100 us, 200 us, ... 1.6 s, and longer.
inline constexpr std::size_t kLagBuckets = 17;
inline constexpr std::uint64_t kFirstLagUs = 50;

struct OffloadStats {
  unsigned threads = 0;
  std::uint64_t submitted = 0;
  std::uint64_t finished = 0;
  std::uint64_t refused = 0;  // no thread or no memory: the loop did it itself
  std::array<std::uint64_t, kLagBuckets> lag{};
};

class Offload {
 public:
  // Derive, fill, submit. `run` is called once on a thread of the arena, `done` afterwards on the home loop's thread,
  // without the GIL; it may delete the task. A task can be submitted again once it is home.
  class Task : public Letter {
   public:
    using Run = void (*)(Task&) noexcept;
    using Done = void (*)(Task&) noexcept;
    Task(Run run, Done done) noexcept : Letter(&Task::come_home), run_(run), done_(done) {}

   private:
    friend class Offload;
    static void come_home(Letter& letter) noexcept;
    Run run_;
    Done done_;
    Loop* home_ = nullptr;
    platform::TimePoint submitted_{};
  };

  // Made, with its threads, by the first call: a server that has nothing to offload starts none. Never ended: the
  // threads sleep, and a process ends with them.
  [[nodiscard]] static Offload& of_process() noexcept;

  // Nothing but zeros if nobody has asked for it yet.
  [[nodiscard]] static OffloadStats stats_of_process() noexcept;
  // submit() of that one; false also in a fork()ed child whose parent had made it: its threads are not there.
  [[nodiscard]] static bool submit_to_process(Loop& home, Task& task) noexcept;
  // idle() of that one, 0 if nobody has asked for it yet.
  [[nodiscard]] static unsigned idle_of_process() noexcept;
  // In such a child.
  static void abandon_after_fork() noexcept;

  explicit Offload(unsigned threads) noexcept;  // for tests; else of_process()
  ~Offload();                                   // every task is home
  Offload(const Offload&) = delete;
  Offload& operator=(const Offload&) = delete;

  // On `home`'s thread. False: no thread could be started when this was made, or memory is exhausted; the task is still
  // the caller's. The loop waits for it before it ends.
  [[nodiscard]] bool submit(Loop& home, Task& task) noexcept;
  [[nodiscard]] OffloadStats stats() const noexcept;  // any thread
  // Threads that have no task. Any thread; another one may have changed it by the time that this returns.
  [[nodiscard]] unsigned idle() const noexcept;

 private:
  struct Impl;
  void run(Task& task) noexcept;

  std::unique_ptr<Impl> impl_;  // null: there are no threads
};

// Where tasks go: an Offload, or what stands in for one in a simulation, where threads are to be virtual.
struct OffloadPort {
  bool (*submit)(void* context, Loop& home, Offload::Task& task) noexcept;
  unsigned (*idle)(void* context) noexcept;
  void* context;

  [[nodiscard]] static OffloadPort of(Offload& offload) noexcept;
  [[nodiscard]] static OffloadPort of_process() noexcept;
};

}  // namespace pyre::net
