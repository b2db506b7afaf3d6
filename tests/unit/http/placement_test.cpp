#include "http/placement.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <thread>
#include <vector>

#include "net/mailbox.h"
#include "platform/wakeup.h"

namespace pyre::http {
namespace {

// A listening loop's end: what its mailbox delivers.
struct Listening {
  Listening() {
    auto made = platform::Wakeup::make(platform::Wakeup::Kind::socket_pair);
    EXPECT_TRUE(made);
    wakeup = std::move(*made);
    mailbox.bind(*wakeup);
  }
  struct Room : Placement::Room {
    explicit Room(std::atomic<int>& c) noexcept
        : Placement::Room([](net::Letter& letter) noexcept {
            auto& self = static_cast<Room&>(letter);
            self.delivered();
            ++self.count;
          }),
          count(c) {}
    std::atomic<int>& count;
  };
  std::unique_ptr<platform::Wakeup> wakeup;
  net::Mailbox mailbox;
  std::atomic<int> told{0};
  Room room{told};
};

TEST(Placement, chooses_the_loop_with_the_fewest_and_takes_turns_among_equals) {
  Placement placement(3, 100);
  std::vector<std::uint32_t> chosen;
  for (int i = 0; i < 6; ++i) {
    chosen.push_back(placement.choose());
    placement.came(chosen.back());
  }
  EXPECT_EQ(chosen, (std::vector<std::uint32_t>{0, 1, 2, 0, 1, 2}));
  placement.left(1);
  placement.left(1);
  EXPECT_EQ(placement.choose(), 1U);
  placement.came(1);
  EXPECT_EQ(placement.choose(), 1U);
  EXPECT_EQ(placement.total(), 5U);
}

TEST(Placement, passes_over_a_loop_that_has_withdrawn_though_it_has_the_fewest) {
  Placement placement(3, 100);
  for (std::uint32_t loop : {0U, 1U, 2U}) placement.came(loop);
  placement.withdraw(1);
  placement.left(1);
  for (int i = 0; i < 6; ++i) {
    const std::uint32_t chosen = placement.choose();
    EXPECT_NE(chosen, 1U);
    placement.came(chosen);
  }
  EXPECT_EQ(placement.count(0), 4U);
  EXPECT_EQ(placement.count(2), 4U);
  placement.withdraw(0);
  placement.withdraw(2);
  EXPECT_LT(placement.choose(), 3U) << "a socket has to go somewhere, even if only to be closed there";
}

TEST(Placement, never_chooses_a_loop_that_only_accepts) {
  Placement placement(3, 100, 1);
  std::vector<std::uint32_t> chosen;
  for (int i = 0; i < 4; ++i) {
    chosen.push_back(placement.choose());
    placement.came(chosen.back());
  }
  EXPECT_EQ(chosen, (std::vector<std::uint32_t>{0, 1, 0, 1}));
  placement.came(2);  // it can still be counted
  EXPECT_EQ(placement.total(), 5U);
}

TEST(Placement, tells_every_listening_loop_once_that_there_is_room) {
  Placement placement(3, 2);
  Listening first;
  Listening second;
  Listening closed;
  placement.listens(0, first.mailbox, &first.room);
  placement.listens(1, second.mailbox, &second.room);
  placement.listens(2, closed.mailbox, &closed.room);
  placement.listens(2, closed.mailbox, nullptr);
  EXPECT_FALSE(placement.is_full());
  placement.came(2);
  placement.came(2);
  EXPECT_TRUE(placement.is_full());
  EXPECT_TRUE(placement.is_full());
  placement.left(2);
  placement.left(2);
  for (Listening* listening : {&first, &second, &closed}) {
    while (listening->mailbox.deliver() != 0) {
    }
  }
  EXPECT_EQ(first.told, 1);
  EXPECT_EQ(second.told, 1);
  EXPECT_EQ(closed.told, 0);
  EXPECT_FALSE(placement.is_full());
}

TEST(Placement, says_nothing_while_nobody_waits_for_room) {
  Placement placement(2, 2);
  Listening first;
  placement.listens(0, first.mailbox, &first.room);
  placement.came(1);
  placement.left(1);
  EXPECT_EQ(first.mailbox.deliver(), 0U);
}

// The accepting loop stops when it finds the limit reached; another one must not let its last connection go without
// saying so. Neither waits for the other, so every order of the two happens.
TEST(Placement, no_room_is_lost_between_two_threads) {
  constexpr std::uint64_t kConnections = 20'000;
  Placement placement(2, 4);
  Listening listening;
  placement.listens(0, listening.mailbox, &listening.room);
  std::atomic<bool> over{false};
  std::atomic<std::uint64_t> to_end{0};
  std::thread other([&] {
    std::uint64_t ended = 0;
    while (!over || ended < to_end) {
      if (ended < to_end) {
        placement.left(1);
        ++ended;
      }
    }
  });
  std::uint64_t accepted = 0;
  bool paused = false;
  int waited = 0;
  while (accepted < kConnections && waited < 30'000) {
    if (paused) {
      const int before = listening.told;
      while (listening.mailbox.deliver() != 0) {
      }
      if (listening.told == before) {
        std::this_thread::yield();
        if (placement.count(1) == 0 && !listening.room.posted) {
          ++waited;  // bounded: a lost letter must fail the test, not hang it
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        continue;
      }
      paused = placement.is_full();
      continue;
    }
    placement.came(1);
    ++accepted;
    ++to_end;
    paused = placement.is_full();
  }
  over = true;
  other.join();
  EXPECT_EQ(accepted, kConnections);
  EXPECT_EQ(placement.total(), 0U);
}

}  // namespace
}  // namespace pyre::http
