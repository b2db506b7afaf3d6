#include "net/acceptor.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "unit/net/fake_reactor.h"

namespace pyre::net {
namespace {

using platform::Errc;
using platform::NativeSocket;
using std::chrono::milliseconds;
using testing::FakeClock;
using testing::FakeSocket;

struct Sink final : Acceptor::Sink {
  void on_accept(NativeSocket socket, const platform::Endpoint& peer) noexcept override {
    accepted.push_back(socket);
    peers.push_back(peer);
    if (then) then();
  }
  void on_acceptor_closed() noexcept override { ++closed; }
  std::vector<NativeSocket> accepted;
  std::vector<platform::Endpoint> peers;
  int closed = 0;
  std::function<void()> then;
};

class AcceptorTest : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = reactor_.make_socket();
    acceptor_ = std::make_unique<Acceptor>(loop_, sink_);
    ASSERT_EQ(acceptor_->open(listener_).code, Errc::ok);
    socket_ = nullptr;
    for (const NativeSocket native : reactor_.open_handles) {
      if (native == listener_ + 1) socket_ = &reactor_.at(native);
    }
    ASSERT_NE(socket_, nullptr);
  }
  void TearDown() override {
    const bool was_open = sink_.closed == 0;
    acceptor_->close();
    host_.tick(3);
    EXPECT_EQ(sink_.closed, 1) << was_open;
    acceptor_.reset();
    for (const NativeSocket native : sink_.accepted) std::erase(reactor_.open_handles, native);
    EXPECT_EQ(reactor_.open_handles, std::vector{listener_}) << "only the caller's listener is left";
  }

  testing::FakeLoop host_;
  Loop& loop_ = *host_.loop;
  testing::FakeReactor& reactor_ = *host_.reactor;
  Sink sink_;
  std::unique_ptr<Acceptor> acceptor_;
  NativeSocket listener_ = 0;
  FakeSocket* socket_ = nullptr;
};

TEST_F(AcceptorTest, posts_four_and_posts_again_after_each) {
  EXPECT_EQ(socket_->accepts.size(), 4U);
  reactor_.finish_accept(*socket_);
  reactor_.finish_accept(*socket_);
  EXPECT_EQ(socket_->accepts.size(), 2U);
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 2U);
  EXPECT_EQ(socket_->accepts.size(), 4U);
}

TEST_F(AcceptorTest, a_tick_accepts_at_most_sixteen_and_the_next_goes_on) {
  host_.tick();
  const auto drain = [&] {
    // As if one poll after the other, all in the tick that began last, found clients.
    while (!socket_->accepts.empty()) {
      reactor_.finish_accept(*socket_);
      reactor_.run_ready();
    }
  };
  drain();
  EXPECT_EQ(sink_.accepted.size(), 16U);
  EXPECT_TRUE(loop_.has_work()) << "or the host would sleep while clients wait";
  host_.tick();
  EXPECT_EQ(socket_->accepts.size(), 4U);
  drain();
  EXPECT_EQ(sink_.accepted.size(), 32U);
}

TEST_F(AcceptorTest, a_pause_holds_back_what_was_accepted_meanwhile) {
  acceptor_->set_paused(true);
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_);
  host_.tick(2);
  EXPECT_TRUE(sink_.accepted.empty());
  EXPECT_TRUE(socket_->accepts.empty());
  EXPECT_FALSE(loop_.has_work());
  acceptor_->set_paused(false);
  EXPECT_TRUE(sink_.accepted.empty()) << "not from inside the call";
  EXPECT_TRUE(loop_.has_work());
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 4U);
  EXPECT_EQ(socket_->accepts.size(), 4U);
}

TEST_F(AcceptorTest, the_sink_may_pause_from_inside_on_accept) {
  sink_.then = [&] { acceptor_->set_paused(true); };
  for (int i = 0; i < 3; ++i) reactor_.finish_accept(*socket_);
  host_.tick(2);
  EXPECT_EQ(sink_.accepted.size(), 1U);
  acceptor_->set_paused(false);
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 2U);
  sink_.then = {};
  acceptor_->set_paused(false);
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 3U);
}

TEST_F(AcceptorTest, closing_during_a_pause_closes_what_was_held) {
  acceptor_->set_paused(true);
  reactor_.finish_accept(*socket_);
  host_.tick();
  acceptor_->close();
  host_.tick();
  EXPECT_TRUE(sink_.accepted.empty());
}

TEST_F(AcceptorTest, may_be_closed_from_inside_on_accept) {
  sink_.then = [&] { acceptor_->close(); };
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_);
  host_.tick(2);
  EXPECT_EQ(sink_.accepted.size(), 4U) << "the others had been accepted, too";
  EXPECT_EQ(sink_.closed, 1);
}

TEST_F(AcceptorTest, closing_hands_over_what_was_accepted_already) {
  reactor_.finish_accept(*socket_);
  acceptor_->close();
  EXPECT_TRUE(sink_.accepted.empty());
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 1U);
  EXPECT_EQ(sink_.closed, 1);
}

TEST_F(AcceptorTest, short_of_descriptors_it_turns_one_client_away_and_pauses) {
  const std::size_t handles = reactor_.open_handles.size();
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  EXPECT_EQ(acceptor_->shortages(), 1U);
  EXPECT_EQ(socket_->accepts.size(), 1U) << "with the spare descriptor";
  EXPECT_EQ(reactor_.open_handles.size(), handles - 1);
  reactor_.finish_accept(*socket_);
  host_.tick();
  EXPECT_EQ(acceptor_->refused(), 1U);
  EXPECT_TRUE(sink_.accepted.empty());
  EXPECT_TRUE(socket_->accepts.empty());
  EXPECT_EQ(reactor_.open_handles.size(), handles) << "the spare is back";
  FakeClock::advance(milliseconds(50));
  host_.tick(3);
  EXPECT_TRUE(socket_->accepts.empty());
  EXPECT_FALSE(loop_.has_work());
  FakeClock::advance(milliseconds(150));
  host_.tick();
  EXPECT_EQ(socket_->accepts.size(), 4U);
  reactor_.finish_accept(*socket_);
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 1U);
}

TEST_F(AcceptorTest, short_of_descriptors_it_turns_a_client_away_whichever_accept_it_comes_by) {
  const std::size_t handles = reactor_.open_handles.size();
  for (int i = 0; i < 3; ++i) reactor_.finish_accept(*socket_);
  reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 3U);
  ASSERT_EQ(socket_->accepts.size(), 4U) << "three were posted again before the fourth failed";
  reactor_.finish_accept(*socket_);  // with the spare's descriptor
  for (int i = 0; i < 3; ++i) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  EXPECT_EQ(acceptor_->refused(), 1U);
  EXPECT_EQ(sink_.accepted.size(), 3U);
  EXPECT_TRUE(socket_->accepts.empty());
  EXPECT_EQ(reactor_.open_handles.size(), handles + 3) << "the spare is back";
  for (std::uint64_t pauses = 2; pauses < 5; ++pauses) {  // each pause sends one more away
    FakeClock::advance(milliseconds(200));
    host_.tick();
    ASSERT_EQ(socket_->accepts.size(), 4U);
    for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
    host_.tick();
    ASSERT_EQ(socket_->accepts.size(), 1U);
    reactor_.finish_accept(*socket_);
    host_.tick();
    EXPECT_EQ(acceptor_->refused(), pauses);
  }
  EXPECT_EQ(sink_.accepted.size(), 3U);
}

TEST_F(AcceptorTest, without_a_spare_it_only_pauses_and_tries_to_get_one_again) {
  reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  reactor_.duplicates_left = 0;
  while (!socket_->accepts.empty()) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  EXPECT_TRUE(socket_->accepts.empty());
  FakeClock::advance(milliseconds(200));
  host_.tick();
  EXPECT_EQ(socket_->accepts.size(), 4U);
  while (!socket_->accepts.empty()) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  EXPECT_TRUE(socket_->accepts.empty());
  EXPECT_EQ(acceptor_->shortages(), 2U);
  reactor_.duplicates_left = 10;
  FakeClock::advance(milliseconds(200));
  host_.tick();
  EXPECT_EQ(socket_->accepts.size(), 4U);
  EXPECT_EQ(reactor_.duplicates_left, 9);
}

TEST_F(AcceptorTest, a_refusal_that_found_nobody_becomes_an_ordinary_accept) {
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  FakeClock::advance(milliseconds(200));
  host_.tick();
  EXPECT_EQ(socket_->accepts.size(), 4U);
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_);
  host_.tick();
  EXPECT_EQ(sink_.accepted.size(), 4U);
  EXPECT_EQ(acceptor_->refused(), 0U);
}

TEST_F(AcceptorTest, may_be_closed_while_it_is_short) {
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_, {Errc::exhausted, 0, 24});
  host_.tick();
  acceptor_->close();
  host_.tick();
  FakeClock::advance(milliseconds(200));
  host_.tick(2);
  EXPECT_EQ(sink_.closed, 1);
}

TEST_F(AcceptorTest, a_client_that_left_while_waiting_is_no_trouble) {
  reactor_.finish_accept(*socket_, {Errc::reset, 0, 0});
  host_.tick();
  EXPECT_EQ(acceptor_->shortages(), 0U);
  EXPECT_EQ(socket_->accepts.size(), 4U);
}

TEST_F(AcceptorTest, an_error_that_stays_does_not_spin) {
  for (int i = 0; i < 4; ++i) reactor_.finish_accept(*socket_, {Errc::other, 0, 22});
  host_.tick(3);
  EXPECT_TRUE(socket_->accepts.empty());
  EXPECT_FALSE(loop_.has_work());
}

TEST(AcceptorOpen, a_failure_leaves_nothing_open) {
  testing::FakeLoop host;
  Sink sink;
  const NativeSocket listener = host.reactor->make_socket();
  {
    Acceptor acceptor(*host.loop, sink);
    host.reactor->attach_fails = true;
    EXPECT_EQ(acceptor.open(listener).code, Errc::exhausted);
    host.reactor->duplicates_left = 0;
    EXPECT_EQ(acceptor.open(listener).code, Errc::exhausted);
    acceptor.close();
  }
  EXPECT_EQ(host.reactor->open_handles, std::vector{listener});
  EXPECT_EQ(sink.closed, 0);
}

}  // namespace
}  // namespace pyre::net
