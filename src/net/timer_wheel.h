// TimerWheel: many coarse timers at O(1) each (a hierarchical wheel: 4 levels of 64 slots, 64 ms a tick at the bottom).
// Resolution is one tick, rounded up: a timer never fires early. One thread, the loop's.
//
// Made for deadlines that move far more often than they pass (a keep-alive timer moves with every request). set() to a
// later time only stores the new deadline; the entry stays in its old slot, and when that slot comes up the entry is
// filed again. clear() likewise only stores. So a request that comes and goes costs the wheel nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "platform/op.h"

namespace pyre::net {

using platform::TimePoint;

class TimerWheel;

// Intrusive: lives in its owner, does not move while linked. The destructor unlinks.
class Timer {
 public:
  using Expired = void (*)(Timer&) noexcept;
  explicit Timer(Expired expired) noexcept : expired_(expired) {}
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  [[nodiscard]] bool is_set() const noexcept { return deadline_ != TimePoint::max(); }
  [[nodiscard]] TimePoint deadline() const noexcept { return deadline_; }

 private:
  friend class TimerWheel;
  Timer* previous_ = nullptr;
  Timer* next_ = nullptr;
  TimerWheel* wheel_ = nullptr;  // null when not linked
  Expired expired_;
  TimePoint deadline_ = TimePoint::max();
  TimePoint comes_up_{};  // when the slot where it is linked is looked at; not after the deadline, rounded up to a tick
  std::uint16_t list_ = 0;  // that slot
};

class TimerWheel {
 public:
  static constexpr std::chrono::milliseconds kTick{64};

  explicit TimerWheel(TimePoint now) noexcept;
  // Only while the wheel is empty: another clock is in force.
  void restart(TimePoint now) noexcept;
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Fires once, at `deadline` or up to one tick later; a deadline that has passed fires in the next advance(), never in
  // the one that is running. Setting again moves it. TimePoint::max() is clear().
  void set(Timer& timer, TimePoint deadline) noexcept;
  // Does not fire any more. The entry may stay linked (lazily) until its slot comes up or it is destroyed.
  void clear(Timer& timer) noexcept;
  // Runs every timer whose deadline, rounded up to a tick, is <= now, in the order of the ticks (any order within one);
  // at most `limit` of them, the rest is due at once then. Callbacks may set, clear and destroy any timer, their own
  // included, but must not call advance(). Returns how many fired.
  std::size_t advance(TimePoint now, std::size_t limit = SIZE_MAX) noexcept;
  // The earliest time at which advance() could have work: exact or early (a lazily moved entry), never late.
  // TimePoint::max() if the wheel is empty. O(1) when nothing changed.
  [[nodiscard]] TimePoint next_due() noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return size_; }  // linked entries

 private:
  friend class Timer;
  static constexpr unsigned kLevels =
      4;  // of 64 slots: 4 s, 4.4 min, 4.7 h and 12 days; what is later waits in the last slot
  static constexpr unsigned kSlotBits = 6;
  static constexpr unsigned kSlots = 1U << kSlotBits;
  static constexpr std::uint16_t kOverdue = kLevels * kSlots;  // set in the past: for the next advance()
  static constexpr std::uint16_t kFiring = kOverdue + 1;       // came up: being fired or filed again

  [[nodiscard]] TimePoint time_of(std::int64_t tick) const noexcept { return origin_ + tick * kTick; }
  [[nodiscard]] std::int64_t next_tick() const noexcept;
  void file(Timer& timer) noexcept;
  void link(Timer& timer, std::uint16_t list) noexcept;
  void unlink(Timer& timer) noexcept;
  void collect(std::uint16_t list) noexcept;  // moves a whole list to kFiring

  TimePoint origin_;
  std::int64_t current_ = 0;  // every tick up to this one has been looked at
  std::size_t size_ = 0;
  std::array<std::uint64_t, kLevels> occupied_{};  // a bit for each slot that holds a timer
  std::array<Timer*, kFiring + 1> lists_{};
};

}  // namespace pyre::net
