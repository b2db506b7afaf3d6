// The simulation itself: that a seed repeats, that its faults happen, that it survives thousands of seeds, and that it
// finds out who breaks the contract.
#include "platform/sim/sim_reactor.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "platform/clock.h"

namespace pyre::platform::sim {
namespace {

class Buffers final : public BufferSource {
 public:
  Lease lend() noexcept override {
    ++lent;
    return {*this, static_cast<std::byte*>(std::malloc(512)), 512};
  }
  void take_back(std::byte* data, std::uint32_t) noexcept override {
    --lent;
    std::free(data);
  }
  int lent = 0;
};

// Echoes until the end, then closes; on any trouble it closes.
struct Echo {
  struct Recv : RecvOp {
    Echo* echo;
  } recv;
  struct Send : SendOp {
    Echo* echo;
  } send;
  struct Close : Op {
    Echo* echo;
  } close;
  Reactor& reactor;
  Socket* socket;
  std::string& trace;
  Lease held;
  ConstBytes piece;
  bool closed = false;

  Echo(Reactor& on, NativeSocket native, std::string& into)
      : reactor(on), socket(on.attach(native).value()), trace(into) {
    recv.echo = send.echo = close.echo = this;
    recv.done = [](Op& op, Result result) noexcept { static_cast<Recv&>(op).echo->on_recv(result); };
    send.done = [](Op& op, Result result) noexcept { static_cast<Send&>(op).echo->on_send(result); };
    close.done = [](Op& op, Result) noexcept {
      Echo& self = *static_cast<Close&>(op).echo;
      self.closed = true;
      self.trace += "c;";
    };
    reactor.recv(*socket, recv);
  }
  void on_recv(Result result) noexcept {
    trace += "r" + std::to_string(static_cast<int>(result.code)) + "," + std::to_string(result.bytes) + ";";
    if (result.code == Errc::exhausted) {
      reactor.recv(*socket, recv);
    } else if (!result.ok()) {
      reactor.close(*socket, close);
    } else {
      held = std::move(recv.data);
      piece = held.bytes();
      send.pieces = {&piece, 1};
      reactor.send(*socket, send);
    }
  }
  void on_send(Result result) noexcept {
    trace += "s" + std::to_string(static_cast<int>(result.code)) + "," + std::to_string(result.bytes) + ";";
    held.reset();
    if (!result.ok()) {
      reactor.close(*socket, close);
    } else {
      reactor.recv(*socket, recv);
    }
  }
};

struct Outcome {
  std::string trace;
  bool all_closed = true;
  int resets = 0;
  int lent = 0;
  std::size_t open = 0;
  bool echoed = true;
};

// Some clients talk to an echo server that accepts them, one after the other.
Outcome run(const FaultPlan& plan) {
  Outcome outcome;
  Buffers buffers;
  {
    SimReactor reactor(buffers, plan);
    const SimScope scope(reactor);
    Random random(plan.seed * 31 + 7);
    const NativeSocket native = reactor.listen();
    struct Server {
      struct Accept : AcceptOp {
        Server* server;
      } accept;
      Reactor& reactor;
      Socket* listener;
      std::string& trace;
      std::vector<std::unique_ptr<Echo>> echoes;
      bool closed = false;
      Op close;
    } server{{}, reactor, reactor.attach(native).value(), outcome.trace, {}, false, {}};
    server.accept.server = &server;
    server.accept.done = [](Op& op, Result result) noexcept {
      Server& self = *static_cast<Server::Accept&>(op).server;
      if (result.code == Errc::cancelled) return;
      if (result.ok()) self.echoes.push_back(std::make_unique<Echo>(self.reactor, self.accept.peer, self.trace));
      self.reactor.accept(*self.listener, self.accept);
    };
    reactor.accept(*server.listener, server.accept);

    struct Talk {
      Peer* peer;
      std::string sent;
      int left;
    };
    std::vector<Talk> talks;
    for (int i = 0; i < 4; ++i) talks.push_back({&reactor.connect(native), {}, static_cast<int>(1 + random.below(5))});
    for (int step = 0; step < 20000; ++step) {
      for (Talk& talk : talks) {
        if (talk.left > 0 && random.chance(300)) {
          const std::string text(1 + random.below(2000), static_cast<char>('a' + random.below(26)));
          talk.peer->write(text);
          talk.sent += text;
          // A fault may have reset the connection with this write.
          if (--talk.left == 0 || !talk.peer->can_write()) {
            talk.left = 0;
            talk.peer->finish();
          }
        }
        if (random.chance(20)) talk.peer->stop_reading();
        if (random.chance(200)) talk.peer->resume_reading();
      }
      reactor.poll(reactor.now() + std::chrono::milliseconds(1));
      EXPECT_LE(buffers.lent, 4 + 1);
      bool over = server.echoes.size() == talks.size();
      for (const Talk& talk : talks) over = over && talk.left == 0;
      for (const auto& echo : server.echoes) over = over && echo->closed;
      if (over) break;
    }
    for (Talk& talk : talks) talk.peer->resume_reading();
    server.close.done = [](Op&, Result) noexcept {};
    reactor.close(*server.listener, server.close);
    for (int i = 0; i < 50; ++i) reactor.poll(reactor.now() + std::chrono::milliseconds(10));
    for (const auto& echo : server.echoes) outcome.all_closed = outcome.all_closed && echo->closed;
    outcome.all_closed = outcome.all_closed && server.echoes.size() == talks.size();
    for (const Talk& talk : talks) {
      if (talk.peer->received() != talk.sent) outcome.echoed = false;
    }
    outcome.open = reactor.open_sockets();
    EXPECT_TRUE(reactor.idle());
  }
  outcome.lent = buffers.lent;
  for (std::size_t at = 0; (at = outcome.trace.find("r3,", at)) != std::string::npos; ++at) ++outcome.resets;
  return outcome;
}

// For each of the two plans, so 10,000 in all; more with PYRE_SIM_SEEDS=100000.
std::uint64_t seeds() {
  const char* text = std::getenv("PYRE_SIM_SEEDS");
  return text == nullptr ? 5000 : std::strtoull(text, nullptr, 10);
}

TEST(SimReactor, the_same_seed_gives_the_same_run) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Outcome first = run(FaultPlan::hostile(seed));
    const Outcome second = run(FaultPlan::hostile(seed));
    EXPECT_EQ(first.trace, second.trace) << "seed " << seed;
  }
  EXPECT_NE(run(FaultPlan::rough(1)).trace, run(FaultPlan::rough(2)).trace);
}

TEST(SimReactor, rough_seeds_lose_nothing) {
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    const Outcome outcome = run(FaultPlan::rough(seed));
    ASSERT_TRUE(outcome.echoed) << "seed " << seed;
    ASSERT_TRUE(outcome.all_closed) << "seed " << seed;
    ASSERT_EQ(outcome.lent, 0) << "seed " << seed;
    ASSERT_EQ(outcome.open, 0U) << "seed " << seed;
    ASSERT_EQ(outcome.resets, 0) << "seed " << seed;
  }
}

TEST(SimReactor, hostile_seeds_leak_nothing_and_every_fault_happens) {
  int resets = 0;
  int exhausted = 0;
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    const Outcome outcome = run(FaultPlan::hostile(seed));
    ASSERT_TRUE(outcome.all_closed) << "seed " << seed;
    ASSERT_EQ(outcome.lent, 0) << "seed " << seed;
    ASSERT_EQ(outcome.open, 0U) << "seed " << seed;
    resets += outcome.resets;
    if (outcome.trace.find("r5,") != std::string::npos) ++exhausted;
  }
  EXPECT_GT(resets, 0);
  EXPECT_GT(exhausted, 0);
}

TEST(SimReactor, its_clock_moves_with_poll_only_and_is_everybodys) {
  Buffers buffers;
  SimReactor reactor(buffers);
  const SimScope scope(reactor);
  const TimePoint start = platform::now();
  EXPECT_EQ(start, reactor.now());
  EXPECT_EQ(reactor.poll(start + std::chrono::hours(1)), 0U);
  EXPECT_EQ(platform::now(), start + std::chrono::hours(1));
  reactor.poll(TimePoint::min());
  EXPECT_EQ(platform::now(), start + std::chrono::hours(1));
  reactor.advance(std::chrono::seconds(3));
  EXPECT_EQ(platform::now(), start + std::chrono::hours(1) + std::chrono::seconds(3));
}

TEST(SimReactor, an_unread_byte_at_the_close_is_a_reset_for_the_peer) {
  Buffers buffers;
  SimReactor reactor(buffers);
  NativeSocket native = no_socket;
  Peer& peer = reactor.pair(native);
  Socket* socket = reactor.attach(native).value();
  peer.write("never read");
  reactor.poll(TimePoint::min());
  Op closed;
  closed.done = [](Op&, Result) noexcept {};
  reactor.close(*socket, closed);
  reactor.poll(TimePoint::min());
  EXPECT_TRUE(peer.saw_reset());
  EXPECT_FALSE(peer.saw_end());
}

TEST(SimReactor, bytes_for_a_closed_socket_are_answered_by_a_reset) {
  Buffers buffers;
  SimReactor reactor(buffers);
  NativeSocket native = no_socket;
  Peer& peer = reactor.pair(native);
  Socket* socket = reactor.attach(native).value();
  Op closed;
  closed.done = [](Op&, Result) noexcept {};
  reactor.close(*socket, closed);
  for (int i = 0; i < 3; ++i) reactor.poll(TimePoint::min());
  EXPECT_TRUE(peer.saw_end());
  peer.write("still there?");
  for (int i = 0; i < 3; ++i) reactor.poll(TimePoint::min());
  EXPECT_TRUE(peer.saw_reset());
}

TEST(SimReactor, a_peer_that_closed_answers_bytes_by_a_reset) {
  Buffers buffers;
  SimReactor reactor(buffers);
  std::string trace;
  NativeSocket native = no_socket;
  Peer& peer = reactor.pair(native);
  Echo echo(reactor, native, trace);
  peer.write("hello");
  peer.close();
  for (int i = 0; i < 10; ++i) reactor.poll(TimePoint::min());
  EXPECT_TRUE(echo.closed);
  EXPECT_NE(trace.find("r3,"), std::string::npos) << trace;
  EXPECT_EQ(peer.received(), "");
}

TEST(SimReactorDeathTest, stops_who_breaks_the_contract) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Buffers buffers;
  SimReactor reactor(buffers);
  NativeSocket native = no_socket;
  reactor.pair(native);
  Socket* socket = reactor.attach(native).value();
  RecvOp first;
  RecvOp second;
  Op closed;
  first.done = second.done = closed.done = [](Op&, Result) noexcept {};
  EXPECT_DEATH(
      {
        reactor.recv(*socket, first);
        reactor.recv(*socket, second);
      },
      "two recvs at once");
  EXPECT_DEATH(
      {
        reactor.recv(*socket, first);
        reactor.recv(*socket, first);
      },
      "started twice");
  EXPECT_DEATH(
      {
        reactor.close(*socket, closed);
        reactor.recv(*socket, first);
      },
      "after close");
  EXPECT_DEATH(static_cast<void>(reactor.attach(native)), "neither attached nor closed");
}

}  // namespace
}  // namespace pyre::platform::sim
