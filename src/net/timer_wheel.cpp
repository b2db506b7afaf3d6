#include "net/timer_wheel.h"

#include <bit>
#include <cassert>
#include <limits>

namespace pyre::net {

namespace {

constexpr std::int64_t kTickCounts = std::chrono::duration_cast<TimePoint::duration>(TimerWheel::kTick).count();
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

}  // namespace

Timer::~Timer() {
  if (wheel_ != nullptr) wheel_->unlink(*this);
}

TimerWheel::TimerWheel(TimePoint now) noexcept : origin_(now) {}

void TimerWheel::restart(TimePoint now) noexcept {
  assert(size_ == 0);
  origin_ = now;
  current_ = 0;
}

TimerWheel::~TimerWheel() {
  for (Timer* list : lists_) {
    while (list != nullptr) {
      Timer* next = list->next_;
      list->previous_ = list->next_ = nullptr;
      list->wheel_ = nullptr;
      list->deadline_ = TimePoint::max();
      list = next;
    }
  }
}

void TimerWheel::set(Timer& timer, TimePoint deadline) noexcept {
  timer.deadline_ = deadline;
  if (timer.wheel_ != nullptr) {
    assert(timer.wheel_ == this);
    // Its slot comes up in time: there it is looked at again. This is the path of nearly every call.
    if (deadline > timer.comes_up_ - kTick) return;
    unlink(timer);
  } else if (deadline == TimePoint::max()) {
    return;
  }
  file(timer);
}

void TimerWheel::clear(Timer& timer) noexcept { timer.deadline_ = TimePoint::max(); }

void TimerWheel::file(Timer& timer) noexcept {
  const TimePoint deadline = timer.deadline_;
  if (deadline <= time_of(current_)) {
    timer.comes_up_ = time_of(current_);
    link(timer, kOverdue);
    return;
  }
  const std::int64_t distance = (deadline - origin_).count();
  const std::int64_t tick = distance / kTickCounts + (distance % kTickCounts != 0 ? 1 : 0);
  for (unsigned level = 0; level < kLevels; ++level) {
    const unsigned shift = level * kSlotBits;
    // On this level's clock the slot lies 1 to 63 steps ahead: at 0 the level below would have taken it, at 64 the
    // slots wrap.
    if ((tick >> shift) - (current_ >> shift) < kSlots) {
      timer.comes_up_ = time_of((tick >> shift) << shift);
      link(timer,
           static_cast<std::uint16_t>(level * kSlots + (static_cast<std::uint64_t>(tick >> shift) & (kSlots - 1))));
      return;
    }
  }
  constexpr unsigned kShift = (kLevels - 1) * kSlotBits;
  const std::int64_t farthest = (current_ >> kShift) + (kSlots - 1);
  timer.comes_up_ = time_of(farthest << kShift);
  link(timer,
       static_cast<std::uint16_t>((kLevels - 1) * kSlots + (static_cast<std::uint64_t>(farthest) & (kSlots - 1))));
}

void TimerWheel::link(Timer& timer, std::uint16_t list) noexcept {
  Timer*& head = lists_[list];
  timer.previous_ = nullptr;
  timer.next_ = head;
  if (head != nullptr) head->previous_ = &timer;
  head = &timer;
  timer.wheel_ = this;
  timer.list_ = list;
  if (list < kOverdue) occupied_[list / kSlots] |= std::uint64_t{1} << (list % kSlots);
  ++size_;
}

void TimerWheel::unlink(Timer& timer) noexcept {
  const std::uint16_t list = timer.list_;
  if (timer.next_ != nullptr) timer.next_->previous_ = timer.previous_;
  if (timer.previous_ != nullptr) {
    timer.previous_->next_ = timer.next_;
  } else {
    lists_[list] = timer.next_;
    if (timer.next_ == nullptr && list < kOverdue) occupied_[list / kSlots] &= ~(std::uint64_t{1} << (list % kSlots));
  }
  timer.previous_ = timer.next_ = nullptr;
  timer.wheel_ = nullptr;
  --size_;
}

void TimerWheel::collect(std::uint16_t list) noexcept {
  while (Timer* timer = lists_[list]) {
    unlink(*timer);
    link(*timer, kFiring);
  }
}

// The tick of the next slot, on any level, that holds something.
std::int64_t TimerWheel::next_tick() const noexcept {
  std::int64_t next = kNever;
  for (unsigned level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const unsigned shift = level * kSlotBits;
    const std::int64_t first = (current_ >> shift) + 1;
    const int turn = static_cast<int>(static_cast<std::uint64_t>(first) & (kSlots - 1));
    const std::int64_t tick = (first + std::countr_zero(std::rotr(occupied_[level], turn))) << shift;
    if (tick < next) next = tick;
  }
  return next;
}

TimePoint TimerWheel::next_due() noexcept {
  if (lists_[kOverdue] != nullptr || lists_[kFiring] != nullptr) return time_of(current_);
  const std::int64_t tick = next_tick();
  return tick == kNever ? TimePoint::max() : time_of(tick);
}

std::size_t TimerWheel::advance(TimePoint now, std::size_t limit) noexcept {
  const std::int64_t target = now <= origin_ ? 0 : (now - origin_).count() / kTickCounts;
  std::size_t fired = 0;
  collect(kOverdue);
  while (true) {
    while (Timer* timer = lists_[kFiring]) {
      if (timer->deadline_ > time_of(current_)) {  // moved on since it was filed, or filed on an upper level
        unlink(*timer);
        if (timer->deadline_ != TimePoint::max()) file(*timer);
        continue;
      }
      if (fired == limit) return fired;
      unlink(*timer);
      timer->deadline_ = TimePoint::max();
      ++fired;
      timer->expired_(*timer);  // it may be gone now
    }
    const std::int64_t tick = next_tick();
    if (tick > target) break;
    current_ = tick;
    for (unsigned level = 0; level < kLevels; ++level) {
      const unsigned shift = level * kSlotBits;
      if (((tick >> shift) << shift) != tick) break;
      collect(static_cast<std::uint16_t>(level * kSlots + (static_cast<std::uint64_t>(tick >> shift) & (kSlots - 1))));
    }
  }
  if (target > current_) current_ = target;
  return fired;
}

}  // namespace pyre::net
