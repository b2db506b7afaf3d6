#include <gtest/gtest.h>
#include <poll.h>

#include "platform/wakeup.h"

namespace pyre::platform {
namespace {

bool is_readable(NativeSocket handle) {
  pollfd entry{handle, POLLIN, 0};
  return ::poll(&entry, 1, 0) == 1;
}

TEST(Wakeup, many_wakes_of_an_event_are_cleared_at_once) {
  auto wakeup = std::move(*Wakeup::make(Wakeup::Kind::event));
  EXPECT_EQ(wakeup->take_handle(), no_socket);
  EXPECT_FALSE(is_readable(wakeup->handle()));
  for (int i = 0; i < 1000; ++i) wakeup->wake();
  EXPECT_TRUE(is_readable(wakeup->handle()));
  wakeup->clear();
  EXPECT_FALSE(is_readable(wakeup->handle()));
  wakeup->clear();
  wakeup->wake();
  EXPECT_TRUE(is_readable(wakeup->handle()));
}

}  // namespace
}  // namespace pyre::platform
