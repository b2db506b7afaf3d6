// Conformance: reading and writing (rules 2, 3 and 4).
#include "conformance/reactor_suite.h"

#include "support/files.h"

namespace pyre::platform::test {

using pyre::test::TemporaryFile;

// --- R2: when `done` runs
// ------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, R2_nothing_is_reported_inside_the_call_that_starts_it) {
  Connection c = connect();
  c.client->write("x");
  harness().pump();
  settle_all();  // the bytes are there, and the reactor knows
  TestRecv recv;
  TestSend send;
  send.add("answer");
  TestOp closed;
  reactor().recv(*c.socket, recv);
  EXPECT_FALSE(recv.done());
  reactor().send(*c.socket, send);
  EXPECT_FALSE(send.done());
  reactor().close(*c.socket, closed);
  EXPECT_FALSE(closed.done());
  EXPECT_TRUE(until([&] { return closed.done(); }));
  settle_all();
  EXPECT_EQ(recv.results.size(), 1U);
  EXPECT_EQ(send.results.size(), 1U);
  EXPECT_EQ(closed.results.size(), 1U);
  EXPECT_FALSE(recv.in_flight);
}

TEST_P(ReactorConformance, R2_a_send_that_fits_is_announced_by_has_ready_and_reported_without_the_kernel) {
  if (!harness().steady()) GTEST_SKIP() << "a fault plan may park it";
  Connection c = connect();
  TestSend send;
  send.add("hello");
  reactor().send(*c.socket, send);
  EXPECT_TRUE(reactor().has_ready());
  const auto polls = reactor().stats().polls;
  EXPECT_EQ(reactor().run_ready(), 1U);
  EXPECT_EQ(reactor().stats().polls, polls);
  EXPECT_EQ(send.code(), Errc::ok);
  EXPECT_EQ(send.results.back().bytes, 5U);
  EXPECT_FALSE(reactor().has_ready());
  EXPECT_EQ(reactor().run_ready(), 0U);
  EXPECT_TRUE(until([&] { return c.client->received() == "hello"; }));
  close(c);
}

// P3: a callback that starts the same op again, which finishes at once, must not recurse.
TEST_P(ReactorConformance, P3_ops_that_finish_at_once_do_not_recurse) {
  Connection c = connect();
  TestSend send;
  send.add("z");
  int depth = 0;
  int deepest = 0;
  send.then = [&] {
    deepest = std::max(deepest, ++depth);
    if (send.results.size() < 5000) reactor().send(*c.socket, send);
    --depth;
  };
  reactor().send(*c.socket, send);
  EXPECT_TRUE(until([&] { return c.client->received().size() == 5000; }));
  EXPECT_EQ(deepest, 1);
  EXPECT_TRUE(until([&] { return send.results.size() == 5000; }));
  close(c);
}

// --- R3: recv
// ------------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, R3_bytes_arrive_whole_and_in_order_then_the_end) {
  Connection c = connect();
  const std::string text = pattern(300'000);
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write(text);
  c.client->finish();
  ASSERT_TRUE(until([&] { return reader.ended(); }));
  EXPECT_EQ(reader.bytes, text);
  EXPECT_EQ(reader.code(), Errc::eof);
  for (const Result& result : reader.results) EXPECT_EQ(result.ok(), result.bytes > 0);
  close(c);
}

TEST_P(ReactorConformance, R3_bytes_that_came_before_attach_or_before_recv_are_found) {
  Connection c;
  c.client = harness().pair(c.native);
  c.client->write("early");
  harness().pump();
  c.socket = reactor().attach(c.native).value();
  settle_all();
  TestRecv first;
  reactor().recv(*c.socket, first);
  std::string got;
  first.then = [&] {
    if (first.bytes.size() < 5) reactor().recv(*c.socket, first);
  };
  ASSERT_TRUE(until([&] { return first.bytes == "early"; }));
  c.client->write("later");
  settle_all();  // the edge comes while no recv is posted
  Reader second;
  second.start(reactor(), *c.socket);
  ASSERT_TRUE(until([&] { return second.bytes == "later"; }));
  close(c);
  EXPECT_EQ(second.code(), Errc::cancelled);
}

TEST_P(ReactorConformance, R3_the_end_is_told_again_to_whoever_asks_again) {
  Connection c = connect();
  c.client->finish();
  for (int i = 0; i < 3; ++i) {
    TestRecv recv;
    recv.then = [&] { EXPECT_EQ(harness().buffers.lent, 0U); };  // the callback may want the buffer
    reactor().recv(*c.socket, recv);
    ASSERT_TRUE(until([&] { return recv.done(); }));
    EXPECT_EQ(recv.code(), Errc::eof);
  }
  close(c);
}

// P10: data and FIN are one edge, and a short read must not be taken for "drained".
TEST_P(ReactorConformance, P10_data_and_fin_in_one_edge_are_both_seen) {
  for (int round = 0; round < 20; ++round) {
    Connection c = connect();
    Reader reader;
    reader.start(reactor(), *c.socket);
    c.client->write("short");
    c.client->finish();
    harness().pump();
    ASSERT_TRUE(until([&] { return reader.ended(); }));
    EXPECT_EQ(reader.bytes, "short");
    EXPECT_EQ(reader.code(), Errc::eof);
    close(c);
  }
}

// P11: bytes that came before the reset are delivered before it.
TEST_P(ReactorConformance, P11_rst_with_data_delivers_the_data_first) {
  if (!harness().has_reset()) GTEST_SKIP() << "unix sockets know no reset";
  Connection c = connect();
  c.client->write("last words");
  c.client->reset();
  harness().pump();
  settle_all();
  Reader reader;
  reader.start(reactor(), *c.socket);
  ASSERT_TRUE(until([&] { return reader.ended(); }));
  EXPECT_EQ(reader.bytes, "last words");
  EXPECT_EQ(reader.code(), Errc::reset);
  EXPECT_NE(reader.results.back().os_error, 0);
  close(c);
}

TEST_P(ReactorConformance, R3_a_reset_that_a_send_has_met_is_a_reset_for_the_reader_too) {
  if (!harness().has_reset()) GTEST_SKIP() << "unix sockets know no reset";
  Connection c = connect();
  c.client->reset();
  settle_all();
  TestSend send;
  send.add("too late");
  reactor().send(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done(); }));
  EXPECT_EQ(send.code(), Errc::reset);
  // The kernel has told its only error to the send, and says "end of file" from now on.
  TestRecv recv;
  reactor().recv(*c.socket, recv);
  ASSERT_TRUE(until([&] { return recv.done(); }));
  EXPECT_EQ(recv.code(), Errc::reset);
  TestRecv again;
  reactor().recv(*c.socket, again);
  ASSERT_TRUE(until([&] { return again.done(); }));
  EXPECT_EQ(again.code(), Errc::reset);
  close(c);
}

TEST_P(ReactorConformance, R3_a_reset_ends_a_recv_that_waits) {
  if (!harness().has_reset()) GTEST_SKIP() << "unix sockets know no reset";
  Connection c = connect();
  Reader reader;
  reader.start(reactor(), *c.socket);
  settle_all();
  c.client->reset();
  ASSERT_TRUE(until([&] { return reader.ended(); }));
  EXPECT_EQ(reader.code(), Errc::reset);
  close(c);
}

// --- R4: send
// ------------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, R4_many_pieces_with_empty_ones_between_arrive_in_order) {
  Connection c = connect();
  const std::string text = pattern(20'000);
  TestSend send;
  std::size_t at = 0;
  for (std::size_t i = 0; at < text.size(); ++i) {
    const std::size_t size = std::min(text.size() - at, i % 150);
    send.list.push_back(std::as_bytes(std::span(text.data() + at, size)));
    if (i % 7 == 0) send.list.push_back({});
    at += size;
  }
  send.list.push_back({});
  send.pieces = send.list;
  ASSERT_GT(send.list.size(), 200U);
  const auto before = send.list;
  reactor().send(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == text.size(); }));
  EXPECT_EQ(c.client->received(), text);
  EXPECT_EQ(send.results.back().bytes, text.size());
  EXPECT_EQ(send.progress, text.size());
  // The caller's pieces are the caller's.
  for (std::size_t i = 0; i < before.size(); ++i) {
    EXPECT_EQ(before[i].data(), send.list[i].data());
    EXPECT_EQ(before[i].size(), send.list[i].size());
  }
  close(c);
}

TEST_P(ReactorConformance, R4_a_send_of_nothing_is_done) {
  Connection c = connect();
  TestSend nothing;
  TestSend empty_pieces;
  empty_pieces.list.resize(70);
  empty_pieces.pieces = empty_pieces.list;
  reactor().send(*c.socket, nothing);
  ASSERT_TRUE(until([&] { return nothing.done(); }));
  reactor().send(*c.socket, empty_pieces);
  ASSERT_TRUE(until([&] { return empty_pieces.done(); }));
  EXPECT_EQ(nothing.code(), Errc::ok);
  EXPECT_EQ(empty_pieces.code(), Errc::ok);
  close(c);
}

TEST_P(ReactorConformance, R4_big_send_to_a_slow_reader_shows_its_progress_and_ends_whole) {
  Connection c = connect();
  c.client->stop_reading();
  const std::string text = pattern(12 * 1024 * 1024);  // more than any default socket buffer
  TestSend send;
  send.add(std::string_view(text).substr(0, 1000));
  send.add(std::string_view(text).substr(1000, 7'000'000));
  send.add(std::string_view(text).substr(7'001'000));
  reactor().send(*c.socket, send);
  settle_all();
  EXPECT_FALSE(send.done());
  EXPECT_GT(send.progress, 0U);
  EXPECT_LT(send.progress, text.size());
  std::uint64_t before = send.progress;
  bool grew_in_flight = false;
  c.client->resume_reading();
  ASSERT_TRUE(until([&] {
    EXPECT_GE(send.progress, before);
    grew_in_flight = grew_in_flight || (send.progress > before && !send.done());
    before = send.progress;
    return c.client->received().size() == text.size();
  }));
  ASSERT_TRUE(until([&] { return send.done(); }));
  EXPECT_TRUE(grew_in_flight);
  EXPECT_EQ(send.code(), Errc::ok);
  EXPECT_EQ(send.results.back().bytes, text.size());
  EXPECT_TRUE(c.client->received() == text);
  // And the socket is fit for more.
  TestSend next;
  next.add("tail");
  reactor().send(*c.socket, next);
  ASSERT_TRUE(until([&] { return next.done() && c.client->received().size() == text.size() + 4; }));
  close(c);
}

TEST_P(ReactorConformance, R4_a_parked_send_does_not_stop_reading) {
  Connection c = connect();
  c.client->stop_reading();
  const std::string text = pattern(12 * 1024 * 1024);
  TestSend send;
  send.add(text);
  reactor().send(*c.socket, send);
  settle_all();
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write("are you there?");
  ASSERT_TRUE(until([&] { return reader.bytes == "are you there?"; }));
  EXPECT_FALSE(send.done());
  close(c);
  EXPECT_EQ(send.code(), Errc::cancelled);
  EXPECT_EQ(send.results.back().bytes, send.progress);
}

TEST_P(ReactorConformance, R4_a_reset_ends_a_parked_send) {
  if (!harness().has_reset()) GTEST_SKIP() << "unix sockets know no reset";
  Connection c = connect();
  c.client->stop_reading();
  const std::string text = pattern(12 * 1024 * 1024);
  TestSend send;
  send.add(text);
  reactor().send(*c.socket, send);
  settle_all();
  ASSERT_FALSE(send.done());
  c.client->reset();
  ASSERT_TRUE(until([&] { return send.done(); }));
  EXPECT_EQ(send.code(), Errc::reset);
  close(c);
}

TEST_P(ReactorConformance, R4_more_to_follow_is_not_held_back_for_ever) {
  Connection c = connect();
  TestSend head;
  head.add("head,");
  head.more = true;
  reactor().send(*c.socket, head);
  ASSERT_TRUE(until([&] { return head.done(); }));
  TestSend body;
  body.add("body");
  reactor().send(*c.socket, body);
  ASSERT_TRUE(until([&] { return c.client->received() == "head,body"; }));
  ASSERT_TRUE(until([&] { return body.done(); }));
  close(c);
}

// --- send_file
// -----------------------------------------------------------------------------------------------------------

TEST_P(ReactorConformance, send_file_sends_the_range_and_leaves_the_files_position) {
  Connection c = connect();
  const std::string text = pattern(700'000);
  TemporaryFile file(text);
  std::string expected;
  for (const std::uint64_t offset : {std::uint64_t{1000}, std::uint64_t{0}}) {
    TestSendFile send;
    send.file = file.native();
    send.offset = offset;
    send.count = kMaxSendFileBytes;
    reactor().send_file(*c.socket, send);
    expected += text.substr(offset, kMaxSendFileBytes);
    ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == expected.size(); }));
    EXPECT_EQ(send.code(), Errc::ok);
    EXPECT_EQ(send.results.back().bytes, kMaxSendFileBytes);
    EXPECT_EQ(send.progress, kMaxSendFileBytes);
  }
  EXPECT_TRUE(c.client->received() == expected);
  close(c);
}

TEST_P(ReactorConformance, send_file_of_a_file_that_ends_early_is_eof_with_what_was_sent) {
  Connection c = connect();
  TemporaryFile file("0123456789");
  TestSendFile send;
  send.file = file.native();
  send.offset = 4;
  send.count = 100;
  reactor().send_file(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done(); }));
  EXPECT_EQ(send.code(), Errc::eof);
  EXPECT_EQ(send.results.back().bytes, 6U);
  ASSERT_TRUE(until([&] { return c.client->received() == "456789"; }));
  close(c);
}

// What stands before a file goes with it, and is counted with it; also when the file turns out to be shorter, or empty.
TEST_P(ReactorConformance, send_file_sends_its_head_first) {
  Connection c = connect();
  const std::string text = pattern(300'000);
  const std::string head = "HTTP/1.1 200 OK\r\n\r\n";
  TemporaryFile file(text);
  struct Case {
    std::uint64_t offset;
    std::uint32_t count;
    std::string expected;
    Errc code;
  };
  std::string expected;
  for (const Case& round :
       {Case{0, 300'000, head + text, Errc::ok}, Case{299'990, 10, head + text.substr(299'990), Errc::ok},
        Case{5, 0, head, Errc::ok}, Case{299'990, 100, head + text.substr(299'990), Errc::eof},
        Case{400'000, 10, head, Errc::eof}}) {
    TestSendFile send;
    send.head = std::as_bytes(std::span(head));
    send.file = file.native();
    send.offset = round.offset;
    send.count = round.count;
    reactor().send_file(*c.socket, send);
    expected += round.expected;
    ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == expected.size(); }));
    EXPECT_EQ(send.code(), round.code);
    EXPECT_EQ(send.results.back().bytes, round.expected.size());
    EXPECT_EQ(send.progress, round.expected.size());
  }
  EXPECT_TRUE(c.client->received() == expected);
  close(c);
}

TEST_P(ReactorConformance, send_file_waits_for_a_slow_reader) {
  Connection c = connect();
  c.client->stop_reading();
  const std::string text = pattern(12 * 1024 * 1024);
  TemporaryFile file(text);
  TestSendFile send;
  send.file = file.native();
  send.count = kMaxSendFileBytes;
  send.then = [&] {
    send.offset += send.results.back().bytes;
    send.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxSendFileBytes, text.size() - send.offset));
    if (send.code() == Errc::ok && send.count > 0) reactor().send_file(*c.socket, send);
  };
  reactor().send_file(*c.socket, send);
  settle_all();
  EXPECT_TRUE(send.in_flight);
  c.client->resume_reading();
  ASSERT_TRUE(until([&] { return c.client->received().size() == text.size(); }));
  EXPECT_TRUE(c.client->received() == text);
  ASSERT_TRUE(until([&] { return !send.in_flight; }));
  close(c);
}

TEST_P(ReactorConformance, send_file_cannot_hold_more_than_its_limit) { EXPECT_EQ(kMaxSendFileBytes, 512U * 1024U); }

}  // namespace pyre::platform::test
