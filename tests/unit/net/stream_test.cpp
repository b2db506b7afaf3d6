#include "net/stream.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/files.h"
#include "unit/net/fake_reactor.h"

namespace pyre::net {
namespace {

using platform::Errc;
using platform::Lease;
using platform::Result;
using testing::FakeSocket;

platform::ConstBytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

struct Owner {
  std::string text;
  int released = 0;
  Borrowed borrowed() {
    return {this, [](void* owner) noexcept { ++static_cast<Owner*>(owner)->released; }};
  }
};

// Writes down what happens; a test may hook in.
struct Log final : StreamEvents {
  void on_data(Lease& data) noexcept override {
    note("data " + std::string(reinterpret_cast<const char*>(data.data()), data.size()));
    if (keep) kept.push_back(std::move(data));
    if (then_data) then_data();
  }
  void on_end() noexcept override {
    note("end");
    if (then_end) then_end();
  }
  void on_error(Result result) noexcept override {
    note("error " + std::to_string(static_cast<int>(result.code)));
    if (then_error) then_error();
  }
  void on_sent() noexcept override {
    note("sent");
    if (then_sent) then_sent();
  }
  void on_closed() noexcept override {
    note("closed");
    const std::function<void()> then = then_closed;
    if (then) then();
  }
  void note(std::string what) { events.push_back(std::move(what)); }
  std::vector<std::string> take() { return std::exchange(events, {}); }

  std::vector<std::string> events;
  std::vector<Lease> kept;
  bool keep = false;
  std::function<void()> then_data, then_end, then_error, then_sent, then_closed;
};

using Events = std::vector<std::string>;
const std::string kError = "error " + std::to_string(static_cast<int>(Errc::reset));

class StreamTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const platform::NativeSocket native = reactor_.make_socket();
    stream_ = std::make_unique<Stream>(loop_, log_);
    ASSERT_EQ(stream_->open(native), Errc::ok);
    socket_ = &reactor_.at(native);
  }
  void TearDown() override {
    if (stream_ != nullptr) {
      log_ = Log();
      stream_->close();
      host_.tick(3);
      EXPECT_TRUE(socket_->gone);
    }
    stream_.reset();
    log_.kept.clear();
    EXPECT_EQ(loop_.buffers().lent(), 0U);
    EXPECT_EQ(loop_.blocks().blocks_in_use(), 0U);
    EXPECT_EQ(loop_.blocks().pieces_in_use(), 0U);
    EXPECT_EQ(loop_.frames_in_use(), 0U);
    EXPECT_FALSE(loop_.has_work());
    EXPECT_TRUE(reactor_.open_handles.empty());
  }
  void say(std::string_view text) {
    ASSERT_TRUE(stream_->output().append(bytes_of(text)));
    stream_->request_flush();
  }

  testing::FakeLoop host_;
  Loop& loop_ = *host_.loop;
  testing::FakeReactor& reactor_ = *host_.reactor;
  Log log_;
  std::unique_ptr<Stream> stream_;
  FakeSocket* socket_ = nullptr;
};

// ---- opening

TEST_F(StreamTest, a_socket_that_cannot_be_attached_stays_the_callers) {
  reactor_.attach_fails = true;
  Stream other(loop_, log_);
  EXPECT_EQ(other.open(77), Errc::exhausted);
  EXPECT_FALSE(other.is_open());
  other.close();
  host_.tick();
  EXPECT_TRUE(log_.events.empty());
}

TEST_F(StreamTest, is_small) {
  EXPECT_LE(sizeof(Stream), sizeof(platform::NativeSocket) > 4 ? 408U : 400U);  // Windows' SOCKET is a pointer's size
}

// ---- reading

TEST_F(StreamTest, reads_nothing_until_it_is_told_to) {
  socket_->put("hello");
  host_.tick(2);
  EXPECT_TRUE(log_.events.empty());
  EXPECT_EQ(socket_->recvs, 0);
  stream_->set_reading(true);
  EXPECT_TRUE(log_.events.empty()) << "never from inside a call";
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"data hello"});
}

TEST_F(StreamTest, goes_on_reading_and_holds_no_buffer_in_between) {
  stream_->set_reading(true);
  for (int i = 0; i < 5; ++i) {
    socket_->put("x");
    host_.tick();
    EXPECT_EQ(loop_.buffers().lent(), 0U);
  }
  EXPECT_EQ(log_.events.size(), 5U);
  EXPECT_NE(socket_->recv, nullptr);
}

TEST_F(StreamTest, the_callee_may_keep_the_bytes) {
  log_.keep = true;
  stream_->set_reading(true);
  socket_->put("abc");
  host_.tick();
  ASSERT_EQ(log_.kept.size(), 1U);
  EXPECT_EQ(log_.kept[0].size(), 3U);
  EXPECT_EQ(loop_.buffers().lent(), 1U);
}

TEST_F(StreamTest, bytes_of_a_read_in_flight_are_kept_while_reading_is_off) {
  stream_->set_reading(true);
  stream_->set_reading(false);
  socket_->put("first");
  socket_->put("second");
  host_.tick(3);
  EXPECT_TRUE(log_.events.empty());
  EXPECT_EQ(socket_->recvs, 1) << "no further read: that is the back-pressure";
  EXPECT_FALSE(loop_.has_work());
  stream_->set_reading(true);
  EXPECT_TRUE(log_.events.empty());
  EXPECT_TRUE(loop_.has_work()) << "no kernel event will come for bytes that are here already";
  host_.tick(2);
  EXPECT_EQ(log_.take(), (Events{"data first", "data second"}));
}

TEST_F(StreamTest, reading_that_is_turned_off_again_before_the_kept_bytes_went_keeps_them) {
  stream_->set_reading(true);
  stream_->set_reading(false);
  socket_->put("kept");
  host_.tick();
  stream_->set_reading(true);
  stream_->set_reading(false);
  host_.tick();
  EXPECT_TRUE(log_.events.empty());
  stream_->set_reading(true);
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"data kept"});
}

TEST_F(StreamTest, reading_can_be_turned_off_and_on_from_inside_on_data) {
  log_.then_data = [&] {
    stream_->set_reading(false);
    if (log_.events.size() == 2) stream_->set_reading(true);
  };
  stream_->set_reading(true);
  socket_->put("1");
  socket_->put("2");
  socket_->put("3");
  host_.tick(3);
  EXPECT_EQ(log_.take(), Events{"data 1"});
  log_.events.push_back("x");
  stream_->set_reading(true);
  host_.tick(3);
  EXPECT_EQ(log_.take(), (Events{"x", "data 2", "data 3"}));
}

TEST_F(StreamTest, the_end_is_told_once_and_writing_goes_on) {
  stream_->set_reading(true);
  socket_->put("bye");
  socket_->put(Errc::eof);
  host_.tick(2);
  EXPECT_EQ(log_.take(), (Events{"data bye", "end"}));
  EXPECT_TRUE(stream_->ended());
  EXPECT_TRUE(stream_->is_open());
  stream_->set_reading(false);
  stream_->set_reading(true);
  EXPECT_EQ(socket_->recv, nullptr);
  say("answer");
  host_.tick();
  EXPECT_EQ(socket_->sent, "answer");
}

TEST_F(StreamTest, the_end_is_told_even_while_reading_is_off) {
  stream_->set_reading(true);
  stream_->set_reading(false);
  socket_->put(Errc::eof);
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"end"});
}

TEST_F(StreamTest, an_error_is_told_once_and_nothing_follows_but_closed) {
  stream_->set_reading(true);
  say("never");
  socket_->hold_sends = true;
  loop_.flush();
  socket_->put(Errc::reset);
  host_.tick();
  EXPECT_EQ(log_.take(), Events{kError});
  EXPECT_FALSE(stream_->is_open());
  reactor_.let_send_go(*socket_, {Errc::reset, 0, 0});
  stream_->set_reading(true);
  stream_->request_flush();
  stream_->finish_sending();
  host_.tick(2);
  EXPECT_TRUE(log_.events.empty());
  stream_->close();
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"closed"});
}

TEST_F(StreamTest, a_read_that_finds_no_buffer_is_tried_again_later_without_spinning) {
  std::vector<Lease> all;
  while (Lease lease = loop_.buffers().lend()) all.push_back(std::move(lease));
  stream_->set_reading(true);
  socket_->put("late");
  host_.tick();
  EXPECT_TRUE(log_.events.empty());
  EXPECT_EQ(loop_.stats().starved, 1U);
  EXPECT_FALSE(loop_.has_work());
  stream_->set_reading(false);
  stream_->set_reading(true);
  EXPECT_EQ(socket_->recv, nullptr);
  all.clear();
  host_.tick();
  EXPECT_TRUE(log_.events.empty());
  testing::FakeClock::advance(std::chrono::milliseconds(200));
  host_.tick(2);
  EXPECT_EQ(log_.take(), Events{"data late"});
}

TEST_F(StreamTest, a_starved_stream_can_be_closed) {
  std::vector<Lease> all;
  while (Lease lease = loop_.buffers().lend()) all.push_back(std::move(lease));
  stream_->set_reading(true);
  socket_->put("late");
  host_.tick();
  stream_->close();
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"closed"});
  stream_.reset();
  testing::FakeClock::advance(std::chrono::milliseconds(200));
  host_.tick(2);
}

// ---- writing

TEST_F(StreamTest, sends_what_was_queued_in_one_go_at_the_end_of_the_tick) {
  say("one ");
  say("two ");
  say("three");
  EXPECT_TRUE(loop_.has_work());
  EXPECT_EQ(socket_->sent, "");
  loop_.flush();
  EXPECT_EQ(socket_->sent, "one two three");
  EXPECT_EQ(socket_->pieces, std::vector<std::size_t>{1});
  EXPECT_TRUE(log_.events.empty()) << "never from inside flush()";
  EXPECT_EQ(stream_->progress(), 13U);
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"sent"});
  EXPECT_EQ(stream_->progress(), 13U);
  EXPECT_TRUE(stream_->output().empty());
  EXPECT_EQ(loop_.stats().flushes, 1U);
}

TEST_F(StreamTest, what_is_sent_from_a_callback_leaves_in_the_same_tick) {
  log_.then_data = [&] { say("pong"); };
  stream_->set_reading(true);
  socket_->put("ping");
  host_.tick();
  EXPECT_EQ(socket_->sent, "pong");
  EXPECT_EQ(log_.take(), (Events{"data ping", "sent"}));
  EXPECT_FALSE(loop_.has_work());
}

TEST_F(StreamTest, two_pieces_need_no_frame_and_more_take_one_while_they_are_sent) {
  Owner body{"body"};
  socket_->hold_sends = true;
  ASSERT_TRUE(stream_->output().append(bytes_of("head")));
  ASSERT_TRUE(stream_->output().append_borrowed(bytes_of(body.text), body.borrowed()));
  stream_->request_flush();
  loop_.flush();
  EXPECT_EQ(loop_.frames_in_use(), 0U);
  reactor_.let_send_go(*socket_);
  host_.tick();
  EXPECT_EQ(body.released, 1);
  std::vector<std::unique_ptr<Owner>> owners;
  std::string expected = "headbody";
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(stream_->output().append(bytes_of("h")));
    auto& owner = owners.emplace_back(std::make_unique<Owner>());
    owner->text = std::to_string(i);
    ASSERT_TRUE(stream_->output().append_borrowed(bytes_of(owner->text), owner->borrowed()));
    expected += "h" + owner->text;
  }
  stream_->request_flush();
  loop_.flush();
  EXPECT_EQ(loop_.frames_in_use(), 1U);
  reactor_.let_send_go(*socket_);
  host_.tick();  // 64 of 100 pieces; the rest goes at the end of the tick
  reactor_.let_send_go(*socket_);
  host_.tick();
  EXPECT_EQ(loop_.frames_in_use(), 0U);
  EXPECT_EQ(socket_->pieces, (std::vector<std::size_t>{2, 64, 36}));
  EXPECT_EQ(socket_->more, (std::vector<bool>{false, true, false}));
  EXPECT_EQ(socket_->sent, expected);
  for (const auto& owner : owners) EXPECT_EQ(owner->released, 1);
}

TEST_F(StreamTest, a_large_output_goes_in_ops_of_bounded_size) {
  Owner body{std::string(1200 * 1024, 'x')};
  ASSERT_TRUE(stream_->output().append_borrowed(bytes_of(body.text), body.borrowed()));
  stream_->request_flush();
  int sends = 0;
  log_.then_sent = [&] { ++sends; };
  host_.tick(5);
  EXPECT_EQ(socket_->sent.size(), body.text.size());
  EXPECT_EQ(sends, 3);
  EXPECT_EQ(body.released, 1);
}

TEST_F(StreamTest, output_that_is_added_during_a_send_follows_it) {
  socket_->hold_sends = true;
  say("first");
  loop_.flush();
  say(" second");
  loop_.flush();
  EXPECT_EQ(socket_->pieces.size(), 1U);
  reactor_.let_send_go(*socket_);
  host_.tick();
  ASSERT_NE(socket_->send, nullptr);
  reactor_.let_send_go(*socket_);
  host_.tick();
  EXPECT_EQ(socket_->sent, "first second");
}

TEST_F(StreamTest, progress_counts_the_op_in_flight) {
  socket_->hold_sends = true;
  say("0123456789");
  loop_.flush();
  socket_->send->progress = 4;
  EXPECT_EQ(stream_->progress(), 4U);
  reactor_.let_send_go(*socket_);
  host_.tick();
  EXPECT_EQ(stream_->progress(), 10U);
}

TEST_F(StreamTest, a_failed_send_counts_what_was_taken_and_is_an_error) {
  socket_->hold_sends = true;
  say("0123456789");
  loop_.flush();
  reactor_.let_send_go(*socket_, {Errc::reset, 3, 0});
  host_.tick();
  EXPECT_EQ(log_.take(), Events{kError});
  EXPECT_EQ(stream_->progress(), 3U);
  EXPECT_EQ(stream_->output().size(), 7U);
  host_.tick();
  EXPECT_EQ(socket_->send, nullptr);
}

TEST_F(StreamTest, finish_sending_comes_after_the_output) {
  socket_->hold_sends = true;
  say("last words");
  stream_->finish_sending();
  host_.tick();
  EXPECT_FALSE(socket_->finished);
  reactor_.let_send_go(*socket_);
  host_.tick();
  EXPECT_TRUE(socket_->finished);
  EXPECT_TRUE(stream_->is_open());
  stream_->finish_sending();
  host_.tick();
  EXPECT_FALSE(loop_.has_work());
}

TEST_F(StreamTest, finish_sending_with_nothing_to_send_is_done_in_the_same_tick) {
  stream_->finish_sending();
  EXPECT_TRUE(loop_.has_work());
  host_.tick();
  EXPECT_TRUE(socket_->finished);
}

// ---- closing

TEST_F(StreamTest, close_is_asynchronous_idempotent_and_closed_comes_last) {
  stream_->set_reading(true);
  stream_->close();
  stream_->close(true);
  EXPECT_FALSE(stream_->is_open());
  EXPECT_TRUE(log_.events.empty());
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"closed"});
  EXPECT_FALSE(socket_->reset);
  stream_->close();
  host_.tick();
  EXPECT_TRUE(log_.events.empty());
  stream_.reset();
}

TEST_F(StreamTest, an_abort_resets) {
  stream_->close(true);
  EXPECT_TRUE(socket_->reset);
}

TEST_F(StreamTest, may_be_destroyed_from_inside_on_closed) {
  stream_->set_reading(true);
  log_.then_closed = [&] { stream_.reset(); };
  stream_->close();
  host_.tick();
  EXPECT_EQ(stream_, nullptr);
  EXPECT_TRUE(socket_->gone);
}

TEST_F(StreamTest, can_be_closed_from_inside_every_callback) {
  for (const int which : {0, 1, 2, 3}) {
    SCOPED_TRACE(which);
    Log log;
    Stream stream(loop_, log);
    const platform::NativeSocket native = reactor_.make_socket();
    ASSERT_EQ(stream.open(native), Errc::ok);
    FakeSocket& socket = reactor_.at(native);
    const auto close = [&] { stream.close(which % 2 == 0); };
    (which == 0 ? log.then_data : which == 1 ? log.then_end : which == 2 ? log.then_error : log.then_sent) = close;
    ASSERT_TRUE(stream.output().append(bytes_of("x")));
    if (which == 3) stream.request_flush();
    stream.set_reading(true);
    if (which == 0) socket.put("x");
    if (which == 1) socket.put(Errc::eof);
    if (which == 2) socket.put(Errc::reset);
    host_.tick(3);
    EXPECT_EQ(log.events.back(), "closed");
    EXPECT_EQ(log.events.size(), 2U);
  }
}

TEST_F(StreamTest, close_releases_pending_output_exactly_once) {
  Owner idle{"idle"};
  ASSERT_TRUE(stream_->output().append_borrowed(bytes_of(idle.text), idle.borrowed()));
  stream_->request_flush();
  stream_->close();
  EXPECT_EQ(idle.released, 1);
  host_.tick();
  EXPECT_EQ(idle.released, 1);
  EXPECT_EQ(socket_->sent, "");
}

TEST_F(StreamTest, bytes_in_flight_stay_put_until_the_cancelled_send_is_back) {
  Owner flying{"flying"};
  socket_->hold_sends = true;
  ASSERT_TRUE(stream_->output().append_borrowed(bytes_of(flying.text), flying.borrowed()));
  stream_->request_flush();
  loop_.flush();
  stream_->close();
  EXPECT_EQ(flying.released, 0) << "the kernel may still look at them";
  int released_at_closed = -1;
  log_.then_closed = [&] { released_at_closed = flying.released; };
  host_.tick();
  EXPECT_EQ(released_at_closed, 1);
  EXPECT_EQ(flying.released, 1);
}

TEST_F(StreamTest, close_gives_kept_bytes_and_its_place_on_every_list_back) {
  stream_->set_reading(true);
  stream_->set_reading(false);
  socket_->put("kept");
  host_.tick();
  EXPECT_EQ(loop_.buffers().lent(), 1U);
  stream_->set_reading(true);
  say("queued");
  stream_->close();
  EXPECT_EQ(loop_.buffers().lent(), 0U);
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"closed"});
  EXPECT_EQ(socket_->sent, "");
}

TEST_F(StreamTest, one_streams_callback_may_close_another_that_waits_for_its_turn) {
  std::vector<std::unique_ptr<Log>> logs;
  std::vector<std::unique_ptr<Stream>> streams;
  int delivered = 0;
  for (int i = 0; i < 3; ++i) {
    auto& log = *logs.emplace_back(std::make_unique<Log>());
    auto& stream = *streams.emplace_back(std::make_unique<Stream>(loop_, log));
    const platform::NativeSocket native = reactor_.make_socket();
    ASSERT_EQ(stream.open(native), Errc::ok);
    stream.set_reading(true);
    stream.set_reading(false);
    reactor_.at(native).put("x");
    log.then_data = [&] {
      ++delivered;
      for (auto& other : streams) other->close();
    };
  }
  host_.tick();
  for (auto& stream : streams) stream->set_reading(true);
  host_.tick(2);
  EXPECT_EQ(delivered, 1);
  for (auto& log : logs) EXPECT_EQ(log->events.back(), "closed");
}

TEST_F(StreamTest, nothing_comes_after_a_close_that_raced_with_an_event) {
  stream_->set_reading(true);
  socket_->put("too late");
  reactor_.on_poll = [&] { stream_->close(); };
  host_.tick(2);
  reactor_.on_poll = {};
  EXPECT_EQ(log_.take(), Events{"closed"});
}

TEST_F(StreamTest, output_added_after_the_close_is_dropped) {
  Owner owner{"late"};
  stream_->close();
  ASSERT_TRUE(stream_->output().append_borrowed(bytes_of(owner.text), owner.borrowed()));
  stream_->request_flush();
  host_.tick();
  EXPECT_EQ(owner.released, 1);
  EXPECT_EQ(socket_->sent, "");
}

// ---- files

bool always_cached(platform::NativeFile, std::uint64_t) noexcept { return true; }

class StreamFileTest : public StreamTest {
 protected:
  void SetUp() override {
    StreamTest::SetUp();
    loop_.set_is_cached_for_tests(&always_cached);
  }
};

TEST_F(StreamFileTest, head_and_file_are_one_operation_and_the_tail_follows) {
  Owner file;
  say("head");
  ASSERT_TRUE(stream_->output().append_file(test::made_up_file(5), 10, 1000, file.borrowed()));
  ASSERT_TRUE(stream_->output().append(bytes_of("tail")));
  host_.tick(4);
  EXPECT_EQ(socket_->sent, "head[10+1000]tail");
  EXPECT_EQ(socket_->heads, (std::vector<std::size_t>{4}));
  EXPECT_EQ(socket_->more, (std::vector<bool>{true, false}));
  EXPECT_EQ(file.released, 1);
  EXPECT_EQ(stream_->progress(), 1008U);
}

TEST_F(StreamFileTest, only_the_first_turn_of_a_large_file_has_the_head) {
  Owner file;
  say("head");
  ASSERT_TRUE(stream_->output().append_file(test::made_up_file(5), 0, 600'000, file.borrowed()));
  host_.tick(4);
  EXPECT_EQ(socket_->sent, "head[0+524288][524288+75712]");
  EXPECT_EQ(socket_->heads, (std::vector<std::size_t>{4, 0}));
  EXPECT_EQ(socket_->more, (std::vector<bool>{true, false}));
  EXPECT_EQ(file.released, 1);
}

TEST_F(StreamFileTest, a_failure_inside_the_head_counts_what_was_taken) {
  Owner file;
  socket_->hold_sends = true;
  say("head");
  ASSERT_TRUE(stream_->output().append_file(test::made_up_file(5), 0, 1000, file.borrowed()));
  loop_.flush();
  reactor_.let_file_go(*socket_, {Errc::reset, 3, 0});
  host_.tick();
  EXPECT_EQ(socket_->sent, "hea[0+0]");
  EXPECT_EQ(stream_->progress(), 3U);
  EXPECT_EQ(stream_->output().size(), 1001U);
  stream_->close();
  host_.tick();
  EXPECT_EQ(file.released, 1);
}

TEST_F(StreamFileTest, a_large_file_goes_in_bounded_turns) {
  Owner file;
  ASSERT_TRUE(stream_->output().append_file(test::made_up_file(5), 0, 1'200'000, file.borrowed()));
  stream_->request_flush();
  host_.tick(4);
  EXPECT_EQ(socket_->sent, "[0+524288][524288+524288][1048576+151424]");
  EXPECT_EQ(file.released, 1);
}

TEST_F(StreamFileTest, a_file_that_ends_early_is_an_error) {
  Owner file;
  socket_->hold_sends = true;
  ASSERT_TRUE(stream_->output().append_file(test::made_up_file(5), 0, 1000, file.borrowed()));
  stream_->request_flush();
  loop_.flush();
  reactor_.let_file_go(*socket_, {Errc::eof, 400, 0});
  host_.tick();
  EXPECT_EQ(log_.take(), Events{"error " + std::to_string(static_cast<int>(Errc::eof))});
  EXPECT_EQ(stream_->progress(), 400U);
  EXPECT_FALSE(stream_->ended());
  stream_->close();
  host_.tick();
  EXPECT_EQ(file.released, 1);
}

bool never_cached(platform::NativeFile, std::uint64_t) noexcept { return false; }

TEST_F(StreamFileTest, a_range_that_is_not_cached_is_read_by_the_pool_before_it_is_sent) {
  loop_.set_is_cached_for_tests(&never_cached);
  const test::TemporaryFile file("");
  Owner owner;
  ASSERT_TRUE(stream_->output().append_file(file.native(), 0, 1'200'000, owner.borrowed()));
  // However often it is flushed: nothing goes before the pool's letter was delivered.
  for (int i = 0; i < 3; ++i) {
    stream_->request_flush();
    loop_.flush();
    EXPECT_EQ(socket_->sent, "");
  }
  const std::string first = "[0+524288]";
  const std::string second = first + "[524288+524288]";
  const std::string third = second + "[1048576+151424]";
  for (const std::string& expected : {first, second, third}) {
    while (socket_->sent.size() < expected.size()) host_.tick();
    EXPECT_EQ(socket_->sent, expected);
    stream_->request_flush();
    loop_.flush();  // the next range is being read meanwhile
    EXPECT_EQ(socket_->sent, expected);
  }
  host_.tick(3);
  EXPECT_EQ(owner.released, 1);
  EXPECT_TRUE(stream_->output().empty());
}

TEST_F(StreamFileTest, a_head_does_not_wait_for_a_range_that_is_not_cached) {
  loop_.set_is_cached_for_tests(&never_cached);
  const test::TemporaryFile file("");
  Owner owner;
  say("head");
  ASSERT_TRUE(stream_->output().append_file(file.native(), 0, 1000, owner.borrowed()));
  loop_.flush();
  EXPECT_EQ(socket_->sent, "head");
  EXPECT_EQ(socket_->more, (std::vector<bool>{true}));
  while (!stream_->output().empty()) host_.tick();
  EXPECT_EQ(socket_->sent, "head[0+1000]");
  EXPECT_EQ(owner.released, 1);
}

TEST_F(StreamFileTest, close_during_a_file_send_releases_the_file_when_it_is_back) {
  Owner file;
  socket_->hold_sends = true;
  ASSERT_TRUE(stream_->output().append_file(test::made_up_file(5), 0, 1000, file.borrowed()));
  stream_->request_flush();
  loop_.flush();
  stream_->close();
  EXPECT_EQ(file.released, 0);
  host_.tick();
  EXPECT_EQ(file.released, 1);
  EXPECT_EQ(log_.take(), Events{"closed"});
}

}  // namespace
}  // namespace pyre::net
