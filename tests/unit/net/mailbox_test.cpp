#include "net/mailbox.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "net/loop.h"
#include "unit/net/fake_reactor.h"

namespace pyre::net {
namespace {

struct Note : Letter {
  Note(std::vector<int>& to, int n) noexcept
      : Letter([](Letter& letter) noexcept {
          auto& note = static_cast<Note&>(letter);
          note.log->push_back(note.number);
        }),
        log(&to),
        number(n) {}
  std::vector<int>* log;
  int number;
};

class MailboxTest : public ::testing::Test {
 protected:
  testing::FakeLoop host_;
  Mailbox& mailbox_ = host_.loop->mailbox();
  std::vector<int> log_;
};

TEST_F(MailboxTest, delivers_in_order_and_wakes_once_for_a_burst) {
  Note first(log_, 1);
  Note second(log_, 2);
  Note third(log_, 3);
  EXPECT_TRUE(mailbox_.empty());
  mailbox_.post(first);
  mailbox_.post(second);
  EXPECT_FALSE(mailbox_.empty());
  EXPECT_TRUE(host_.loop->has_work());
  EXPECT_EQ(host_.reactor->wakes, 1);
  EXPECT_EQ(mailbox_.deliver(), 2U);
  EXPECT_TRUE(mailbox_.empty());
  mailbox_.post(third);
  EXPECT_EQ(host_.reactor->wakes, 2);
  EXPECT_EQ(mailbox_.deliver(), 1U);
  EXPECT_EQ(log_, (std::vector{1, 2, 3}));
}

TEST_F(MailboxTest, a_limit_leaves_the_rest_for_later) {
  std::vector<std::unique_ptr<Note>> notes;
  for (int i = 0; i < 5; ++i) mailbox_.post(*notes.emplace_back(std::make_unique<Note>(log_, i)));
  EXPECT_EQ(mailbox_.deliver(2), 2U);
  EXPECT_FALSE(mailbox_.empty());
  EXPECT_EQ(mailbox_.deliver(2), 2U);
  EXPECT_FALSE(mailbox_.empty()) << "the last letter counts, too";
  EXPECT_EQ(mailbox_.deliver(2), 1U);
  EXPECT_TRUE(mailbox_.empty());
  EXPECT_EQ(log_, (std::vector{0, 1, 2, 3, 4}));
}

TEST_F(MailboxTest, a_letter_may_be_posted_again_or_deleted_by_its_own_delivery) {
  struct Again : Letter {
    explicit Again(Mailbox& m) noexcept
        : Letter([](Letter& letter) noexcept {
            auto& self = static_cast<Again&>(letter);
            if (++self.runs < 3) {
              self.mailbox.post(self);
            } else {
              *self.deleted = true;
              delete &self;
            }
          }),
          mailbox(m) {}
    Mailbox& mailbox;
    bool* deleted = nullptr;
    int runs = 0;
  };
  bool deleted = false;
  auto* again = new Again(mailbox_);
  again->deleted = &deleted;
  mailbox_.post(*again);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(mailbox_.deliver(1), 1U);
  EXPECT_TRUE(deleted);
  EXPECT_TRUE(mailbox_.empty());
}

TEST_F(MailboxTest, what_is_left_is_delivered_when_the_loop_ends) {
  Note note(log_, 7);
  mailbox_.post(note);
  host_.loop.reset();
  EXPECT_EQ(log_, std::vector{7});
}

// Many senders, on the real reactor: every letter arrives once, each sender's in order, and the loop never sleeps on
// mail.
TEST(MailboxThreads, nothing_is_lost_or_reordered_and_no_wake_is_missed) {
  constexpr int kSenders = 4;
  constexpr int kLetters = 20'000;
  auto loop = std::move(Loop::create().value());
  struct Counted : Letter {
    Counted() noexcept
        : Letter([](Letter& letter) noexcept {
            auto& self = static_cast<Counted&>(letter);
            if (*self.last + 1 != self.number) *self.broken = true;
            *self.last = self.number;
            ++*self.total;
          }) {}
    int number = 0;
    int* last = nullptr;
    int* total = nullptr;
    bool* broken = nullptr;
  };
  std::vector<std::vector<Counted>> letters;
  std::vector<int> last(kSenders, -1);
  int total = 0;
  bool broken = false;
  for (int sender = 0; sender < kSenders; ++sender) {
    auto& own = letters.emplace_back(kLetters);
    for (int i = 0; i < kLetters; ++i) {
      auto& letter = own[static_cast<std::size_t>(i)];
      letter.number = i;
      letter.last = &last[static_cast<std::size_t>(sender)];
      letter.total = &total;
      letter.broken = &broken;
    }
  }
  std::vector<std::thread> threads;
  for (auto& own : letters) {
    threads.emplace_back([&own, &loop] {
      int burst = 0;
      for (Counted& letter : own) {
        loop->mailbox().post(letter);
        if (++burst % 97 == 0) std::this_thread::yield();
      }
    });
  }
  // Waits for ever each time: a lost wake would hang here, and the test's time-out would tell.
  while (total < kSenders * kLetters) loop->run_once(TimePoint::max());
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(broken);
  EXPECT_TRUE(loop->mailbox().empty());
}

}  // namespace
}  // namespace pyre::net
