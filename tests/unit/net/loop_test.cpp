#include "net/loop.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <vector>

#include "unit/net/fake_reactor.h"

namespace pyre::net {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::FakeClock;

struct Work : Deferred {
  explicit Work(std::function<void()> f = {})
      : Deferred([](Deferred& work) noexcept {
          auto& self = static_cast<Work&>(work);
          ++self.runs;
          const std::function<void()> copy = self.then;
          if (copy) copy();
        }),
        then(std::move(f)) {}
  std::function<void()> then;
  int runs = 0;
};

struct Alarm : Timer {
  explicit Alarm(std::function<void()> f = {})
      : Timer([](Timer& timer) noexcept {
          auto& self = static_cast<Alarm&>(timer);
          ++self.fired;
          if (self.then) self.then();
        }),
        then(std::move(f)) {}
  std::function<void()> then;
  int fired = 0;
};

class LoopTest : public ::testing::Test {
 protected:
  testing::FakeLoop host_;
  Loop& loop_ = *host_.loop;
  testing::FakeReactor& reactor_ = *host_.reactor;
};

TEST_F(LoopTest, an_idle_loop_has_no_work_and_waits_until_it_is_told) {
  EXPECT_FALSE(loop_.has_work());
  const TimePoint until = FakeClock::now() + seconds(5);
  loop_.run_once(until);
  EXPECT_EQ(reactor_.poll_untils.back(), until);
}

TEST_F(LoopTest, does_not_wait_past_the_next_timer) {
  Alarm alarm;
  loop_.timers().set(alarm, FakeClock::now() + milliseconds(640));
  loop_.run_once(TimePoint::max());
  EXPECT_EQ(reactor_.poll_untils.back(), loop_.timers().next_due());
  FakeClock::advance(milliseconds(700));
  loop_.run_once(TimePoint::max());
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(LoopTest, does_not_wait_while_work_is_deferred) {
  Work work;
  work.then = [&] {
    if (work.runs < 3) loop_.defer(work);
  };
  loop_.defer(work);
  loop_.defer(work);  // twice is once
  EXPECT_TRUE(loop_.has_work());
  loop_.run_once(TimePoint::max());
  EXPECT_EQ(work.runs, 2) << "once before the poll and once after it, never twice in a go";
  EXPECT_EQ(reactor_.poll_untils.back(), TimePoint::min());
  EXPECT_TRUE(loop_.has_work());
  loop_.run_once(TimePoint::max());
  EXPECT_EQ(work.runs, 3);
  EXPECT_FALSE(loop_.has_work());
}

TEST_F(LoopTest, deferred_work_can_be_cancelled_and_destroyed_by_other_work) {
  auto second = std::make_unique<Work>();
  Work third;
  Work first([&] {
    second.reset();
    loop_.cancel(third);
  });
  loop_.defer(first);
  loop_.defer(*second);
  loop_.defer(third);
  EXPECT_TRUE(third.scheduled());
  host_.tick();
  EXPECT_FALSE(third.scheduled());
  EXPECT_EQ(first.runs, 1);
  EXPECT_EQ(third.runs, 0);
  loop_.cancel(third);
}

TEST_F(LoopTest, a_flood_of_deferred_work_is_taken_in_portions_and_in_order) {
  std::vector<std::unique_ptr<Work>> works;
  std::vector<int> order;
  for (int i = 0; i < 3000; ++i) {
    works.push_back(std::make_unique<Work>([&order, i] { order.push_back(i); }));
    loop_.defer(*works.back());
  }
  host_.tick();
  EXPECT_EQ(order.size(), 2048U);
  EXPECT_TRUE(loop_.has_work());
  host_.tick();
  ASSERT_EQ(order.size(), 3000U);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST_F(LoopTest, deferred_work_may_outlive_the_loop) {
  Work work;
  loop_.defer(work);
  host_.loop.reset();
  EXPECT_FALSE(work.scheduled());
}

TEST_F(LoopTest, the_wall_second_follows_the_clock) {
  const std::int64_t before = loop_.wall_second();
  FakeClock::advance(milliseconds(400));
  host_.tick();
  EXPECT_EQ(loop_.wall_second(), before);
  FakeClock::advance(milliseconds(700));
  host_.tick();
  EXPECT_EQ(loop_.wall_second(), before + 1);
  FakeClock::advance(seconds(3600));
  loop_.update_now();
  EXPECT_EQ(loop_.wall_second(), before + 3601);
}

TEST_F(LoopTest, time_that_passes_in_a_poll_is_seen_by_its_timers) {
  Alarm alarm;
  loop_.timers().set(alarm, FakeClock::now() + milliseconds(640));
  reactor_.on_poll = [] { FakeClock::advance(milliseconds(704)); };
  loop_.run_once(TimePoint::max());
  EXPECT_EQ(alarm.fired, 1);
}

TEST_F(LoopTest, a_late_tick_harvests_everything_before_a_timer_fires) {
  // Three polls are needed until the peer's bytes come up: as if hundreds of sockets stood before it.
  Alarm alarm;
  loop_.timers().set(alarm, FakeClock::now() + seconds(1));
  host_.tick();
  const std::size_t first = reactor_.poll_untils.size();
  bool spoke = false;
  FakeClock::advance(seconds(2));
  reactor_.on_poll = [&] {
    if (reactor_.poll_untils.size() - first == 3) {
      loop_.timers().set(alarm, FakeClock::now() + seconds(1));
      spoke = true;
    }
    // Something happens in each of these polls.
    if (reactor_.poll_untils.size() - first < 4) reactor_.pretend_callbacks = 1;
  };
  host_.tick();
  EXPECT_TRUE(spoke);
  EXPECT_EQ(alarm.fired, 0);
  EXPECT_EQ(loop_.stats().late_ticks, 1U);
  EXPECT_GE(loop_.stats().harvests, 2U);
}

TEST_F(LoopTest, a_punctual_tick_polls_once) {
  Alarm alarm;
  loop_.timers().set(alarm, FakeClock::now() + milliseconds(64));
  host_.tick();
  FakeClock::advance(milliseconds(70));
  const std::size_t before = reactor_.poll_untils.size();
  host_.tick();
  EXPECT_EQ(reactor_.poll_untils.size(), before + 1);
  EXPECT_EQ(alarm.fired, 1);
  EXPECT_EQ(loop_.stats().late_ticks, 0U);
}

TEST_F(LoopTest, the_alarm_is_armed_only_when_it_would_ring_too_late) {
  Alarm keep_alive;
  loop_.arm_alarm();
  EXPECT_TRUE(reactor_.alarms.empty());
  const TimePoint due = FakeClock::now() + milliseconds(6400);
  loop_.timers().set(keep_alive, due);
  loop_.arm_alarm();
  ASSERT_EQ(reactor_.alarms.size(), 1U);
  EXPECT_EQ(reactor_.alarms.back(), loop_.timers().next_due());
  for (int i = 0; i < 100; ++i) {  // requests come and go
    FakeClock::advance(milliseconds(10));
    host_.tick();
    loop_.timers().set(keep_alive, FakeClock::now() + seconds(75));
    loop_.arm_alarm();
  }
  EXPECT_EQ(reactor_.alarms.size(), 1U);
  Alarm sooner;
  loop_.timers().set(sooner, FakeClock::now() + milliseconds(640));
  loop_.arm_alarm();
  EXPECT_EQ(reactor_.alarms.size(), 2U);
  FakeClock::advance(milliseconds(704));
  host_.tick();
  EXPECT_EQ(sooner.fired, 1);
  loop_.arm_alarm();
  EXPECT_EQ(reactor_.alarms.size(), 3U) << "it has rung, so it is armed anew";
}

TEST_F(LoopTest, timers_beyond_the_limit_of_one_tick_are_due_at_once) {
  std::vector<std::unique_ptr<Alarm>> alarms;
  for (int i = 0; i < 1500; ++i)
    loop_.timers().set(*alarms.emplace_back(std::make_unique<Alarm>()), FakeClock::now() + milliseconds(1));
  FakeClock::advance(milliseconds(64));
  host_.tick();
  loop_.run_once(TimePoint::max());
  EXPECT_LE(reactor_.poll_untils.back(), FakeClock::now());
  int fired = 0;
  for (const auto& alarm : alarms) fired += alarm->fired;
  EXPECT_EQ(fired, 1500);
}

TEST_F(LoopTest, an_abandoned_loop_does_nothing) {
  Work work;
  Alarm alarm;
  loop_.defer(work);
  loop_.timers().set(alarm, FakeClock::now());
  loop_.abandon_after_fork();
  EXPECT_FALSE(loop_.has_work());
  EXPECT_EQ(loop_.run_once(TimePoint::max()), 0U);
  loop_.arm_alarm();
  EXPECT_EQ(work.runs, 0);
  EXPECT_EQ(alarm.fired, 0);
  EXPECT_TRUE(reactor_.alarms.empty());
}

TEST(LoopCreate, reports_why_there_is_no_reactor) {
  auto loop = Loop::create(
      [](platform::BufferSource&, void*) -> platform::Expected<std::unique_ptr<platform::Reactor>> {
        return platform::Error{platform::Errc::exhausted, 24};
      },
      nullptr);
  ASSERT_FALSE(loop);
  EXPECT_EQ(loop.error().code, platform::Errc::exhausted);
  EXPECT_EQ(loop.error().os_error, 24);
}

}  // namespace
}  // namespace pyre::net
