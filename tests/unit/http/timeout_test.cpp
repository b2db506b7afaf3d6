// Time-outs know whose turn it is. All in virtual time.
#include <gtest/gtest.h>

#include "sim_server.h"

namespace pyre::http::test {
namespace {

using Event = TestApp::Event;
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view kPost = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";

int status_of(const std::string& bytes) { return bytes.size() < 12 ? 0 : std::stoi(bytes.substr(9, 3)); }

TEST(Timeouts, a_peer_that_says_nothing_is_closed_without_a_word) {
  SimServer server;
  Peer& peer = server.connect();
  server.pass(9s);
  EXPECT_FALSE(peer.saw_end());
  server.pass(2s);
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(peer.received(), "");
  EXPECT_EQ(server.server().stats().timeouts_header, 1U);
}

TEST(Timeouts, a_head_that_trickles_is_408_counted_from_accept) {
  SimServer server;
  Peer& peer = server.connect();
  server.pass(5s);
  peer.write("GET / HT");
  for (int i = 0; i < 4; ++i) {
    server.pass(1s);
    peer.write("T");
  }
  EXPECT_EQ(peer.received(), "");
  server.pass(2s);
  EXPECT_EQ(status_of(peer.received()), 408);
  EXPECT_TRUE(peer.saw_end());
  EXPECT_FALSE(peer.saw_reset());
}

TEST(Timeouts, a_later_head_is_counted_from_its_first_byte) {
  SimServer server;
  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  server.pass(60s);
  peer.write("G");
  server.pass(9s);
  EXPECT_EQ(peer.received(), "");
  server.pass(2s);
  EXPECT_EQ(status_of(peer.received()), 408);
}

TEST(Timeouts, an_idle_connection_is_closed_after_the_keep_alive_time) {
  SimServer server;
  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  server.pass(74s);
  EXPECT_FALSE(peer.saw_end());
  server.exchange(peer, kGet);
  server.pass(74s);
  EXPECT_FALSE(peer.saw_end()) << "each answer begins it anew";
  server.exchange(peer, "\r\n");
  server.pass(2s);
  EXPECT_TRUE(peer.saw_end()) << "empty lines do not";
  EXPECT_EQ(server.server().stats().timeouts_keep_alive, 1U);
}

TEST(Timeouts, nothing_runs_while_the_app_works) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  server.pass(3600s);
  EXPECT_FALSE(peer.saw_end());
  server.app.answer(*server.app.any(), "at last");
  server.run();
  EXPECT_EQ(status_of(peer.take_received()), 200);

  Peer& reader = server.connect();
  server.exchange(reader, std::string(kPost) + std::string(130'000, 'x'));  // above high water: the app does not read
  server.pass(3600s);
  EXPECT_FALSE(reader.saw_end());
  ASSERT_EQ(server.app.live(), 1U);
  (void)TestApp::take_body(*server.app.any());
  server.pass(29s);
  EXPECT_EQ(reader.received(), "");
  server.pass(2s);
  EXPECT_EQ(status_of(reader.received()), 408) << "but once we read again it is the peer's turn";
  EXPECT_EQ(server.app.dead, 1);
  server.app.release(*server.app.any());
}

TEST(Timeouts, a_body_that_stops_is_408_and_the_app_is_told) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) server.app.release(exchange);
  };
  Peer& peer = server.connect();
  server.exchange(peer, std::string(kPost) + "abc");
  server.pass(29s);
  peer.write(std::string(20'000, 'x'));
  server.pass(29s);
  EXPECT_EQ(server.app.dead, 0) << "every byte begins it anew";
  server.pass(2s);
  EXPECT_EQ(server.app.dead, 1);
  EXPECT_EQ(status_of(peer.received()), 408);
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(server.server().stats().timeouts_body, 1U);
}

TEST(Timeouts, a_body_that_trickles_is_stopped_by_the_minimum_rate) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) server.app.release(exchange);
  };
  Peer& slow = server.connect();
  Peer& enough = server.connect();
  slow.write(kPost);
  enough.write(kPost);
  int seconds = 0;
  for (; seconds < 60 && server.app.dead == 0; ++seconds) {
    slow.write(std::string(100, 'x'));
    enough.write(std::string(300, 'x'));
    server.pass(1s);
  }
  EXPECT_GE(seconds, 29);
  EXPECT_LE(seconds, 32);
  EXPECT_EQ(status_of(slow.received()), 408);
  EXPECT_EQ(enough.received(), "");
  server.app.release(*server.app.any());
}

TEST(Timeouts, a_peer_that_waits_for_100_is_waiting_for_us) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  server.pass(300s);
  EXPECT_FALSE(peer.saw_end());
  server.app.any()->want_body();
  server.run();
  EXPECT_EQ(status_of(peer.take_received()), 100);
  server.pass(31s);
  EXPECT_EQ(status_of(peer.received()), 408);
  server.app.release(*server.app.any());
}

TEST(Timeouts, a_peer_that_got_an_answer_instead_of_100_is_not_waiting_for_us) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) server.app.release(exchange);
  };
  Peer& peer = server.connect();
  server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  Exchange& exchange = *server.app.any();
  exchange.response_head().start(200);
  EXPECT_EQ(exchange.start(), Outcome::ok);
  EXPECT_EQ(exchange.write(bytes_of("x"), {}, false), Outcome::ok);
  server.pass(300s);
  EXPECT_EQ(server.app.dead, 0) << "the app has not asked for the body";
  exchange.want_body();
  server.pass(29s);
  EXPECT_EQ(server.app.dead, 0);
  server.pass(2s);
  EXPECT_EQ(server.app.dead, 1);
  EXPECT_TRUE(peer.saw_reset());
}

TEST(Timeouts, a_body_that_is_only_drained_does_not_cost_its_answer) {
  SimServer server;
  const std::string large(20'000'000, 'x');
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) server.app.answer(exchange, large);
  };
  Peer& peer = server.connect();
  peer.stop_reading();
  server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc");
  server.pass(40s);
  peer.resume_reading();
  server.run();
  const auto answers = split_answers(peer.received());
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_TRUE(answers[0].body == large);
  EXPECT_TRUE(peer.saw_end());
  server.pass(3s);
  EXPECT_EQ(server.server().stats().connections_open, 0U);
}

TEST(Timeouts, output_that_nobody_takes_ends_the_connection) {
  FaultPlan plan;
  plan.send_buffer_bytes = 10'000;
  SimServer server(SimServer::plain_options(), plan);
  const std::string page(100'000, 'p');
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) server.app.answer(exchange, page);
  };
  Peer& peer = server.connect();
  peer.stop_reading();
  peer.write(kGet);
  server.run();
  for (int i = 0; i < 10; ++i) {
    server.pass(50s);
    peer.read_some(1000);
    server.run();
  }
  EXPECT_EQ(server.server().stats().connections_open, 1U) << "500 s, but there was progress";
  server.pass(130s);
  EXPECT_EQ(server.server().stats().connections_open, 0U);
  EXPECT_EQ(server.server().stats().timeouts_write, 1U);
  EXPECT_TRUE(peer.saw_reset());
}

TEST(Timeouts, lingering_ends) {
  SimServer server;
  Peer& peer = server.connect();
  server.exchange(peer, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(server.server().stats().connections_open, 1U);
  server.pass(1s);
  EXPECT_EQ(server.server().stats().connections_open, 1U);
  server.pass(2s);
  EXPECT_EQ(server.server().stats().connections_open, 0U);
}

TEST(Timeouts, the_keep_alive_time_begins_with_the_last_byte_sent) {
  FaultPlan plan;
  plan.send_buffer_bytes = 10'000;
  SimServer server(SimServer::plain_options(), plan);
  const std::string page(30'000, 'p');
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) server.app.answer(exchange, page);
  };
  Peer& peer = server.connect();
  peer.stop_reading();
  peer.write(kGet);
  server.run();
  server.pass(50s);
  peer.resume_reading();
  server.pass(50s);
  EXPECT_FALSE(peer.saw_end());
  server.pass(30s);
  EXPECT_TRUE(peer.saw_end());
}

}  // namespace
}  // namespace pyre::http::test
