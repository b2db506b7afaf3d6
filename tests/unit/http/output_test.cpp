// Large pieces, files, and memory that runs out: what leaves a connection other than by copying.
#include <gtest/gtest.h>

#include "sim_server.h"
#include "support/files.h"

namespace pyre::http::test {
namespace {

using pyre::test::TemporaryFile;  // each run its own: two of these tests may run at once
using Event = TestApp::Event;
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Owner {
  int released = 0;
  [[nodiscard]] net::Borrowed borrow() {
    return {this, [](void* owner) noexcept { ++static_cast<Owner*>(owner)->released; }};
  }
};

std::string pattern(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23 + i / 1000 % 3);
  return text;
}

TEST(Output, frames_large_borrowed_pieces_without_copying_them) {
  SimServer server;
  const std::string large = pattern(300'000);
  Owner first, second;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of(large), first.borrow(), false), Outcome::ok);
    EXPECT_LT(server.loop().blocks().blocks_in_use(), 3U);
    EXPECT_EQ(first.released, 0);
    EXPECT_EQ(exchange.write(bytes_of(large), second.borrow(), true), Outcome::ok);
    server.app.release(exchange);
  };
  const auto answers = split_answers(server.once(kGet));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_TRUE(answers[0].body == large + large);
  EXPECT_EQ(first.released, 1);
  EXPECT_EQ(second.released, 1);
}

TEST(Output, sends_ranges_of_files) {
  SimServer server;
  const std::string content = pattern(600'000);
  const TemporaryFile file(content);
  Owner owner;
  bool with_length = false;
  bool in_two = false;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    if (with_length) {
      EXPECT_EQ(exchange.response_head().add("content-length", "599990"), FieldError::ok);
    }
    EXPECT_EQ(exchange.start(), Outcome::ok);
    if (in_two) {
      EXPECT_EQ(exchange.write_file(file.native(), 0, 0, owner.borrow(), false), Outcome::ok);
      EXPECT_EQ(exchange.write_file(file.native(), 10, 100, owner.borrow(), false), Outcome::ok);
      EXPECT_EQ(exchange.write_file(file.native(), 110, 599'890, owner.borrow(), true), Outcome::ok);
    } else {
      EXPECT_EQ(exchange.write_file(file.native(), 10, 599'990, owner.borrow(), true), Outcome::ok);
    }
    server.app.release(exchange);
  };
  for (int i = 0; i < 4; ++i) {
    with_length = (i & 1) != 0;
    in_two = (i & 2) != 0;
    owner.released = 0;
    const auto answers = split_answers(server.once(kGet));
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_TRUE(answers[0].body == content.substr(10)) << i;
    EXPECT_EQ(answers[0].has("content-length: 599990"), with_length || !in_two);
    EXPECT_EQ(owner.released, in_two ? 3 : 1);
  }
  owner.released = 0;
  with_length = in_two = false;
  EXPECT_EQ(server.once("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), "HTTP/1.1 200 OK\r\ncontent-length: 599990\r\n\r\n");
  EXPECT_EQ(owner.released, 1);
}

TEST(Output, opens_no_more_files_for_a_peer_that_reads_nothing) {
  FaultPlan plan;
  plan.send_buffer_bytes = 1000;
  SimServer server(SimServer::plain_options(), plan);
  const TemporaryFile file("0123456789");
  Owner owner;
  int given = 0;
  bool in_pieces = false;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request && event != Event::drained) return;
    if (!exchange.started()) {
      exchange.response_head().start(200);
      EXPECT_EQ(exchange.start(), Outcome::ok);
    }
    const int end = in_pieces ? 2000 : given + 1;
    while (given < end) {
      ++given;
      EXPECT_EQ(exchange.write_file(file.native(), 0, 10, owner.borrow(), given == end), Outcome::ok);
      if (given < end && exchange.should_wait()) return;
    }
    server.app.release(exchange);
  };
  for (int i = 0; i < 2; ++i) {
    in_pieces = i == 1;
    given = owner.released = 0;
    Peer& peer = server.connect();
    peer.stop_reading();
    for (int request = 0; request < (in_pieces ? 1 : 2000); ++request) peer.write(kGet);
    server.run();
    EXPECT_GT(given, 0);
    EXPECT_LE(given - owner.released, 20) << "each holds a descriptor; in pieces: " << in_pieces;
    peer.resume_reading();
    server.run();
    EXPECT_EQ(given, 2000);
    EXPECT_EQ(owner.released, 2000);
    EXPECT_EQ(split_answers(peer.received()).size(), in_pieces ? 1U : 2000U);
  }
}

TEST(Output, cuts_the_connection_when_a_file_turns_out_shorter) {
  SimServer server;
  const TemporaryFile file(pattern(1000));
  Owner owner;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write_file(file.native(), 0, 2000, owner.borrow(), true), Outcome::ok);
    server.app.release(exchange);
  };
  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  EXPECT_EQ(server.server().stats().connections_open, 0U) << "the client must be able to tell";
  EXPECT_EQ(owner.released, 1);
}

TEST(Output, resets_the_connection_when_its_end_would_pass_for_the_end_of_a_file_that_turns_out_shorter) {
  SimServer server;
  const TemporaryFile file(pattern(1000));
  Owner owner;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) return server.app.release(exchange);
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write_file(file.native(), 0, 2000, owner.borrow(), false), Outcome::ok);
  };
  Peer& peer = server.connect();
  server.exchange(peer, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(peer.saw_reset());
  EXPECT_EQ(owner.released, 1);
}

// Memory is exhausted at every allocation in turn: the connection may die, but nothing is released twice or leaks.
TEST(Output, survives_memory_that_runs_out) {
  const std::string large = pattern(50'000);
  int whole = 0;
  for (std::uint32_t allocations = 0; allocations < 12; ++allocations) {
    SimServer server;
    Owner owner;
    int taken = 0;
    server.app.on_event = [&](Exchange& exchange, Event event) {
      if (event != Event::request) return;
      exchange.response_head().start(200);
      for (int i = 0; i < 30; ++i) {
        EXPECT_EQ(exchange.response_head().add("x-" + std::to_string(i), std::string(1000, 'v')), FieldError::ok);
      }
      EXPECT_EQ(exchange.start(), Outcome::ok);
      for (int i = 0; i < 3; ++i) {
        const Outcome outcome = exchange.write(bytes_of(large), owner.borrow(), i == 2);
        if (outcome == Outcome::ok) ++taken;
        if (outcome != Outcome::ok) {
          EXPECT_TRUE(outcome == Outcome::no_memory || outcome == Outcome::dead);
        }
      }
      server.app.release(exchange);
    };
    Peer& peer = server.connect();
    peer.write(kGet);
    server.loop().blocks().fail_after_for_tests(allocations);
    server.run();
    EXPECT_EQ(owner.released, taken) << "after " << allocations;
    if (taken == 3 && !peer.saw_reset()) ++whole;
  }
  EXPECT_GT(whole, 0) << "with enough memory it works";
}

}  // namespace
}  // namespace pyre::http::test
