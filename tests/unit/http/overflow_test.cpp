// Heads that other threads parse: what may happen on a connection, and to its server, while one is away. The threads
// are virtual, so each order of events is there to be tried; one test has real ones, for ThreadSanitizer.
#include "http/overflow.h"

#include <gtest/gtest.h>

#include "http/connection.h"
#include "http/protocol.h"
#include "refusal_cases.h"
#include "sim_server.h"
#include "virtual_workers.h"

namespace pyre::http::test {
namespace {

using Event = TestApp::Event;
using platform::sim::Random;
constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";

// A server that offers every head.
class OverflowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ServerOptions options = SimServer::plain_options();
    workers_.serve(options);
    server_.emplace(std::move(options));
    server_->app.on_event = [this](Exchange& exchange, Event event) {
      if (event != Event::request) return;
      paths_ += exchange.request().path();
      server_->app.answer(exchange, exchange.request().target());
    };
  }
  void TearDown() override {
    if (!server_) return;
    server_->after_server = [this] { workers_.finish_all(); };
    server_.reset();
  }
  [[nodiscard]] const ParseStats& stats() { return server_->server().stats().parse; }
  [[nodiscard]] std::uint64_t open() { return server_->server().stats().connections_open; }

  // `input` is with a thread that has parsed it, and has not sent it home.
  void send_away(Peer& peer, std::string_view input) {
    const int before = workers_.submitted;
    peer.write(input);
    for (int i = 0; i < 100 && workers_.submitted == before; ++i)
      server_->loop().run_once(server_->reactor().now() + 1ms);
    ASSERT_EQ(workers_.submitted, before + 1);
    workers_.parse_all();
    server_->run();
  }
  std::string come_home(Peer& peer) {
    workers_.finish_all();
    server_->run();
    return peer.take_received();
  }

  VirtualWorkers workers_;
  std::optional<SimServer> server_;
  std::string paths_;
};

TEST_F(OverflowTest, a_head_that_was_parsed_elsewhere_is_answered_like_any_other) {
  Peer& peer = server_->connect();
  for (std::uint64_t i = 1; i <= 3; ++i) {
    send_away(peer, kGet);
    EXPECT_EQ(peer.received(), "") << "nobody has parsed it here";
    EXPECT_EQ(split_answers(come_home(peer)).at(0).body, "/a");
    EXPECT_EQ(stats().stolen, i);
  }
  EXPECT_EQ(stats().offered, 3U);
  EXPECT_EQ(stats().repeated + stats().taken_back + stats().inlined, 0U);
  EXPECT_EQ(stats().ticks_behind, 3U);
  EXPECT_EQ(server_->server().stats().requests_total, 3U);
}

TEST_F(OverflowTest, the_loop_takes_back_what_nobody_has_begun) {
  Peer& peer = server_->connect();
  EXPECT_EQ(split_answers(server_->exchange(peer, kGet)).at(0).body, "/a");
  EXPECT_EQ(stats().taken_back, 1U);
  EXPECT_EQ(workers_.size(), 1U) << "the batch itself is still out";
  EXPECT_EQ(come_home(peer), "") << "answered once";
  EXPECT_EQ(stats().stolen, 0U);
}

TEST_F(OverflowTest, part_of_a_batch_is_taken_back) {
  std::vector<Peer*> peers;
  for (int i = 0; i < 4; ++i) peers.push_back(&server_->connect());
  server_->run();
  for (Peer* peer : peers) peer->write(kGet);
  while (workers_.empty()) server_->loop().run_once(server_->reactor().now() + 1ms);
  ASSERT_EQ(workers_.submitted, 1);
  Random random(1);
  workers_.step(random);
  server_->run();
  EXPECT_EQ(stats().taken_back, 3U);
  workers_.finish_all();
  server_->run();
  EXPECT_EQ(stats().stolen, 1U);
  for (Peer* peer : peers) EXPECT_EQ(split_answers(peer->received()).size(), 1U);
}

TEST_F(OverflowTest, sixteen_make_a_batch_and_nothing_is_offered_without_an_idle_thread) {
  std::vector<Peer*> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(&server_->connect());
  server_->run();
  for (Peer* peer : peers) peer->write(kGet);
  server_->loop().run_once(server_->reactor().now() + 1ms);
  EXPECT_EQ(workers_.size(), 4U) << "as many as there are threads";
  EXPECT_EQ(stats().offered, 64U);
  EXPECT_EQ(stats().inlined, 36U);
  workers_.finish_all();
  server_->run();
  EXPECT_EQ(stats().stolen, 64U);
  for (Peer* peer : peers) EXPECT_EQ(split_answers(peer->received()).size(), 1U);
}

TEST_F(OverflowTest, an_offload_that_refuses_costs_nothing_but_time) {
  workers_.refuses = true;
  Peer& peer = server_->connect();
  EXPECT_EQ(split_answers(server_->exchange(peer, kGet)).size(), 1U);
  EXPECT_EQ(stats().offered, 1U);
  EXPECT_EQ(stats().taken_back, 1U);
}

TEST_F(OverflowTest, full_batches_that_are_refused_are_taken_back) {
  workers_.refuses = true;
  std::vector<Peer*> peers;
  for (int i = 0; i < 40; ++i) peers.push_back(&server_->connect());
  server_->run();
  for (int round = 1; round <= 3; ++round) {
    for (Peer* peer : peers) peer->write(kGet);
    server_->run();
    for (Peer* peer : peers) EXPECT_EQ(split_answers(peer->take_received()).size(), 1U);
    EXPECT_EQ(stats().taken_back, 16U * static_cast<unsigned>(round));
    EXPECT_EQ(stats().inlined, 24U * static_cast<unsigned>(round));
  }
  server_->server().drain();
  server_->pass(1s);
  EXPECT_EQ(open(), 0U) << "nobody waits for a head";
}

TEST_F(OverflowTest, pipelined_requests_keep_their_order) {
  Peer& peer = server_->connect();
  std::string input;
  for (int i = 0; i < 30; ++i) input += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  send_away(peer, input);
  const auto answers = split_answers(come_home(peer));
  ASSERT_EQ(answers.size(), 30U);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(answers[static_cast<std::size_t>(i)].body, "/" + std::to_string(i));
  EXPECT_EQ(stats().stolen, 1U) << "the first; the rest is on this connection, so it waits for that";
}

TEST_F(OverflowTest, nothing_is_offered_behind_a_request_that_runs) {
  std::vector<Exchange*> asked;
  server_->app.on_event = [&](Exchange& exchange, Event) { asked.push_back(&exchange); };
  Peer& peer = server_->connect();
  send_away(peer, kGet);
  EXPECT_EQ(come_home(peer), "");
  ASSERT_EQ(asked.size(), 1U);
  server_->exchange(peer, kGet);
  EXPECT_EQ(stats().offered, 1U);
  server_->app.answer(*asked[0], "first");
  server_->run();
  ASSERT_EQ(asked.size(), 2U);
  server_->app.answer(*asked[1], "second");
  server_->run();
  const auto answers = split_answers(peer.received());
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].body, "first");
  EXPECT_EQ(answers[1].body, "second");
}

TEST_F(OverflowTest, what_does_not_end_as_a_head_does_is_not_offered) {
  Peer& peer = server_->connect();
  server_->exchange(peer, kGet.substr(0, 20));
  EXPECT_EQ(stats().offered, 0U);
  EXPECT_EQ(split_answers(server_->exchange(peer, kGet.substr(20))).size(), 1U);
  EXPECT_EQ(stats().offered, 0U) << "the rest of a head is for the parser that has its beginning";
}

TEST_F(OverflowTest, what_needs_more_than_a_head_is_parsed_again) {
  std::string body;
  server_->app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request && event != Event::body) return;
    body += TestApp::take_body(exchange);
    if (exchange.body_complete() && exchange.body_available() == 0) return server_->app.answer(exchange, body);
    exchange.want_body();
  };
  Peer& peer = server_->connect();
  send_away(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12345\r\n\r\n");
  EXPECT_EQ(split_answers(come_home(peer)).at(0).body, "12345\r\n\r\n");
  body.clear();
  send_away(peer, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  EXPECT_EQ(split_answers(come_home(peer)).at(0).body, "abc");
  body.clear();
  send_away(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(come_home(peer), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(split_answers(server_->exchange(peer, "xyz")).at(0).body, "xyz");
  send_away(peer, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nno HTTP\r\n\r\n");
  EXPECT_EQ(split_answers(come_home(peer)).at(0).status, 200) << "what follows is not looked at before";
  send_away(server_->connect(), "\r\n\r\n");
  EXPECT_EQ(stats().repeated, 4U);
  workers_.finish_all();
  server_->run();
  EXPECT_EQ(stats().repeated, 5U);
  EXPECT_EQ(stats().stolen, 0U);
}

TEST_F(OverflowTest, empty_lines_before_a_request_are_counted_by_one_parser) {
  Peer& peer = server_->connect();
  server_->exchange(peer, "\r");
  EXPECT_EQ(split_answers(server_->exchange(peer, kGet)).at(0).status, 400) << "a bare CR";
  Peer& patient = server_->connect();
  for (int i = 0; i < 3; ++i) {
    patient.write("\r\n\r\n");
    server_->run();
    workers_.finish_all();
    server_->run();
  }
  EXPECT_EQ(split_answers(server_->exchange(patient, "\r\n\r\n\r\n\r\n\r\n\r\n")).at(0).status, 400) << "more than 16";
}

// All that the parser's own tests know, and what it accepts: the same bytes come back, whoever has parsed.
TEST_F(OverflowTest, answers_are_those_of_a_loop_that_is_not_behind) {
  server_.reset();
  std::vector<std::string> inputs;
  for (const RefusalCase& one : refusal_cases()) inputs.push_back(one.input + "\r\n\r\n");
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    std::string& input = inputs.emplace_back();
    for (std::uint64_t i = random.below(4); i < 4; ++i)
      input += (random.chance(500) ? "GET /" : "HEAD /") + std::to_string(random.below(1000)) + " HTTP/1." +
               (random.chance(100) ? "0" : "1") + "\r\nHost: a\r\n" +
               (random.chance(100) ? "Connection: close\r\n" : "") + "X: " + std::string(random.below(9000), 'x') +
               "\r\n\r\n";
  }
  for (const std::string& input : inputs) {
    struct Seen {
      std::string bytes;
      bool end, reset;
      bool operator==(const Seen&) const = default;
    };
    const auto see = [&](bool offer) {
      ServerOptions options = SimServer::plain_options();
      workers_.serve(options, offer ? 0 : ServerOptions::kNeverOverflow);
      SimServer server(std::move(options));
      server.after_server = [this] { workers_.finish_all(); };
      server.app.on_event = [&](Exchange& exchange, Event event) {
        if (event == Event::request) server.app.answer(exchange, exchange.request().target());
      };
      Peer& peer = server.connect();
      peer.write(input);
      for (int i = 0; i < 40; ++i) {
        server.loop().run_once(server.reactor().now() + 1ms);
        workers_.parse_all();
        server.app.run();
        if (i % 2 == 1) workers_.finish_all();
      }
      server.run();
      EXPECT_EQ(server.server().stats().parse.taken_back, 0U);
      return Seen{peer.received(), peer.saw_end(), peer.saw_reset()};
    };
    EXPECT_EQ(see(true), see(false)) << input.substr(0, 2000);
  }
}

TEST_F(OverflowTest, limits_hold) {
  Peer& peer = server_->connect();
  send_away(peer, "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(50'000, 'x') + "\r\nY: " + std::string(13'000, 'y') +
                      "\r\n\r\n");
  EXPECT_EQ(split_answers(come_home(peer)).at(0).status, 200);
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 100; ++i) many += "X: y\r\n";
  send_away(peer, many + "\r\n");
  EXPECT_EQ(split_answers(come_home(peer)).at(0).status, 431);
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(server_->server().stats().bad_requests, 1U) << "parsed twice, refused once";
}

TEST_F(OverflowTest, a_connection_that_is_cut_leaves_its_bytes_to_the_thread) {
  Peer& first = server_->connect();
  Peer& second = server_->connect();
  server_->run();
  first.write(kGet);
  second.write(kGet);
  while (workers_.empty()) server_->loop().run_once(server_->reactor().now() + 1ms);
  workers_.parse_all();
  server_->server().abort();
  server_->run();
  EXPECT_EQ(open(), 0U);
  EXPECT_TRUE(first.saw_reset());
  workers_.finish_all();
  server_->run();
  EXPECT_EQ(paths_, "");
  EXPECT_EQ(stats().stolen + stats().repeated, 0U);
}

TEST_F(OverflowTest, a_client_that_is_gone_meanwhile) {
  Peer& gone = server_->connect();
  send_away(gone, kGet);
  gone.reset();
  server_->run();
  come_home(gone);
  server_->pass(100s);
  EXPECT_EQ(open(), 0U);
  EXPECT_EQ(server_->app.requests, server_->app.released);
}

TEST_F(OverflowTest, a_fin_is_seen_behind_the_request) {
  Peer& peer = server_->connect();
  send_away(peer, kGet);
  peer.finish();
  server_->pass(1s);
  EXPECT_FALSE(peer.saw_end());
  EXPECT_EQ(split_answers(come_home(peer)).at(0).body, "/a");
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(open(), 0U);
}

TEST_F(OverflowTest, no_time_out_runs_for_what_lies_with_us) {
  Peer& fresh = server_->connect();
  send_away(fresh, kGet);
  server_->pass(100s);
  EXPECT_FALSE(fresh.saw_end());
  EXPECT_EQ(split_answers(come_home(fresh)).at(0).body, "/a");
  send_away(fresh, kGet);
  server_->pass(100s);
  EXPECT_EQ(split_answers(come_home(fresh)).at(0).body, "/a");
  server_->pass(74s);
  EXPECT_FALSE(fresh.saw_end());
  server_->pass(2s);
  EXPECT_TRUE(fresh.saw_end()) << "keep-alive is counted from the answer";
  EXPECT_EQ(server_->server().stats().timeouts_keep_alive, 1U);
  EXPECT_EQ(server_->server().stats().timeouts_header, 0U);
}

TEST_F(OverflowTest, a_drain_waits_for_the_answer) {
  Peer& first = server_->connect();
  send_away(first, kGet);
  Peer& later = server_->connect();
  server_->run();
  EXPECT_EQ(split_answers(come_home(first)).size(), 1U);
  send_away(first, kGet);
  send_away(later, kGet);
  server_->server().drain();
  server_->pass(10s);
  EXPECT_EQ(open(), 2U);
  for (Peer* peer : {&first, &later}) {
    const auto answers = split_answers(come_home(*peer));
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_TRUE(answers[0].has("connection: close"));
    EXPECT_TRUE(peer->saw_end());
  }
  EXPECT_EQ(open(), 0U);
}

TEST_F(OverflowTest, a_drain_ends_a_connection_that_sent_nothing_but_empty_lines) {
  Peer& peer = server_->connect();
  send_away(peer, kGet);
  EXPECT_EQ(split_answers(come_home(peer)).size(), 1U);
  send_away(peer, "\r\n\r\n");
  server_->server().drain();
  EXPECT_EQ(come_home(peer), "");
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(open(), 0U);
}

TEST_F(OverflowTest, a_server_that_ends_meanwhile_loses_nothing) {
  Peer& peer = server_->connect();
  send_away(peer, kGet);
  bool called = false;
  server_->after_server = [&] {
    called = true;
    EXPECT_EQ(workers_.size(), 1U);
    workers_.finish_all();  // what it reads, the limits and the bytes, is still there
  };
  server_.reset();
  EXPECT_TRUE(called);
}

TEST_F(OverflowTest, small_heads_are_not_worth_the_trip) {
  server_.reset();
  ServerOptions options = SimServer::plain_options();
  workers_.serve(options);
  options.overflow_from = ServerOptions::kOverflowFrom;
  server_.emplace(std::move(options));
  Peer& peer = server_->connect();
  const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  const std::size_t fill = ServerOptions::kOverflowFrom - start.size() - 4;
  server_->exchange(peer, start + std::string(fill - 1, 'x') + "\r\n\r\n");
  EXPECT_EQ(stats().offered, 0U);
  EXPECT_EQ(stats().inlined, 1U);
  server_->exchange(peer, start + std::string(fill, 'x') + "\r\n\r\n");
  EXPECT_EQ(stats().offered, 1U);
  workers_.finish_all();
  server_->run();
  std::string pipeline;
  while (pipeline.size() < ServerOptions::kOverflowFrom) pipeline += kGet;
  server_->exchange(server_->connect(), pipeline);
  server_->exchange(server_->connect(), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" +
                                            std::string(5000, 'x') + "\r\n0\r\n\r\n");
  EXPECT_EQ(stats().offered, 1U) << "a pipeline, and a body";
}

TEST_F(OverflowTest, a_loop_is_behind_after_so_much_work_in_one_tick) {
  server_.reset();
  ServerOptions options = SimServer::plain_options();
  workers_.serve(options, 200);
  server_.emplace(std::move(options));
  std::vector<Peer*> peers;
  for (int i = 0; i < 100; ++i) peers.push_back(&server_->connect());
  server_->run();
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(10'000, 'x') + "\r\n\r\n";
  for (std::size_t i = 0; i < 10; ++i) peers[i]->write(head);
  server_->run();
  EXPECT_EQ(stats().ticks_behind, 0U);
  for (Peer* peer : peers) peer->write(head);
  server_->run();
  EXPECT_EQ(stats().ticks_behind, 1U);
  const std::uint64_t each_ps = Overflow::kRequestPs + head.size() * Overflow::kBytePs;
  EXPECT_EQ(stats().offered + stats().inlined, 100 - 200'000'000 / each_ps);
}

TEST_F(OverflowTest, real_threads) {
  server_.reset();
  struct Threads {
    net::Offload offload{2};
    int submitted = 0;
  } threads;
  ServerOptions options = SimServer::plain_options();
  options.overflow_after_us = 0;
  options.overflow_from = 0;
  options.overflow_to = {[](void* context, net::Loop& home, net::Offload::Task& task) noexcept {
                           auto& self = *static_cast<Threads*>(context);
                           if (!self.offload.submit(home, task)) return false;
                           // Every other time they are faster for sure; else it is as it comes.
                           const bool wait = ++self.submitted % 2 == 0;
                           while (wait && self.offload.idle() != 2) std::this_thread::yield();
                           return true;
                         },
                         [](void* context) noexcept { return static_cast<Threads*>(context)->offload.idle(); },
                         &threads};
  server_.emplace(std::move(options), FaultPlan::rough(7));
  server_->app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) server_->app.answer(exchange, exchange.request().target());
  };
  std::vector<Peer*> peers;
  for (int i = 0; i < 40; ++i) peers.push_back(&server_->connect());
  std::vector<std::string> expected(peers.size());
  constexpr std::size_t kRounds = 50;
  for (std::size_t round = 0; round < kRounds; ++round) {
    for (std::size_t i = 0; i < peers.size(); ++i) {
      const std::string path = "/" + std::to_string(round) + "/" + std::to_string(i);
      peers[i]->write("GET " + path + " HTTP/1.1\r\nHost: a\r\nX: " + std::string(i * 50, 'x') + "\r\n\r\n");
      expected[i] += path;
    }
    server_->run();
  }
  EXPECT_EQ(server_->server().stats().requests_total, kRounds * peers.size());
  EXPECT_GT(stats().stolen, 0U);
  for (std::size_t i = 0; i < peers.size(); ++i) {
    std::string bodies;
    for (const Answer& answer : split_answers(peers[i]->received())) bodies += answer.body;
    EXPECT_EQ(bodies, expected[i]);
  }
  server_.reset();
}

TEST_F(OverflowTest, real_threads_read_what_its_connection_has_left) {
  server_.reset();
  net::Offload offload{2};
  constexpr int kRounds = 50;
  std::uint64_t offered = 0;
  for (int round = 0; round < kRounds; ++round) {
    ServerOptions options = SimServer::plain_options();
    options.overflow_after_us = 0;
    options.overflow_from = 0;
    options.overflow_to = net::OffloadPort::of(offload);
    SimServer server(std::move(options));
    std::vector<Peer*> peers;
    for (int i = 0; i < 40; ++i) peers.push_back(&server.connect());
    server.run();
    for (Peer* peer : peers) peer->write("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
    for (int i = 0; i < 10 && server.server().stats().parse.offered == 0; ++i)
      server.loop().run_once(server.reactor().now() + 1ms);
    offered += server.server().stats().parse.offered;
    if (round % 2 == 0) server.server().abort();  // else the server's own end does it
  }
  EXPECT_GT(offered, 0U);
}

}  // namespace
}  // namespace pyre::http::test
