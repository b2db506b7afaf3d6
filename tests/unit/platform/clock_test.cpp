#include "platform/clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace pyre::platform {
namespace {

TimePoint frozen() noexcept { return TimePoint{} + std::chrono::seconds(5); }

TEST(Clock, runs_forward_and_knows_the_date) {
  const TimePoint before = now();
  EXPECT_LE(before, now());
  EXPECT_GT(wall_ms(), 1'700'000'000'000);
}

TEST(Clock, an_override_moves_both_clocks_of_its_own_thread_only) {
  override_clock_for_tests(&frozen);
  EXPECT_EQ(now(), frozen());
  EXPECT_EQ(wall_ms(), kTestWallEpochMs + 5000);
  std::thread([] { EXPECT_NE(now(), frozen()); }).join();
  override_clock_for_tests(nullptr);
  EXPECT_NE(now(), frozen());
}

}  // namespace
}  // namespace pyre::platform
