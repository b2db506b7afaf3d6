#include "http/server.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sim_server.h"
#include "support/files.h"

namespace pyre::http::test {
namespace {

using Event = TestApp::Event;
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

TEST(Server, pauses_accepting_at_the_limit_of_connections) {
  ServerOptions options = SimServer::plain_options();
  options.limits.connections = 3;
  SimServer server(std::move(options));
  std::vector<Peer*> peers;
  for (int i = 0; i < 5; ++i) {
    peers.push_back(&server.connect());
    server.run();
    peers.back()->write(kGet);
  }
  server.run();
  EXPECT_EQ(server.server().stats().connections_open, 3U);
  EXPECT_EQ(peers[4]->received(), "");
  EXPECT_EQ(server.server().stats().accepts_paused, 1U);
  peers[0]->close();
  peers[1]->close();
  server.run();
  EXPECT_NE(peers[3]->received(), "");
  EXPECT_NE(peers[4]->received(), "");
  EXPECT_EQ(server.server().stats().connections_open, 3U);
  EXPECT_EQ(server.server().stats().connections_total, 5U);
}

TEST(Server, drains) {
  SimServer server;
  std::vector<Exchange*> open;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) open.push_back(&exchange);
  };
  Peer& silent = server.connect();
  Peer& idle = server.connect();
  Peer& running = server.connect();
  Peer& pipelining = server.connect();
  Peer& arriving = server.connect();
  Peer& streaming = server.connect();
  idle.write(kGet);
  server.run();
  server.app.answer(*open.at(0), "x");
  running.write(kGet);
  server.run();
  pipelining.write(std::string(kGet) + std::string(kGet) + "GET / HT");
  arriving.write("GET / HT");
  server.run();
  streaming.write(kGet);
  server.run();
  ASSERT_EQ(open.size(), 4U);
  open[3]->response_head().start(200);
  EXPECT_EQ(open[3]->start(), Outcome::ok);
  EXPECT_EQ(open[3]->write(bytes_of("ab"), {}, false), Outcome::ok);
  server.run();

  server.server().stop_listening();
  server.server().drain();
  server.run();
  EXPECT_TRUE(server.server().draining());
  EXPECT_FALSE(silent.saw_end()) << "its first request may be on its way";
  EXPECT_TRUE(idle.saw_end());
  EXPECT_FALSE(running.saw_end());

  server.app.answer(*open[1], "x");
  server.app.answer(*open[2], "x");
  arriving.write("TP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(open[3]->write(bytes_of("cd"), {}, true), Outcome::ok);
  server.app.release(*open[3]);
  server.run();
  ASSERT_EQ(open.size(), 5U) << "the pipelined ones are not started, the one that was arriving is";
  server.app.answer(*open[4], "x");
  server.run();
  for (Peer* peer : {&running, &pipelining, &arriving}) {
    const auto answers = split_answers(peer->received());
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_TRUE(answers[0].has("connection: close"));
    EXPECT_TRUE(peer->saw_end());
  }
  EXPECT_EQ(split_answers(streaming.received())[0].body, "abcd");
  EXPECT_TRUE(streaming.saw_end());
  server.pass(1100ms);
  EXPECT_TRUE(silent.saw_end());
  server.pass(3s);  // the one whose pipelined requests were dropped lingers
  EXPECT_TRUE(server.server().closed());
}

TEST(Server, drain_answers_the_first_request_of_a_connection_that_was_just_accepted) {
  SimServer server;
  Peer& fresh = server.connect();
  server.run();
  server.server().stop_listening();
  server.server().drain();
  server.run();
  fresh.write(kGet);
  server.run();
  const auto answers = split_answers(fresh.received());
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_TRUE(answers[0].has("connection: close"));
  EXPECT_TRUE(fresh.saw_end());
}

TEST(Server, drain_keeps_the_part_of_an_upload_that_waits_for_a_slow_app) {
  for (const bool chunked : {false, true}) {
    SimServer server;
    server.app.on_event = [](Exchange&, Event) {};
    std::string body;
    for (int i = 0; body.size() < 300'000; ++i) body += std::to_string(i) + ",";
    Peer& peer = server.connect();
    if (chunked) {
      peer.write("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (std::size_t at = 0; at < body.size(); at += 5000) {
        const std::string piece = body.substr(at, 5000);
        char size[16];
        std::snprintf(size, sizeof size, "%zx\r\n", piece.size());
        peer.write(size + piece + "\r\n");
      }
      peer.write("0\r\n\r\n");
    } else {
      peer.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    }
    server.run();
    server.server().stop_listening();
    server.server().drain();
    server.run();
    Exchange& exchange = *server.app.any();
    std::string got;
    for (int i = 0; i < 100 && !exchange.dead() && (!exchange.body_complete() || exchange.body_available() != 0); ++i) {
      got += TestApp::take_body(exchange);
      server.run();
    }
    EXPECT_TRUE(got == body) << got.size() << " of " << body.size() << " bytes, chunked: " << chunked;
    server.app.answer(exchange, "ok");
    server.run();
    const auto answers = split_answers(peer.received());
    ASSERT_EQ(answers.size(), 1U);
    EXPECT_EQ(answers[0].status, 200);
    EXPECT_TRUE(answers[0].has("connection: close"));
    EXPECT_TRUE(peer.saw_end());
  }
}

TEST(Server, drain_does_not_reset_an_answer_whose_body_is_still_coming) {
  for (const bool answered_before : {true, false}) {
    SimServer server;
    server.app.on_event = [](Exchange&, Event) {};
    Peer& peer = server.connect();
    server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc");
    Exchange& exchange = *server.app.any();
    peer.stop_reading();
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("begun "), {}, false), Outcome::ok);
    server.run();
    if (!answered_before) server.server().drain();
    EXPECT_EQ(exchange.write(bytes_of("ended"), {}, true), Outcome::ok);
    server.app.release(exchange);
    server.run();
    if (answered_before) server.server().drain();
    server.run();
    peer.write(std::string(997, 'x'));
    server.run();
    EXPECT_FALSE(peer.saw_reset()) << answered_before;
    peer.resume_reading();
    server.run();
    const auto answers = split_answers(peer.received());
    ASSERT_EQ(answers.size(), 1U) << answered_before;
    EXPECT_EQ(answers[0].body, "begun ended");
    EXPECT_TRUE(peer.saw_end());
  }
}

TEST(Server, aborts) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) server.app.release(exchange);
  };
  std::vector<Peer*> peers;
  for (int i = 0; i < 4; ++i) peers.push_back(&server.connect());
  peers[1]->write(kGet);
  peers[2]->write("GET / HT");
  server.run();
  server.server().stop_listening();
  server.server().abort();
  server.run();
  EXPECT_TRUE(server.server().closed());
  EXPECT_EQ(server.app.dead, 1);
  EXPECT_TRUE(peers[1]->saw_reset());
}

TEST(Server, lets_the_app_keep_an_exchange_for_longer_than_itself) {
  auto server = std::make_unique<SimServer>();
  Exchange* kept = nullptr;
  server->app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) kept = &exchange;
  };
  Peer& peer = server->connect();
  server->exchange(peer, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nab");
  server->server().stop_listening();
  server->server().abort();
  server->run();
  ASSERT_TRUE(server->server().closed());
  EXPECT_TRUE(kept->dead());
  EXPECT_EQ(kept->body_available(), 0U);
  EXPECT_EQ(kept->request().path(), "/x") << "the request stays readable";
  EXPECT_EQ(server->app.infos_released, 0);
  server->app.release(*kept);
  EXPECT_EQ(server->app.infos_released, 1);
}

TEST(Server, writes_the_access_log_for_answers_refusals_and_what_was_begun_for_a_client_that_left) {
  pyre::test::Pipe pipe;
  {
    AccessLog log(pipe.writer(), AccessLog::Format::text);
    ServerOptions options = SimServer::plain_options();
    options.access_log = &log;
    SimServer server(std::move(options));
    Peer& peer = server.connect();
    server.exchange(peer, "GET /one?q HTTP/1.1\r\nHost: a\r\n\r\n");
    server.pass(5s);
    server.exchange(peer, "GET /two HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    server.once("nonsense\r\n\r\n");
    server.app.on_event = [&](Exchange& exchange, Event event) {
      if (event == Event::dead) return server.app.release(exchange);
      exchange.response_head().start(206);
      EXPECT_EQ(exchange.start(), Outcome::ok);
      EXPECT_EQ(exchange.write(bytes_of("half"), {}, false), Outcome::ok);
    };
    Peer& vanishing = server.connect();
    server.exchange(vanishing, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n");
    vanishing.reset();
    server.run();
  }
  pipe.close_writer();
  const std::string text = pipe.read_all();
  EXPECT_NE(text.find("\"GET /one?q HTTP/1.1\" 200 13 "), std::string::npos) << text;
  EXPECT_NE(text.find("\"GET /two HTTP/1.1\" 400 11 0.000000"), std::string::npos) << text;
  EXPECT_NE(text.find("\"-\" 400 11 "), std::string::npos) << text;
  EXPECT_NE(text.find("\"GET /half HTTP/1.1\" 206 4 "), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4);
}

}  // namespace
}  // namespace pyre::http::test
