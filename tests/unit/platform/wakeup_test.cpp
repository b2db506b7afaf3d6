#include "platform/wakeup.h"

#include <gtest/gtest.h>

#include <array>

#include "support/sockets.h"

namespace pyre::platform {
namespace {

using test::Outcome;

std::unique_ptr<Wakeup> make_pair() {
  auto made = Wakeup::make(Wakeup::Kind::socket_pair);
  EXPECT_TRUE(made);
  return made ? std::move(*made) : nullptr;
}

TEST(Wakeup, a_socket_pair_never_blocks_nor_fails_when_nobody_reads) {
  auto wakeup = make_pair();
  const NativeSocket far_end = wakeup->take_handle();
  ASSERT_NE(far_end, no_socket);
  EXPECT_EQ(wakeup->take_handle(), no_socket) << "it is taken once";
  std::array<char, 64> bytes{};
  EXPECT_EQ(test::read_some(far_end, bytes.data(), bytes.size()).outcome, Outcome::would_block);
  for (int i = 0; i < 100'000; ++i) wakeup->wake();
  EXPECT_EQ(test::read_some(far_end, bytes.data(), bytes.size()).outcome, Outcome::done);
  test::close_it(far_end);
  wakeup->wake();  // no SIGPIPE
}

TEST(Wakeup, the_far_end_of_a_socket_pair_wakes_who_waits_and_ends_with_it) {
  auto wakeup = make_pair();
  const NativeSocket far_end = wakeup->take_handle();
  test::set_blocking(far_end, true);
  wakeup->wake();
  char byte = 0;
  EXPECT_EQ(test::read_some(far_end, &byte, 1).outcome, Outcome::done);
  wakeup.reset();
  EXPECT_EQ(test::read_some(far_end, &byte, 1).outcome, Outcome::end);
  test::close_it(far_end);
}

}  // namespace
}  // namespace pyre::platform
