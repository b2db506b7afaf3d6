// Conformance: ends, listeners and forks (rule 5).
#include "conformance/reactor_suite.h"

#include <algorithm>

#include "platform/endpoint.h"
#include "platform/socket.h"

namespace pyre::platform::test {

// --- R5: close
// -----------------------------------------------------------------------------------------------------------

// P1: the ops are free again, each exactly once, before `closed` is; P15: what comes of a cancelled op is our own
// state's matter.
TEST_P(ReactorConformance, P1_close_while_pending_cancels_everything_and_comes_last) {
  Connection c = connect();
  c.client->stop_reading();
  std::vector<std::string> log;
  const std::string text = pattern(12 * 1024 * 1024);
  TestRecv recv;
  TestSend send;
  TestOp closed;
  recv.log = send.log = closed.log = &log;
  recv.name = "recv";
  send.name = "send";
  closed.name = "closed";
  closed.then = [&] {
    EXPECT_FALSE(recv.in_flight);
    EXPECT_FALSE(send.in_flight);
  };
  send.add(text);
  reactor().recv(*c.socket, recv);
  reactor().send(*c.socket, send);
  settle_all();
  reactor().close(*c.socket, closed);
  EXPECT_TRUE(log.empty());
  ASSERT_TRUE(until([&] { return closed.done(); }));
  settle_all();
  EXPECT_EQ(log.size(), 3U);
  EXPECT_EQ(log.back(), "closed");
  EXPECT_EQ(recv.code(), Errc::cancelled);
  EXPECT_EQ(send.code(), Errc::cancelled);
  EXPECT_EQ(closed.code(), Errc::ok);
  EXPECT_EQ(harness().buffers.lent, 0U);
}

TEST_P(ReactorConformance, R5_a_send_that_was_done_when_close_came_keeps_its_result) {
  if (!harness().steady()) GTEST_SKIP() << "a fault plan may park it";
  Connection c = connect();
  TestSend send;
  send.add("bye");
  TestOp closed;
  reactor().send(*c.socket, send);
  reactor().close(*c.socket, closed);
  ASSERT_TRUE(until([&] { return closed.done() && c.client->saw_end(); }));
  EXPECT_EQ(send.code(), Errc::ok);
  EXPECT_EQ(c.client->received(), "bye");
}

TEST_P(ReactorConformance, R5_the_peer_of_a_closed_socket_sees_the_end) {
  Connection c = connect();
  close(c);
  ASSERT_TRUE(until([&] { return c.client->saw_end(); }));
  EXPECT_FALSE(c.client->saw_reset());
}

TEST_P(ReactorConformance, R5_close_after_set_linger_zero_is_a_reset_and_not_an_end) {
  if (!harness().has_reset()) GTEST_SKIP() << "unix sockets know no reset";
  Connection c = connect();
  TestSend send;
  send.add("half an ans");
  reactor().send(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done() && c.client->received() == "half an ans"; }));
  set_linger_zero(c.native);
  close(c);
  ASSERT_TRUE(until([&] { return c.client->saw_reset() || c.client->saw_end(); }));
  EXPECT_TRUE(c.client->saw_reset());
  EXPECT_FALSE(c.client->saw_end());
}

TEST_P(ReactorConformance, R5_a_socket_may_be_closed_from_its_own_callback) {
  Connection c = connect();
  TestRecv recv;
  TestOp closed;
  recv.then = [&] { reactor().close(*c.socket, closed); };
  reactor().recv(*c.socket, recv);
  c.client->write("x");
  ASSERT_TRUE(until([&] { return closed.done(); }));
  EXPECT_EQ(recv.results.size(), 1U);
}

TEST_P(ReactorConformance, R5_many_sockets_close_and_their_memory_is_used_again) {
  for (int round = 0; round < 3; ++round) {
    std::vector<Connection> connections;
    for (int i = 0; i < 100; ++i) connections.push_back(connect());
    std::vector<std::unique_ptr<TestOp>> closing;
    for (Connection& c : connections) {
      closing.push_back(std::make_unique<TestOp>());
      reactor().close(*c.socket, *closing.back());
    }
    ASSERT_TRUE(
        until([&] { return std::all_of(closing.begin(), closing.end(), [](auto& op) { return op->done(); }); }));
  }
  EXPECT_FALSE(reactor().has_ready());
}

// P2: a callback closes sockets whose events are later in the same batch; and new ones take their place at once.
TEST_P(ReactorConformance, P2_stale_events_in_the_same_batch_are_dropped) {
  for (int round = 0; round < 10; ++round) {
    constexpr std::size_t kCount = 20;
    std::vector<Connection> connections;
    std::vector<std::unique_ptr<TestRecv>> recvs;
    std::vector<std::unique_ptr<TestOp>> closing;
    std::vector<Connection> newcomers;
    for (std::size_t i = 0; i < kCount; ++i) {
      connections.push_back(connect());
      recvs.push_back(std::make_unique<TestRecv>());
      closing.push_back(std::make_unique<TestOp>());
    }
    bool first = true;
    for (std::size_t i = 0; i < kCount; ++i) {
      recvs[i]->then = [&, i] {
        if (!std::exchange(first, false)) return;
        for (std::size_t j = 0; j < kCount; ++j) {
          reactor().close(*connections[j].socket, *closing[j]);
          newcomers.push_back(connect());  // likely the same descriptor
        }
        static_cast<void>(i);
      };
      reactor().recv(*connections[i].socket, *recvs[i]);
    }
    for (Connection& c : connections) c.client->write("all at once");
    harness().pump();
    ASSERT_TRUE(
        until([&] { return std::all_of(closing.begin(), closing.end(), [](auto& op) { return op->done(); }); }));
    int ok = 0;
    for (auto& recv : recvs) {
      ASSERT_EQ(recv->results.size(), 1U);
      if (recv->code() == Errc::ok) ++ok;
    }
    EXPECT_EQ(ok, 1);
    for (Connection& c : newcomers) {
      TestRecv quiet;
      reactor().recv(*c.socket, quiet);
      settle_all();
      EXPECT_FALSE(quiet.done());  // no event of its forerunner
      close(c);
      EXPECT_EQ(quiet.code(), Errc::cancelled);
      if (round > 0) break;
    }
    for (std::size_t i = round > 0 ? 1 : kCount; i < newcomers.size(); ++i) close(newcomers[i]);
  }
}

TEST_P(ReactorConformance, R5_a_callback_may_start_ops_on_a_socket_with_an_event_later_in_the_batch) {
  Connection a = connect();
  Connection b = connect();
  TestRecv recv_a;
  Reader reader_b;
  recv_a.then = [&] { reader_b.start(reactor(), *b.socket); };
  reactor().recv(*a.socket, recv_a);
  a.client->write("a");
  b.client->write("b");
  harness().pump();
  ASSERT_TRUE(until([&] { return reader_b.bytes == "b"; }));
  close(a);
  close(b);
}

// --- half-close (P19)
// ----------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, P19_half_close_by_the_peer_is_still_answered) {
  Connection c = connect();
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write("question");
  c.client->finish();
  ASSERT_TRUE(until([&] { return reader.ended(); }));
  EXPECT_EQ(reader.code(), Errc::eof);
  const std::string answer = pattern(500'000);
  TestSend send;
  send.add(answer);
  reactor().send(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == answer.size(); }));
  EXPECT_EQ(send.code(), Errc::ok);
  EXPECT_FALSE(c.client->saw_end());
  close(c);
  ASSERT_TRUE(until([&] { return c.client->saw_end(); }));
}

TEST_P(ReactorConformance, P19_half_close_by_us_ends_their_reading_and_not_ours) {
  Connection c = connect();
  TestSend send;
  send.add("done");
  reactor().send(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done(); }));
  reactor().finish_sending(*c.socket);
  ASSERT_TRUE(until([&] { return c.client->saw_end(); }));
  EXPECT_EQ(c.client->received(), "done");
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write("thank you");
  ASSERT_TRUE(until([&] { return reader.bytes == "thank you"; }));
  c.client->finish();
  ASSERT_TRUE(until([&] { return reader.ended(); }));
  EXPECT_EQ(reader.code(), Errc::eof);
  close(c);
}

// --- accept
// --------------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, accept_gives_an_unattached_peer_with_its_address) {
  const NativeSocket native = harness().listen();
  Socket* listener = reactor().attach(native).value();
  TestAccept accept;
  reactor().accept(*listener, accept);
  settle_all();
  EXPECT_FALSE(accept.done());
  auto client = harness().connect(native);
  ASSERT_TRUE(until([&] { return accept.done(); }));
  ASSERT_EQ(accept.code(), Errc::ok);
  ASSERT_NE(accept.peer, no_socket);
  const Endpoint peer = Endpoint::from_sockaddr(accept.address.data(), accept.address_size);
  EXPECT_TRUE(peer.family == Endpoint::Family::ipv4 || peer.family == Endpoint::Family::unix_socket);
  Connection c;
  c.socket = reactor().attach(accept.peer).value();
  Reader reader;
  reader.start(reactor(), *c.socket);
  client->write("hello");
  ASSERT_TRUE(until([&] { return reader.bytes == "hello"; }));
  close(c);
  Connection l;
  l.socket = listener;
  close(l);
}

TEST_P(ReactorConformance, P20_accept_burst_reaches_every_posted_op_and_no_more) {
  const NativeSocket native = harness().listen();
  Connection l;
  l.socket = reactor().attach(native).value();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(harness().connect(native));
  harness().pump();
  constexpr std::size_t kPosted = 8;
  std::vector<std::unique_ptr<TestAccept>> accepts;
  std::vector<NativeSocket> peers;
  for (std::size_t i = 0; i < kPosted; ++i) {
    accepts.push_back(std::make_unique<TestAccept>());
    reactor().accept(*l.socket, *accepts.back());
  }
  ASSERT_TRUE(until([&] { return std::all_of(accepts.begin(), accepts.end(), [](auto& op) { return op->done(); }); }));
  settle_all();
  for (auto& accept : accepts) {
    EXPECT_EQ(accept->results.size(), 1U);
    peers.push_back(accept->peer);
  }
  // The rest is still there for whoever posts again.
  std::size_t most = 0;
  for (auto& accept : accepts) {
    accept->then = [&, op = accept.get()] {
      if (op->code() != Errc::ok) return;
      peers.push_back(op->peer);
      if (peers.size() < 50) reactor().accept(*l.socket, *op);
    };
    if (peers.size() < 50) reactor().accept(*l.socket, *accept);
  }
  ASSERT_TRUE(until([&] {
    const std::size_t before = peers.size();
    reactor().poll(TimePoint::min());
    most = std::max(most, peers.size() - before);
    return peers.size() == 50;
  }));
  EXPECT_LE(most, 2 * kPosted);
  std::sort(peers.begin(), peers.end());
  EXPECT_EQ(std::unique(peers.begin(), peers.end()), peers.end());
  for (const NativeSocket peer : peers) close_socket(peer);
  close(l);
  for (auto& accept : accepts) EXPECT_FALSE(accept->in_flight);
}

TEST_P(ReactorConformance, R5_closing_a_listener_cancels_all_its_accepts) {
  const NativeSocket native = harness().listen();
  Connection l;
  l.socket = reactor().attach(native).value();
  TestAccept accepts[4];
  for (TestAccept& accept : accepts) reactor().accept(*l.socket, accept);
  settle_all();
  close(l);
  for (TestAccept& accept : accepts) {
    EXPECT_EQ(accept.results.size(), 1U);
    EXPECT_EQ(accept.code(), Errc::cancelled);
    EXPECT_EQ(accept.peer, no_socket);
  }
}

TEST_P(ReactorConformance, R5_closing_a_duplicated_listener_leaves_the_original_listening) {
  const NativeSocket native = harness().listen();
  const auto copy = duplicate_socket(native);
  ASSERT_TRUE(copy.has_value());
  Connection l;
  l.socket = reactor().attach(copy.value()).value();
  TestAccept accept;
  reactor().accept(*l.socket, accept);
  close(l);
  // Never used for an accept: it must be recognised, too.
  const auto third = duplicate_socket(native);
  Connection unused;
  unused.socket = reactor().attach(third.value()).value();
  close(unused);

  auto client = harness().connect(native);
  Connection original;
  original.socket = reactor().attach(native).value();
  TestAccept second;
  reactor().accept(*original.socket, second);
  ASSERT_TRUE(until([&] { return second.done(); }));
  EXPECT_EQ(second.code(), Errc::ok);
  close_socket(second.peer);
  close(original);
}

// --- fork
// ----------------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, after_abandon_every_call_does_nothing) {
  Connection c = connect();
  TestRecv recv;
  reactor().recv(*c.socket, recv);
  c.client->write("for the parent");
  harness().pump();
  reactor().abandon_after_fork();
  EXPECT_FALSE(reactor().has_ready());
  EXPECT_EQ(reactor().poll(TimePoint::max()), 0U);
  EXPECT_EQ(reactor().run_ready(), 0U);
  reactor().wake();
  reactor().arm_alarm(now());
  TestSend send;
  send.add("x");
  TestOp closed;
  reactor().send(*c.socket, send);
  reactor().close(*c.socket, closed);
  EXPECT_EQ(reactor().poll(TimePoint::max()), 0U);
  EXPECT_FALSE(recv.done());
  EXPECT_FALSE(send.done());
  EXPECT_FALSE(closed.done());
  NativeSocket other = no_socket;
  auto client = harness().pair(other);
  EXPECT_FALSE(reactor().attach(other).has_value());
  close_socket(other);
}

}  // namespace pyre::platform::test
