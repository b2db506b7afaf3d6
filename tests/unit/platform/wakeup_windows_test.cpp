#include <gtest/gtest.h>

#include "platform/wakeup.h"

namespace pyre::platform {
namespace {

TEST(Wakeup, an_event_cannot_be_watched_by_an_event_loop_of_windows) {
  const auto made = Wakeup::make(Wakeup::Kind::event);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::unsupported);
}

}  // namespace
}  // namespace pyre::platform
