// Conformance: what one poll does, wakes, alarms and buffers (rules 1, 6, 7 and 8).
#include "conformance/reactor_suite.h"

#include <atomic>
#include <thread>

namespace pyre::platform::test {

// --- R6: one poll
// --------------------------------------------------------------------------------------------------------

// P20: one socket that has endless input does not get the whole poll.
TEST_P(ReactorConformance, P20_one_socket_is_read_a_bounded_number_of_times_in_one_poll) {
  Connection loud = connect();
  Connection quiet = connect();
  Reader loud_reader;
  Reader quiet_reader;
  loud_reader.start(reactor(), *loud.socket);
  quiet_reader.start(reactor(), *quiet.socket);
  loud.client->write(pattern(4096 * 60));  // 60 buffers full
  quiet.client->write("me too");
  harness().pump();
  std::size_t most = 0;
  bool left_over = false;
  ASSERT_TRUE(until([&] {
    const std::size_t before = loud_reader.results.size();
    reactor().poll(TimePoint::min());
    most = std::max(most, loud_reader.results.size() - before);
    left_over = left_over || reactor().has_ready();
    return loud_reader.bytes.size() == 4096 * 60 && quiet_reader.bytes == "me too";
  }));
  EXPECT_LE(most, ReactorOptions{}.reads_per_socket);
  EXPECT_TRUE(left_over);
  close(loud);
  close(quiet);
}

TEST_P(ReactorConformance, R6_poll_does_not_wait_when_something_is_ready) {
  if (!harness().steady()) GTEST_SKIP();
  Connection c = connect();
  TestSend send;
  send.add("x");
  reactor().send(*c.socket, send);
  ASSERT_TRUE(reactor().has_ready());
  EXPECT_GE(reactor().poll(TimePoint::max()), 1U);  // hangs if it is wrong
  close(c);
}

TEST_P(ReactorConformance, R6_poll_returns_at_its_time_and_not_before) {
  if (!harness().steady()) GTEST_SKIP() << "spurious wake-ups";
  const TimePoint until_then = now() + std::chrono::microseconds(2500);
  EXPECT_EQ(reactor().poll(until_then), 0U);
  EXPECT_GE(now(), until_then);  // P18: rounded up, or the caller spins
  EXPECT_EQ(reactor().poll(TimePoint::min()), 0U);
  EXPECT_EQ(reactor().poll(now() - std::chrono::seconds(1)), 0U);
}

TEST_P(ReactorConformance, R6_poll_counts_the_callbacks_it_ran) {
  Connection c = connect();
  const auto before = reactor().stats().completions;
  std::size_t counted = 0;
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write(pattern(50'000));
  c.client->finish();
  for (int i = 0; i < 100'000 && !reader.ended(); ++i) {
    harness().pump();
    counted += reactor().poll(now() + std::chrono::milliseconds(1));
  }
  ASSERT_TRUE(reader.ended());
  EXPECT_EQ(counted, reader.results.size());
  EXPECT_EQ(reactor().stats().completions - before, reader.results.size());
  close(c);
}

// A callback that sets a deadline counts from now, not from before the wait.
TEST_P(ReactorConformance, R7_a_poll_that_waited_tells_before_any_callback) {
  Connection c = connect();
  int told = 0;
  int told_before_the_callback = -1;
  reactor().after_wait([](void* count) noexcept { ++*static_cast<int*>(count); }, &told);
  TestRecv recv;
  recv.then = [&] { told_before_the_callback = told; };
  reactor().recv(*c.socket, recv);
  reactor().poll(TimePoint::min());
  EXPECT_EQ(told, 0) << "it did not wait";
  c.client->write("x");
  harness().pump();
  ASSERT_TRUE(until([&] {
    told = 0;
    reactor().poll(now() + std::chrono::seconds(1));
    return recv.done();
  }));
  EXPECT_EQ(told_before_the_callback, 1);
  reactor().after_wait(nullptr, nullptr);
  close(c);
}

// P12, P13: an idle, a hung-up and a reset connection cost one event each, not one for each poll.
TEST_P(ReactorConformance, P12_connections_that_nobody_reads_do_not_keep_the_loop_busy) {
  if (!harness().steady()) GTEST_SKIP();
  Connection idle = connect();
  Connection hung_up = connect();
  Connection gone = connect();
  hung_up.client->write("unread");
  hung_up.client->finish();
  gone.client->reset();
  settle_all();
  const auto events = reactor().stats().events;
  for (int i = 0; i < 20; ++i) {
    harness().pump();
    reactor().poll(now() + std::chrono::milliseconds(1));
  }
  EXPECT_EQ(reactor().stats().events, events);
  EXPECT_FALSE(reactor().has_ready());
  close(idle);
  close(hung_up);
  close(gone);
}

TEST_P(ReactorConformance, P13_a_new_connection_is_no_event) {
  if (!harness().steady()) GTEST_SKIP();
  settle_all();
  const auto events = reactor().stats().events;
  Connection c = connect();
  settle_all();
  EXPECT_EQ(reactor().stats().events, events);
  close(c);
}

// P14: in steady state a request costs no epoll_ctl.
TEST_P(ReactorConformance, P14_no_control_calls_in_steady_state) {
  Connection c = connect();
  const auto attached = reactor().stats().control_calls;
  Reader reader;
  reader.start(reactor(), *c.socket);
  std::size_t expected = 0;
  for (int i = 0; i < 200; ++i) {
    c.client->write("request");
    expected += 7;
    ASSERT_TRUE(until([&] { return reader.bytes.size() == expected; }));
    TestSend send;
    send.add("response");
    reactor().send(*c.socket, send);
    ASSERT_TRUE(until([&] { return send.done(); }));
  }
  EXPECT_EQ(reactor().stats().control_calls, attached);
  close(c);
}

TEST_P(ReactorConformance, many_connections_are_all_served) {
  constexpr std::size_t kCount = 300;  // more than one epoll batch, and than the 64 of some other systems' calls
  std::vector<Connection> connections;
  std::vector<std::unique_ptr<Reader>> readers;
  for (std::size_t i = 0; i < kCount; ++i) {
    connections.push_back(connect());
    readers.push_back(std::make_unique<Reader>());
    readers.back()->start(reactor(), *connections.back().socket);
  }
  for (std::size_t i = 0; i < kCount; ++i) connections[i].client->write("I am " + std::to_string(i) + ".");
  ASSERT_TRUE(until([&] {
    return std::all_of(readers.begin(), readers.end(), [](auto& reader) { return reader->bytes.ends_with('.'); });
  }));
  std::vector<std::unique_ptr<TestSend>> sends;
  for (std::size_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(readers[i]->bytes, "I am " + std::to_string(i) + ".");
    sends.push_back(std::make_unique<TestSend>());
    sends.back()->add(readers[i]->bytes);
    reactor().send(*connections[i].socket, *sends.back());
  }
  ASSERT_TRUE(until([&] {
    return std::all_of(connections.begin(), connections.end(),
                       [](Connection& c) { return c.client->received().ends_with('.'); });
  }));
  ASSERT_TRUE(until([&] { return std::all_of(sends.begin(), sends.end(), [](auto& send) { return send->done(); }); }));
  for (Connection& c : connections) close(c);
}

// --- R7: wake
// ------------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, R7_wake_before_poll_ends_the_next_one) {
  reactor().wake();
  reactor().poll(TimePoint::max());  // hangs if it is wrong
  reactor().wake();
  reactor().poll(TimePoint::max());
}

TEST_P(ReactorConformance, P17_many_wakes_cost_one_event_and_none_is_lost) {
  if (!harness().steady()) GTEST_SKIP();
  const auto before = reactor().stats().wakes;
  for (int i = 0; i < 1000; ++i) reactor().wake();
  reactor().poll(TimePoint::max());
  EXPECT_EQ(reactor().stats().wakes - before, 1U);
  reactor().poll(now() + std::chrono::milliseconds(1));
  EXPECT_EQ(reactor().stats().wakes - before, 1U);
}

// Clean under TSan: what was written before wake() is visible after the poll that it ended, with no other lock.
TEST_P(ReactorConformance, P17_wake_from_another_thread_ends_a_wait) {
  constexpr int kWakes = 3000;
  std::atomic<int> posted{0};
  std::vector<int> notes(kWakes, 0);
  std::thread thread([&] {
    for (int i = 0; i < kWakes; ++i) {
      notes[static_cast<std::size_t>(i)] = i + 1;
      posted.store(i + 1, std::memory_order_release);
      reactor().wake();
      if (i % 100 == 0) std::this_thread::yield();
    }
  });
  int seen = 0;
  while (seen < kWakes) {
    reactor().poll(TimePoint::max());
    const int now_posted = posted.load(std::memory_order_acquire);
    for (; seen < now_posted; ++seen) EXPECT_EQ(notes[static_cast<std::size_t>(seen)], seen + 1);
  }
  thread.join();
}

TEST_P(ReactorConformance, R7_wake_from_a_callback_ends_the_next_poll) {
  Connection c = connect();
  TestRecv recv;
  recv.then = [&] { reactor().wake(); };
  reactor().recv(*c.socket, recv);
  c.client->write("x");
  ASSERT_TRUE(until([&] { return recv.done(); }));
  close(c);
}

// --- alarm
// ---------------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, alarm_ends_a_poll_without_limit) {
  const TimePoint due = now() + std::chrono::milliseconds(5);
  reactor().arm_alarm(due);
  int polls = 0;
  while (now() < due && polls < 1000) {
    reactor().poll(TimePoint::max());
    ++polls;
  }
  EXPECT_GE(now(), due);
  // Past times ring at once.
  reactor().arm_alarm(now() - std::chrono::seconds(1));
  reactor().poll(TimePoint::max());
  // An alarm that was moved, or disarmed, does not ring at its old time.
  if (!harness().steady()) return;
  reactor().arm_alarm(now() + std::chrono::milliseconds(1));
  reactor().arm_alarm(TimePoint::max());
  const TimePoint end = now() + std::chrono::milliseconds(8);
  const auto events = reactor().stats().events;
  reactor().poll(end);
  EXPECT_GE(now(), end);
  EXPECT_EQ(reactor().stats().events, events);
}

TEST_P(ReactorConformance, alarm_can_be_armed_again_and_again) {
  for (int i = 0; i < 5; ++i) {
    const TimePoint due = now() + std::chrono::milliseconds(1);
    reactor().arm_alarm(due);
    for (int polls = 0; now() < due && polls < 1000; ++polls) reactor().poll(TimePoint::max());
    EXPECT_GE(now(), due);
    reactor().poll(TimePoint::min());
  }
  // The same time once more, and times before all time: over, so they ring at once. Each hangs if it is wrong.
  const TimePoint past = now() - std::chrono::milliseconds(1);
  for (const TimePoint when : {past, past, TimePoint{}, TimePoint::min()}) {
    reactor().arm_alarm(when);
    reactor().poll(TimePoint::max());
  }
}

// --- R8: buffers
// ---------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, R8_a_socket_that_waits_to_read_holds_no_buffer) {
  std::vector<Connection> connections;
  std::vector<std::unique_ptr<TestRecv>> recvs;
  for (int i = 0; i < 50; ++i) {
    connections.push_back(connect());
    recvs.push_back(std::make_unique<TestRecv>());
    reactor().recv(*connections.back().socket, *recvs.back());
  }
  settle_all();
  EXPECT_EQ(harness().buffers.lent, 0U);
  EXPECT_EQ(harness().buffers.total, 0U);
  for (Connection& c : connections) close(c);
}

TEST_P(ReactorConformance, R8_without_buffers_a_recv_is_exhausted_and_no_byte_is_lost) {
  Connection c = connect();
  harness().buffers.limit = 0;
  c.client->write("patience");
  TestRecv recv;
  reactor().recv(*c.socket, recv);
  ASSERT_TRUE(until([&] { return recv.done(); }));
  EXPECT_EQ(recv.code(), Errc::exhausted);
  harness().buffers.limit = 10;
  Reader reader;
  reader.start(reactor(), *c.socket);
  ASSERT_TRUE(until([&] { return reader.bytes == "patience"; }));
  close(c);
}

TEST_P(ReactorConformance, R8_bytes_may_be_kept_while_the_next_ones_come) {
  Connection c = connect();
  TestRecv recv;
  std::vector<Lease> kept;
  std::string all;
  static std::vector<Lease>* keep;
  static std::string* text;
  keep = &kept;
  text = &all;
  recv.Op::done = [](Op& op, Result result) noexcept {
    auto& self = static_cast<TestRecv&>(op);
    if (!result.ok()) return;
    text->append(reinterpret_cast<const char*>(self.data.data()), self.data.size());
    keep->push_back(std::move(self.data));
  };
  for (int i = 0; i < 3; ++i) {
    c.client->write("abc");
    while (all.size() < static_cast<std::size_t>(3 * (i + 1))) {
      if (!recv.in_flight) reactor().recv(*c.socket, recv);
      ASSERT_TRUE(until([&] { return !recv.in_flight; }));
    }
  }
  EXPECT_EQ(harness().buffers.lent, kept.size());
  std::string again;
  for (const Lease& lease : kept) again.append(reinterpret_cast<const char*>(lease.data()), lease.size());
  EXPECT_EQ(again, "abcabcabc");
  kept.clear();
  EXPECT_EQ(harness().buffers.lent, 0U);
  close(c);
}

}  // namespace pyre::platform::test
