// TimerWheel: many coarse timers at O(1) each (a hierarchical wheel: 4 levels of 64 slots, 64 ms a tick at the bottom).
// Resolution is one tick, rounded up: a timer never fires early. One thread, the loop's.
//
// Made for deadlines that move far more often than they pass (a keep-alive timer moves with every request). set() to a later
// time only stores the new deadline; the entry stays in its old slot, and when that slot comes up the entry is filed again.
// clear() likewise only stores. So a request that comes and goes costs the wheel nothing.
#pragma once

#include <array>
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
  std::int64_t filed_tick_ = 0;  // the tick of the slot where it is linked; <= the deadline's tick
  friend struct TimerSlot;
};

class TimerWheel {
 public:
  static constexpr std::chrono::milliseconds kTick{64};

  explicit TimerWheel(TimePoint now) noexcept;
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // Fires once, at `deadline` or up to one tick later. Setting again moves it.
  void set(Timer& timer, TimePoint deadline) noexcept;
  // Does not fire any more. The entry may stay linked (lazily) until its slot comes up or it is destroyed.
  void clear(Timer& timer) noexcept;
  // Runs every timer whose deadline is <= now. Callbacks may set and clear any timer, and destroy their own.
  // Returns how many fired.
  std::size_t advance(TimePoint now) noexcept;
  // The earliest time at which advance() could have work: exact or early (a lazily moved entry), never late.
  // TimePoint::max() if the wheel is empty. O(1) when nothing changed.
  [[nodiscard]] TimePoint next_due() noexcept;
  [[nodiscard]] std::size_t size() const noexcept { return size_; }  // linked entries

 private:
  // the implementer's
  std::size_t size_ = 0;
};

}  // namespace pyre::net
