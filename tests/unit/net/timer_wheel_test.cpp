#include "net/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace pyre::net {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TimePoint kStart = TimePoint{} + hours(1000);

struct Probe : Timer {
  Probe() noexcept : Timer(&Probe::expired) {}
  static void expired(Timer& timer) noexcept {
    auto& self = static_cast<Probe&>(timer);
    ++self.fired;
    const std::function<void()> copy = self.then;  // it may destroy the probe
    if (copy) copy();
  }
  int fired = 0;
  std::function<void()> then;
};

TEST(TimerWheel, fires_once_and_never_early) {
  for (const milliseconds delay : {milliseconds(1), milliseconds(63), milliseconds(64), milliseconds(65),
                                   milliseconds(5000), milliseconds(300'000), milliseconds(20'000'000)}) {
    TimerWheel wheel(kStart);
    Probe probe;
    wheel.set(probe, kStart + delay);
    EXPECT_TRUE(probe.is_set());
    EXPECT_EQ(wheel.advance(kStart + delay - std::chrono::nanoseconds(1)), 0U);
    EXPECT_EQ(wheel.advance(kStart + delay + TimerWheel::kTick), 1U);
    EXPECT_EQ(probe.fired, 1);
    EXPECT_FALSE(probe.is_set());
    EXPECT_EQ(wheel.advance(kStart + delay + hours(1)), 0U);
    EXPECT_EQ(wheel.size(), 0U);
  }
}

TEST(TimerWheel, a_deadline_in_the_past_fires_in_the_next_advance_without_time_passing) {
  TimerWheel wheel(kStart);
  Probe past;
  Probe ancient;
  wheel.set(past, kStart - seconds(1));
  wheel.set(ancient, TimePoint::min());
  EXPECT_LE(wheel.next_due(), kStart);
  EXPECT_EQ(wheel.advance(kStart), 2U);
  EXPECT_EQ(wheel.next_due(), TimePoint::max());
}

TEST(TimerWheel, a_timer_that_sets_itself_in_the_past_does_not_hold_the_loop) {
  TimerWheel wheel(kStart);
  Probe probe;
  probe.then = [&] { wheel.set(probe, kStart - seconds(1)); };
  wheel.set(probe, kStart);
  EXPECT_EQ(wheel.advance(kStart), 1U);
  EXPECT_EQ(wheel.advance(kStart), 1U);
  EXPECT_EQ(wheel.advance(kStart + hours(1)), 1U);
}

TEST(TimerWheel, a_deadline_that_moves_later_is_only_stored) {
  TimerWheel wheel(kStart);
  Probe probe;
  wheel.set(probe, kStart + seconds(1));
  const TimePoint due = wheel.next_due();
  wheel.set(probe, kStart + seconds(10));
  EXPECT_EQ(wheel.next_due(), due);  // early, never late
  EXPECT_EQ(wheel.advance(kStart + seconds(2)), 0U);
  EXPECT_GT(wheel.next_due(), kStart + seconds(2));
  EXPECT_EQ(wheel.advance(kStart + seconds(10) + TimerWheel::kTick), 1U);
}

TEST(TimerWheel, a_cleared_timer_does_not_fire_and_can_be_set_again) {
  TimerWheel wheel(kStart);
  Probe probe;
  wheel.set(probe, kStart + seconds(1));
  wheel.clear(probe);
  EXPECT_FALSE(probe.is_set());
  EXPECT_EQ(wheel.advance(kStart + seconds(5)), 0U);
  EXPECT_EQ(wheel.size(), 0U);
  wheel.set(probe, kStart + seconds(6));
  wheel.clear(probe);
  wheel.set(probe, kStart + seconds(7));
  EXPECT_EQ(wheel.advance(kStart + seconds(8)), 1U);
}

TEST(TimerWheel, a_deadline_years_away_waits_and_fires) {
  TimerWheel wheel(kStart);
  Probe probe;
  Probe never;
  const TimePoint deadline = kStart + hours(24 * 365 * 3);
  wheel.set(probe, deadline);
  wheel.set(never, TimePoint::max() - std::chrono::nanoseconds(1));
  std::size_t fired = 0;
  std::size_t steps = 0;
  while (fired == 0) {
    const TimePoint due = wheel.next_due();
    ASSERT_NE(due, TimePoint::max());
    ASSERT_LE(due, deadline + TimerWheel::kTick);
    ASSERT_LT(++steps, 1000U);
    fired += wheel.advance(due);
  }
  EXPECT_EQ(probe.fired, 1);
  EXPECT_EQ(never.fired, 0);
}

TEST(TimerWheel, an_emptied_wheel_is_never_due) {
  TimerWheel wheel(kStart);
  EXPECT_EQ(wheel.next_due(), TimePoint::max());
  {
    Probe probe;
    wheel.set(probe, kStart + seconds(1));
    EXPECT_NE(wheel.next_due(), TimePoint::max());
  }
  EXPECT_EQ(wheel.next_due(), TimePoint::max());
  EXPECT_EQ(wheel.size(), 0U);
}

TEST(TimerWheel, a_limit_leaves_the_rest_due_at_once) {
  TimerWheel wheel(kStart);
  std::vector<std::unique_ptr<Probe>> probes;
  for (int i = 0; i < 10; ++i)
    wheel.set(*probes.emplace_back(std::make_unique<Probe>()), kStart + milliseconds(100 * i));
  const TimePoint now = kStart + seconds(5);
  EXPECT_EQ(wheel.advance(now, 4), 4U);
  EXPECT_LE(wheel.next_due(), now);
  EXPECT_EQ(wheel.advance(now, 4), 4U);
  EXPECT_EQ(wheel.advance(now, 4), 2U);
  EXPECT_EQ(wheel.next_due(), TimePoint::max());
}

TEST(TimerWheel, a_callback_may_destroy_clear_and_move_timers_of_its_own_tick) {
  TimerWheel wheel(kStart);
  auto first = std::make_unique<Probe>();
  auto second = std::make_unique<Probe>();
  Probe cleared;
  Probe moved;
  int runs = 0;
  const auto reaper = [&] {
    ++runs;
    first.reset();  // one of the two is the timer that runs
    second.reset();
    wheel.clear(cleared);
    wheel.set(moved, kStart + seconds(9));
  };
  first->then = reaper;
  second->then = reaper;
  for (Probe* probe : {first.get(), second.get(), &cleared, &moved}) wheel.set(*probe, kStart + seconds(1));
  wheel.advance(kStart + seconds(2));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(cleared.fired, 0);
  EXPECT_EQ(moved.fired, 0);
  wheel.advance(kStart + seconds(10));
  EXPECT_EQ(moved.fired, 1);
}

TEST(TimerWheel, may_die_before_its_timers) {
  Probe probe;
  {
    TimerWheel wheel(kStart);
    wheel.set(probe, kStart + seconds(1));
  }
  EXPECT_FALSE(probe.is_set());
}

TEST(TimerWheel, a_clock_that_stands_before_the_start_is_harmless) {
  TimerWheel wheel(kStart);
  Probe probe;
  wheel.set(probe, kStart + seconds(1));
  EXPECT_EQ(wheel.advance(kStart - hours(1)), 0U);
  EXPECT_EQ(wheel.advance(TimePoint::min()), 0U);
  EXPECT_EQ(wheel.advance(kStart + seconds(2)), 1U);
}

// Random operations against a sorted map: what fires, when, and what next_due() promises.
class Model {
 public:
  explicit Model(std::uint64_t seed) : random_(seed), wheel_(kStart) {}

  void run(int steps) {
    for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      const auto what = random_() % 10;
      if (what < 5) {
        act();
      } else {
        advance();
      }
    }
    entries_.clear();
    EXPECT_EQ(wheel_.size(), 0U);
    EXPECT_EQ(wheel_.next_due(), TimePoint::max());
  }

 private:
  struct Entry : Timer {
    Entry(Model& m, int n) noexcept : Timer(&Entry::expired), model(m), name(n) {}
    static void expired(Timer& timer) noexcept {
      auto& self = static_cast<Entry&>(timer);
      self.model.fired(self);
    }
    Model& model;
    int name;
    TimePoint expected = TimePoint::max();
    bool set_while_firing = false;
  };

  TimePoint some_deadline() {
    static constexpr std::int64_t kScales[] = {1, 100, 5'000, 300'000, 20'000'000, 2'000'000'000, 100'000'000'000};
    const std::int64_t scale = kScales[random_() % std::size(kScales)];
    const auto delta = milliseconds(static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(scale + 1)));
    return random_() % 8 == 0 ? now_ - delta : now_ + delta;
  }

  void act() {
    const auto what = random_() % 8;
    if (entries_.empty() || what == 0) {
      const int name = next_name_++;
      entries_.emplace(name, std::make_unique<Entry>(*this, name));
      return;
    }
    auto it = entries_.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random_() % entries_.size()));
    Entry& entry = *it->second;
    if (what == 1) {
      entries_.erase(it);
    } else if (what == 2) {
      wheel_.clear(entry);
      entry.expected = TimePoint::max();
    } else {
      entry.expected = some_deadline();
      entry.set_while_firing = firing_;
      wheel_.set(entry, entry.expected);
      EXPECT_EQ(entry.deadline(), entry.expected);
    }
  }

  void fired(Entry& entry) {
    EXPECT_LE(entry.expected, now_) << "early";
    EXPECT_FALSE(entry.is_set());
    entry.expected = TimePoint::max();
    ++count_;
    if (count_ > 10'000) return;
    for (auto i = random_() % 3; i != 0; --i) act();  // may destroy `entry`
  }

  void advance() {
    static constexpr std::int64_t kSteps[] = {0, 1, 64, 1000, 10'000, 400'000, 30'000'000, 1'500'000'000};
    const std::int64_t scale = kSteps[random_() % std::size(kSteps)];
    // Half of the time as a loop does it: to the moment that the wheel asked for.
    if (random_() % 2 == 0 && wheel_.next_due() != TimePoint::max()) {
      now_ = std::max(now_, wheel_.next_due());
    } else {
      now_ += milliseconds(static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(scale + 1)));
    }
    for (auto& [name, entry] : entries_) entry->set_while_firing = false;
    firing_ = true;
    count_ = 0;
    wheel_.advance(now_);
    firing_ = false;
    TimePoint earliest = TimePoint::max();
    for (const auto& [name, entry] : entries_) {
      if (entry->expected == TimePoint::max()) continue;
      earliest = std::min(earliest, entry->expected);
      if (!entry->set_while_firing) {
        EXPECT_GT(entry->expected, now_ - TimerWheel::kTick) << "late";
      }
    }
    if (earliest != TimePoint::max()) {
      EXPECT_LT(wheel_.next_due(), std::max(earliest, now_) + TimerWheel::kTick);
    }
  }

  std::mt19937_64 random_;
  TimePoint now_ = kStart;
  TimerWheel wheel_;
  std::map<int, std::unique_ptr<Entry>> entries_;
  int next_name_ = 0;
  int count_ = 0;
  bool firing_ = false;
};

TEST(TimerWheel, agrees_with_a_naive_model_under_random_operations) {
  for (std::uint64_t seed = 1; seed <= 400 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Model(seed).run(600);
  }
}

}  // namespace
}  // namespace pyre::net
