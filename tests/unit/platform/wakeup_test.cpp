#include "platform/wakeup.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

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

TEST(Wakeup, a_socket_pair_never_blocks_nor_fails_when_nobody_reads) {
  auto wakeup = std::move(*Wakeup::make(Wakeup::Kind::socket_pair));
  const NativeSocket far_end = wakeup->take_handle();
  ASSERT_NE(far_end, no_socket);
  EXPECT_EQ(wakeup->take_handle(), no_socket) << "it is taken once";
  EXPECT_FALSE(is_readable(far_end));
  for (int i = 0; i < 100'000; ++i) wakeup->wake();
  EXPECT_TRUE(is_readable(far_end));
  ::close(far_end);
  wakeup->wake();  // no SIGPIPE
}

}  // namespace
}  // namespace pyre::platform
