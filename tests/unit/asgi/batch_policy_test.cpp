#include "asgi/batch_policy.h"

#include <gtest/gtest.h>

namespace {

using pyre::asgi::BatchPolicy;
using pyre::platform::TimePoint;
constexpr TimePoint kStart{std::chrono::seconds(100)};

TEST(BatchPolicy, StopsAfterSixtyFourQuickSteps) {
  BatchPolicy policy(kStart);
  for (std::uint32_t step = 1; step < BatchPolicy::kMaxSteps; ++step) ASSERT_TRUE(policy.step_done(kStart)) << step;
  EXPECT_FALSE(policy.step_done(kStart));
  EXPECT_EQ(policy.steps(), BatchPolicy::kMaxSteps);
}

TEST(BatchPolicy, StopsWithTheStepThatPassesTheTime) {
  BatchPolicy policy(kStart);
  EXPECT_TRUE(policy.step_done(kStart + BatchPolicy::kMaxTime - std::chrono::nanoseconds(1)));
  EXPECT_FALSE(policy.step_done(kStart + BatchPolicy::kMaxTime));
}

TEST(BatchPolicy, ASlowFirstStepEndsTheBatch) {
  BatchPolicy policy(kStart);
  EXPECT_FALSE(policy.step_done(kStart + std::chrono::milliseconds(5)));
  EXPECT_EQ(policy.steps(), 1U);
}

TEST(InLine, AdmitsSixteenOfOneConnection) {
  pyre::asgi::InLine line;
  line.begin(kStart);
  for (std::uint32_t request = 2; request <= pyre::asgi::InLine::kMaxRequests; ++request)
    ASSERT_TRUE(line.admit(kStart)) << request;
  EXPECT_FALSE(line.admit(kStart));
  line.begin(kStart);
  EXPECT_TRUE(line.admit(kStart));
}

TEST(InLine, ASlowConnectionLetsTheOthersPass) {
  pyre::asgi::InLine line;
  line.begin(kStart);
  EXPECT_FALSE(line.admit(kStart + pyre::asgi::InLine::kMaxTime));
}

}  // namespace
