// What a client sees, main path first. On the simulated reactor without faults, in virtual time.
#include <gtest/gtest.h>

#include "refusal_cases.h"
#include "sim_server.h"

namespace pyre::http::test {
namespace {

using Event = TestApp::Event;
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
constexpr std::string_view kHello =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";

// Reads all of the body, then answers with it.
void echo(TestApp& app, Exchange& exchange, std::string& gathered) {
  if (exchange.dead()) return app.release(exchange);
  gathered += TestApp::take_body(exchange);
  if (!exchange.body_complete()) return exchange.want_body();
  app.answer(exchange, gathered);
}

struct EchoServer : SimServer {
  explicit EchoServer(ServerOptions options = plain_options()) : SimServer(std::move(options)) {
    app.on_event = [this](Exchange& exchange, Event) {
      if (&exchange != last || exchange.body_available() == 0) last = &exchange;
      std::string& body = bodies[&exchange];
      const int released = app.released;
      echo(app, exchange, body);
      if (app.released != released) bodies.erase(&exchange);
    };
  }
  Exchange* last = nullptr;
  std::map<Exchange*, std::string> bodies;
};

TEST(Connection, answers_and_stays_open) {
  SimServer server;
  Peer& peer = server.connect();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(server.exchange(peer, kGet), kHello);
  EXPECT_FALSE(peer.saw_end());
  EXPECT_EQ(server.server().stats().requests_total, 3U);
  EXPECT_EQ(server.server().stats().requests_active, 0U);
  EXPECT_EQ(server.loop().buffers().lent(), 0U) << "an idle connection holds no buffer";
}

TEST(Connection, answers_pipelined_requests_in_order) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event) { server.app.answer(exchange, exchange.request().path()); };
  Peer& peer = server.connect();
  std::string input;
  for (int i = 0; i < 100; ++i) input += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::vector<Answer> answers = split_answers(server.exchange(peer, input));
  ASSERT_EQ(answers.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(answers[static_cast<std::size_t>(i)].body, "/" + std::to_string(i));
}

TEST(Connection, starts_the_next_request_only_when_the_one_before_is_answered) {
  SimServer server;
  std::vector<Exchange*> open;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) open.push_back(&exchange);
  };
  Peer& peer = server.connect();
  peer.write(std::string(kGet) + std::string(kGet) + std::string(kGet));
  server.run();
  for (std::size_t i = 0; i < 3; ++i) {
    ASSERT_EQ(open.size(), i + 1);
    EXPECT_EQ(server.server().stats().requests_active, 1U);
    server.app.answer(*open[i], "x");
    server.run();
  }
  EXPECT_EQ(split_answers(peer.received()).size(), 3U);
}

TEST(Connection, parses_no_more_than_the_limit_of_waiting_heads) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  for (int i = 0; i < 1000; ++i) peer.write(kGet);
  server.run();
  EXPECT_EQ(server.server().stats().requests_total, 17U) << "one that has its turn, and 16 that wait";
  server.app.on_event = [&](Exchange& exchange, Event) { server.app.answer(exchange, "x"); };
  server.app.answer(*server.app.any(), "x");
  server.run();
  EXPECT_EQ(split_answers(peer.received()).size(), 1000U);
}

TEST(Connection, reads_a_body_with_a_length) {
  EchoServer server;
  Peer& peer = server.connect();
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n";
  EXPECT_EQ(split_answers(server.exchange(peer, head + "hello world"))[0].body, "hello world");
  EXPECT_EQ(server.exchange(peer, head + "hello"), "");
  EXPECT_EQ(split_answers(server.exchange(peer, " again" + std::string(kGet))).size(), 2U);
}

TEST(Connection, reads_a_chunked_body) {
  EchoServer server;
  Peer& peer = server.connect();
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(split_answers(server.exchange(peer, head + "5\r\nhello\r\n6;x\r\n world\r\n0\r\nT: u\r\n\r\n"))[0].body,
            "hello world");
  EXPECT_EQ(server.exchange(peer, head + "5\r\nhel"), "");
  EXPECT_EQ(split_answers(server.exchange(peer, "lo\r\n0\r\n\r\n" + std::string(kGet))).size(), 2U);
}

TEST(Connection, reads_large_bodies_whole) {
  EchoServer server;
  std::string body(1'000'000, 'x');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i * 7 % 26);
  for (int i = 0; i < 2; ++i) {
    const std::string answer = server.once("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + body);
    ASSERT_EQ(split_answers(answer).size(), 1U);
    EXPECT_TRUE(split_answers(answer)[0].body == body);
  }
}

TEST(Connection, stops_reading_above_the_high_water_mark_and_goes_on_below_the_low_one) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  peer.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  for (int i = 0; i < 100; ++i) peer.write(std::string(10'000, 'x'));
  server.run();
  Exchange& exchange = *server.app.any();
  const std::uint64_t held = exchange.body_available();
  EXPECT_GE(held, 64U * 1024);
  EXPECT_LE(held, 128U * 1024 + 1) << "the high-water mark and one read";
  std::string out(held - 20'000, '\0');
  exchange.read_body(std::as_writable_bytes(std::span(out)));
  server.run();
  EXPECT_EQ(exchange.body_available(), 20'000U) << "still above the low-water mark";
  out.resize(10'000);
  exchange.read_body(std::as_writable_bytes(std::span(out)));
  server.run();
  EXPECT_GT(exchange.body_available(), 64U * 1024);
  std::uint64_t total = held - 10'000;
  while (total < 1'000'000) {
    total += TestApp::take_body(exchange).size();
    server.run();
  }
  EXPECT_EQ(total, 1'000'000U);
  EXPECT_TRUE(exchange.body_complete());
  server.app.answer(exchange, "ok");
  server.run();
  EXPECT_EQ(split_answers(peer.received()).size(), 1U);
}

TEST(Connection, sends_100_only_when_the_app_wants_the_body) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
  EXPECT_EQ(server.exchange(peer, head), "");
  server.app.any()->want_body();
  server.run();
  EXPECT_EQ(peer.take_received(), "HTTP/1.1 100 Continue\r\n\r\n");
  server.app.any()->want_body();
  server.run();
  EXPECT_EQ(peer.take_received(), "") << "once";
  peer.write("hello");
  server.run();
  EXPECT_EQ(TestApp::take_body(*server.app.any()), "hello");
  server.app.answer(*server.app.any(), "ok");
  server.run();
  const Answer answer = split_answers(peer.take_received())[0];
  EXPECT_EQ(answer.body, "ok");
  EXPECT_FALSE(answer.has("connection: close"));

  // The body came without waiting: no 100 (RFC 9110 10.1.1), and the connection stays usable.
  peer.write(head + "hello");
  server.run();
  server.app.any()->want_body();
  server.run();
  EXPECT_EQ(peer.received(), "");
  server.app.answer(*server.app.any(), "ok");
  server.run();
  EXPECT_FALSE(split_answers(peer.take_received())[0].has("connection: close"));

  // Answered without reading: the client may send the body or not, so nothing behind it can be trusted.
  peer.write(head);
  server.run();
  server.app.answer(*server.app.any(), "no", 403);
  server.run();
  EXPECT_TRUE(split_answers(peer.take_received())[0].has("connection: close"));
  EXPECT_TRUE(peer.saw_end());
}

TEST(Connection, sends_100_before_a_head_that_is_still_held_back) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  Exchange& exchange = *server.app.any();
  exchange.response_head().start(200);
  EXPECT_EQ(exchange.start(), Outcome::ok);
  exchange.want_body();
  peer.write("hello");
  server.run();
  EXPECT_EQ(TestApp::take_body(exchange), "hello");
  EXPECT_EQ(exchange.write(bytes_of("ok"), {}, true), Outcome::ok);
  server.app.release(exchange);
  server.run();
  const auto answers = split_answers(peer.received());
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].status, 100);
  EXPECT_EQ(answers[1].status, 200);
  EXPECT_FALSE(answers[1].has("connection: close"));
}

TEST(Connection, chooses_the_framing) {
  SimServer server;
  const auto respond = [&](std::string_view request, auto make) {
    server.app.on_event = [&](Exchange& exchange, Event event) {
      if (event == Event::request) {
        make(exchange);
        server.app.release(exchange);
      }
    };
    return server.once(request);
  };
  const std::string get10 = "GET / HTTP/1.0\r\n\r\n";
  const auto two_pieces = [](Exchange& exchange) {
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("ab"), {}, false), Outcome::ok);
    EXPECT_EQ(exchange.write({}, {}, false), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("cde"), {}, true), Outcome::ok);
  };
  EXPECT_EQ(respond(kGet, two_pieces),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
  EXPECT_EQ(respond(get10, two_pieces), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcde");
  EXPECT_EQ(respond("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", two_pieces), "HTTP/1.1 200 OK\r\n\r\n");

  const auto empty_end = [](Exchange& exchange) {
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("ab"), {}, false), Outcome::ok);
    EXPECT_EQ(exchange.write({}, {}, true), Outcome::ok);
  };
  EXPECT_EQ(respond(kGet, empty_end), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");

  const auto whole = [](std::uint16_t status, std::string_view body, std::string_view length = {}) {
    return [=](Exchange& exchange) {
      exchange.response_head().start(status);
      if (!length.empty()) {
        EXPECT_EQ(exchange.response_head().add("Content-Length", length), FieldError::ok);
      }
      EXPECT_EQ(exchange.start(), Outcome::ok);
      EXPECT_EQ(exchange.write(bytes_of(body), {}, true), Outcome::ok);
    };
  };
  EXPECT_EQ(respond(kGet, whole(200, "abc")), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
  EXPECT_EQ(respond(kGet, whole(200, "", "0")), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  EXPECT_EQ(respond(kGet, whole(299, "", "0")), "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n");
  EXPECT_EQ(respond("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", whole(200, "abc")),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
  EXPECT_EQ(respond("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", whole(200, "", "77")),
            "HTTP/1.1 200 OK\r\ncontent-length: 77\r\n\r\n");
  EXPECT_EQ(respond(kGet, whole(204, "abc", "3")), "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(respond(kGet, whole(304, "", "3")), "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n");
  EXPECT_EQ(respond(kGet, whole(304, "abc")), "HTTP/1.1 304 Not Modified\r\n\r\n");
  EXPECT_EQ(respond(kGet, whole(205, "abc")), "HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n");
  EXPECT_EQ(respond("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", whole(200, "abc")),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: keep-alive\r\n\r\nabc");
  EXPECT_EQ(respond(get10, whole(200, "abc")), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc");
  EXPECT_EQ(respond("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", whole(200, "abc")),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc");
}

TEST(Connection, closes_when_asked_to_by_either_side) {
  SimServer server;
  Peer& asked = server.connect();
  server.exchange(asked,
                  "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(asked.saw_end());
  EXPECT_EQ(server.server().stats().requests_total, 1U);

  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.response_head().add("connection", "close"), FieldError::ok);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write({}, {}, true), Outcome::ok);
    server.app.release(exchange);
  };
  Peer& told = server.connect();
  const auto answers = split_answers(server.exchange(told, std::string(kGet) + std::string(kGet)));
  ASSERT_EQ(answers.size(), 1U) << "what was pipelined behind it is not served";
  EXPECT_TRUE(answers[0].has("connection: close"));
  EXPECT_TRUE(told.saw_end());
  EXPECT_FALSE(told.saw_reset());
}

TEST(Connection, refuses_what_the_table_says_and_closes) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event) {
    if (exchange.dead()) return server.app.release(exchange);
    (void)TestApp::take_body(exchange);
    if (!exchange.body_complete()) return exchange.want_body();
    server.app.answer(exchange, "served");
  };
  for (const RefusalCase& c : refusal_cases()) {
    for (const bool behind_another : {false, true}) {
      Peer& peer = server.connect();
      std::string bytes = server.exchange(peer, (behind_another ? std::string(kGet) : std::string()) + c.input);
      std::vector<std::string> methods;
      std::vector<Answer> answers = split_answers(bytes, methods);
      std::erase_if(answers, [](const Answer& answer) { return answer.status < 200; });
      ASSERT_EQ(answers.size(), behind_another ? 2U : 1U) << c.name;
      EXPECT_TRUE(!behind_another || answers[0].status == 200) << c.name;
      EXPECT_EQ(answers.back().status, c.status == 0 ? 200 : c.status) << c.name;
      if (c.status != 0) {
        EXPECT_TRUE(answers.back().has("connection: close")) << c.name;
        EXPECT_TRUE(peer.saw_end()) << c.name;
        EXPECT_FALSE(peer.saw_reset()) << c.name;
        EXPECT_EQ(answers.back().body, reason_phrase(static_cast<std::uint16_t>(c.status))) << c.name;
      }
      peer.close();
      server.run();
      EXPECT_EQ(server.server().stats().connections_open, 0U) << c.name;
    }
  }
}

TEST(Connection, tells_the_app_and_refuses_when_a_body_goes_wrong_later) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) server.app.release(exchange);
  };
  Peer& peer = server.connect();
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(server.exchange(peer, head + "1\r\na\r\n"), "");
  const auto answers = split_answers(server.exchange(peer, "zz\r\n"));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, 400);
  EXPECT_EQ(server.app.dead, 1);
  EXPECT_TRUE(peer.saw_end());

  // After the response began there is nothing to say any more: the connection is cut.
  Peer& late = server.connect();
  server.exchange(late, head + "1\r\na\r\n");
  Exchange& exchange = *server.app.any();
  exchange.response_head().start(200);
  EXPECT_EQ(exchange.start(), Outcome::ok);
  EXPECT_EQ(exchange.write(bytes_of("x"), {}, false), Outcome::ok);
  server.run();
  server.exchange(late, "zz\r\n");
  EXPECT_TRUE(late.saw_reset());
  EXPECT_EQ(server.app.dead, 2);
}

TEST(Connection, drains_a_small_unread_body_and_stays_open) {
  SimServer server;
  Peer& peer = server.connect();
  std::string bytes = server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
  EXPECT_EQ(bytes, kHello) << "answered early, without a close";
  for (int i = 0; i < 6; ++i) EXPECT_EQ(server.exchange(peer, std::string(10'000, 'x')), "");
  EXPECT_EQ(server.exchange(peer, kGet), kHello);

  EXPECT_EQ(server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            kHello);
  EXPECT_EQ(server.exchange(peer, "0\r\n\r\n" + std::string(kGet)), kHello);
  EXPECT_FALSE(peer.saw_end());
}

TEST(Connection, closes_after_an_early_answer_to_a_large_body_without_a_reset) {
  SimServer server;
  Peer& peer = server.connect();
  const std::string bytes = server.exchange(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  EXPECT_TRUE(split_answers(bytes)[0].has("connection: close"));
  EXPECT_TRUE(peer.saw_end());
  server.exchange(peer, std::string(200'000, 'x'));
  EXPECT_FALSE(peer.saw_reset()) << "lingers";
  EXPECT_EQ(server.server().stats().connections_open, 1U);
  server.exchange(peer, std::string(100'000, 'x'));
  EXPECT_EQ(server.server().stats().connections_open, 0U) << "but for no more than 256 KiB";

  // Chunked: nobody knows how long it is; after 64 KiB it is enough.
  Peer& chunked = server.connect();
  EXPECT_EQ(server.exchange(chunked, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nF0000\r\n"),
            kHello);
  server.exchange(chunked, std::string(60'000, 'x'));
  EXPECT_FALSE(chunked.saw_end());
  server.exchange(chunked, std::string(10'000, 'x'));
  EXPECT_TRUE(chunked.saw_end());
  EXPECT_FALSE(chunked.saw_reset());
}

TEST(Connection, answers_a_peer_that_has_finished_sending) {
  SimServer server;
  Peer& peer = server.connect();
  std::vector<Exchange*> open;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) open.push_back(&exchange);
  };
  peer.write(std::string(kGet) + std::string(kGet));
  peer.finish();
  server.run();
  ASSERT_EQ(open.size(), 1U);
  EXPECT_EQ(server.app.finished, 1);
  EXPECT_TRUE(open[0]->peer_finished());
  EXPECT_FALSE(open[0]->dead());
  server.app.answer(*open[0], "one");
  server.run();
  ASSERT_EQ(open.size(), 2U) << "what was sent before the FIN is answered";
  EXPECT_TRUE(open[1]->peer_finished());
  server.app.answer(*open[1], "two");
  server.run();
  const auto answers = split_answers(peer.received());
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[1].body, "two");
  EXPECT_TRUE(answers[1].has("connection: close"));
  EXPECT_TRUE(peer.saw_end());
  EXPECT_EQ(server.server().stats().connections_open, 0U);
}

TEST(Connection, gives_up_a_request_that_ends_in_the_middle) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::dead) server.app.release(exchange);
  };
  Peer& head = server.connect();
  head.write("GET / HTTP/1.1\r\nHo");
  head.finish();
  server.run();
  EXPECT_EQ(split_answers(head.received())[0].status, 400);
  EXPECT_TRUE(head.saw_end());

  Peer& body = server.connect();
  body.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
  body.finish();
  server.run();
  EXPECT_EQ(server.app.dead, 1);
  EXPECT_EQ(body.received(), "");
  EXPECT_TRUE(body.saw_end());

  Peer& nothing = server.connect();
  nothing.finish();
  server.run();
  EXPECT_EQ(nothing.received(), "");
  EXPECT_TRUE(nothing.saw_end());
  EXPECT_EQ(server.server().stats().connections_open, 0U);
}

TEST(Connection, tells_the_app_of_a_reset) {
  SimServer server;
  bool was_dead = false;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::dead) return;
    was_dead = exchange.dead();
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::dead);
    EXPECT_FALSE(exchange.should_wait());
    server.app.release(exchange);
  };
  Peer& peer = server.connect();
  server.exchange(peer, std::string(kGet) + std::string(kGet));
  peer.reset();
  server.run();
  EXPECT_TRUE(was_dead);
  EXPECT_EQ(server.app.requests, 1) << "the second was never begun";
  EXPECT_EQ(server.server().stats().requests_active, 0U);
  EXPECT_EQ(server.server().stats().connections_open, 0U);
}

TEST(Connection, sends_the_head_of_a_response_whose_body_is_late) {
  SimServer server;
  server.app.on_event = [](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
  };
  Peer& peer = server.connect();
  EXPECT_EQ(server.exchange(peer, kGet), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
  EXPECT_EQ(server.app.any()->write(bytes_of("x"), {}, true), Outcome::ok);
  server.app.release(*server.app.any());
  server.run();
  EXPECT_EQ(peer.take_received(), "1\r\nx\r\n0\r\n\r\n");
}

TEST(Connection, says_what_is_wrong_with_a_response) {
  SimServer server;
  server.app.on_event = [](Exchange&, Event) {};
  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  Exchange* exchange = server.app.any();
  EXPECT_EQ(exchange->write(bytes_of("x"), {}, true), Outcome::not_started);
  exchange->response_head().start(101);
  EXPECT_EQ(exchange->start(), Outcome::not_started) << "1xx is not a response";
  exchange->response_head().start(200);
  EXPECT_EQ(exchange->response_head().add("content-length", "3"), FieldError::ok);
  EXPECT_EQ(exchange->start(), Outcome::ok);
  EXPECT_EQ(exchange->start(), Outcome::already_started);
  EXPECT_EQ(exchange->send_informational(103, ""), Outcome::already_started);
  EXPECT_EQ(exchange->write(bytes_of("abcd"), {}, true), Outcome::body_too_long);
  EXPECT_EQ(exchange->write(bytes_of("abc"), {}, false), Outcome::ok);
  EXPECT_EQ(exchange->write(bytes_of("d"), {}, true), Outcome::body_too_long);
  EXPECT_EQ(exchange->write({}, {}, true), Outcome::ok);
  EXPECT_EQ(exchange->write({}, {}, true), Outcome::already_complete);
  EXPECT_EQ(exchange->start(), Outcome::already_complete);
  EXPECT_FALSE(exchange->dead());
  server.app.release(*exchange);
  server.run();
  EXPECT_EQ(split_answers(peer.take_received())[0].body, "abc");

  server.exchange(peer, kGet);
  exchange = server.app.any();
  exchange->response_head().start(200);
  EXPECT_EQ(exchange->response_head().add("content-length", "3"), FieldError::ok);
  EXPECT_EQ(exchange->start(), Outcome::ok);
  EXPECT_EQ(exchange->write(bytes_of("a"), {}, false), Outcome::ok);
  server.run();
  EXPECT_EQ(exchange->write(bytes_of("b"), {}, true), Outcome::body_too_short);
  server.app.release(*exchange);
  server.run();
  EXPECT_TRUE(peer.saw_reset()) << "the client can tell";
}

TEST(Connection, answers_500_for_an_app_that_gives_up_and_cuts_a_response_that_was_begun) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) server.app.release(exchange);
  };
  Peer& peer = server.connect();
  const Answer answer = split_answers(server.exchange(peer, kGet))[0];
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, "Internal Server Error");
  EXPECT_FALSE(peer.saw_end()) << "the connection is as good as before";

  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("x"), {}, false), Outcome::ok);
    server.app.release(exchange);
  };
  server.exchange(peer, kGet);
  EXPECT_TRUE(peer.saw_reset());
}

TEST(Connection, releases_what_it_borrowed_exactly_once) {
  SimServer server;
  struct Owner {
    int released = 0;
  };
  const auto borrowed = [](Owner& owner) {
    return net::Borrowed{&owner, [](void* o) noexcept { ++static_cast<Owner*>(o)->released; }};
  };
  const std::string large(100'000, 'x');
  Owner small, big, empty, head, refused, unsent;
  server.app.on_event = [](Exchange&, Event) {};

  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  Exchange* exchange = server.app.any();
  exchange->response_head().start(200);
  EXPECT_EQ(exchange->response_head().add("content-length", "100003"), FieldError::ok);
  EXPECT_EQ(exchange->start(), Outcome::ok);
  EXPECT_EQ(exchange->write({}, borrowed(empty), false), Outcome::ok);
  EXPECT_EQ(exchange->write(bytes_of("abc"), borrowed(small), false), Outcome::ok);
  EXPECT_EQ(exchange->write(bytes_of(large), borrowed(big), false), Outcome::ok);
  EXPECT_EQ(exchange->write(bytes_of(large), borrowed(refused), false), Outcome::body_too_long);
  EXPECT_EQ(exchange->write({}, {}, true), Outcome::ok);
  server.app.release(*exchange);
  server.run();
  EXPECT_EQ(split_answers(peer.take_received())[0].body, "abc" + large);
  EXPECT_EQ(small.released, 1);
  EXPECT_EQ(big.released, 1);
  EXPECT_EQ(empty.released, 1);
  EXPECT_EQ(refused.released, 0) << "the caller keeps what was not taken";

  server.exchange(peer, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  exchange = server.app.any();
  exchange->response_head().start(200);
  EXPECT_EQ(exchange->start(), Outcome::ok);
  EXPECT_EQ(exchange->write(bytes_of(large), borrowed(head), true), Outcome::ok);
  EXPECT_EQ(head.released, 1);
  server.app.release(*exchange);
  server.run();

  peer.stop_reading();
  peer.write(kGet);
  server.run();
  exchange = server.app.any();
  exchange->response_head().start(200);
  EXPECT_EQ(exchange->start(), Outcome::ok);
  const std::string huge(1'000'000, 'x');
  EXPECT_EQ(exchange->write(bytes_of(huge), borrowed(unsent), false), Outcome::ok);
  server.run();
  EXPECT_EQ(unsent.released, 0);
  peer.reset();
  server.run();
  EXPECT_EQ(unsent.released, 1);
  server.app.release(*exchange);
}

TEST(Connection, makes_the_app_wait_for_a_slow_reader) {
  SimServer server;
  std::uint64_t written = 0;
  const std::string piece(10'000, 'x');
  const auto write_on = [&](Exchange& exchange) {
    while (written < 2'000'000 && !exchange.should_wait()) {
      EXPECT_EQ(exchange.write(bytes_of(piece), {}, false), Outcome::ok);
      written += piece.size();
    }
    if (written < 2'000'000) return;
    EXPECT_EQ(exchange.write({}, {}, true), Outcome::ok);
    server.app.release(exchange);
  };
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) {
      exchange.response_head().start(200);
      EXPECT_EQ(exchange.start(), Outcome::ok);
    }
    if (event == Event::request || event == Event::drained) write_on(exchange);
  };
  Peer& peer = server.connect();
  peer.stop_reading();
  peer.write(kGet);
  server.run();
  EXPECT_LT(written, 600'000U) << "its socket's buffer, a send in flight, and 64 KiB of ours";
  EXPECT_EQ(server.app.live(), 1U);
  peer.resume_reading();
  server.run();
  EXPECT_EQ(written, 2'000'000U);
  EXPECT_EQ(split_answers(peer.received())[0].body.size(), 2'000'000U);
}

TEST(Connection, makes_no_answers_that_nobody_reads) {
  SimServer server;
  const std::string page(20'000, 'p');
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event == Event::request) server.app.answer(exchange, page);
  };
  Peer& peer = server.connect();
  peer.stop_reading();
  for (int i = 0; i < 1000; ++i) peer.write(std::string(kGet) + std::string(kGet));
  server.run();
  EXPECT_LT(server.app.requests, 30);
  peer.resume_reading();
  server.run();
  EXPECT_EQ(server.app.requests, 2000);
  EXPECT_EQ(split_answers(peer.received()).size(), 2000U);
}

TEST(Connection, sends_trailers_and_informational_responses_to_http_11_only) {
  SimServer server;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    EXPECT_EQ(exchange.send_informational(103, "link: </a>; rel=preload\r\n"), Outcome::ok);
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.start(true), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("abc"), {}, true), Outcome::ok);
    EXPECT_FALSE(exchange.complete());
    EXPECT_EQ(exchange.write(bytes_of("abc"), {}, true), Outcome::already_complete);
    EXPECT_EQ(exchange.add_trailer("X-Sum", "1"), FieldError::ok);
    EXPECT_EQ(exchange.add_trailer("Content-Length", "1"), FieldError::forbidden_trailer);
    EXPECT_EQ(exchange.add_trailer("x", "a\r\nb"), FieldError::bad_value);
    EXPECT_EQ(exchange.end_trailers(), Outcome::ok);
    EXPECT_TRUE(exchange.complete());
    server.app.release(exchange);
  };
  EXPECT_EQ(server.once(kGet),
            "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
  EXPECT_EQ(server.once("GET / HTTP/1.0\r\n\r\n"),
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc");
  EXPECT_EQ(server.once("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"),
            "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
}

TEST(Connection, adds_the_servers_own_fields_unless_the_app_has_them) {
  ServerOptions options;
  options.server_header = "pyre";
  options.default_fields = "x-a: b\r\n";
  SimServer server(std::move(options));
  EXPECT_EQ(
      server.once(kGet),
      "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: b\r\nserver: pyre\r\ndate: Tue, 14 Nov 2023 23:13:20 GMT\r\n"
      "content-length: 13\r\n\r\nHello, world!");
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    EXPECT_EQ(exchange.response_head().add("Server", "mine"), FieldError::ok);
    EXPECT_EQ(exchange.response_head().add("Date", "today"), FieldError::ok);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write({}, {}, true), Outcome::ok);
    server.app.release(exchange);
  };
  EXPECT_EQ(server.once(kGet), "HTTP/1.1 200 OK\r\nServer: mine\r\nDate: today\r\nx-a: b\r\ncontent-length: 0\r\n\r\n");
}

TEST(Connection, writes_heads_larger_than_a_block) {
  SimServer server;
  const std::string value(1000, 'v');
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    exchange.response_head().start(200);
    for (int i = 0; i < 100; ++i)
      EXPECT_EQ(exchange.response_head().add("x-" + std::to_string(i), value), FieldError::ok);
    EXPECT_EQ(exchange.start(), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of("abc"), {}, true), Outcome::ok);
    server.app.release(exchange);
  };
  const Answer answer = split_answers(server.once(kGet))[0];
  EXPECT_EQ(answer.body, "abc");
  EXPECT_TRUE(answer.has("x-99: " + value));
}

}  // namespace
}  // namespace pyre::http::test
