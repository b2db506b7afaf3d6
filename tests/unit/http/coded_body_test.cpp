// Bodies on their way through an encoder: what happens around them, on the simulated reactor with real threads behind.
#include "http/coded_body.h"

#include <gtest/gtest.h>

#include "sim_server.h"

#if defined(PYRE_HAVE_COMPRESSION)

namespace pyre::http::test {
namespace {

using Event = TestApp::Event;
constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n";
constexpr std::string_view kPlainGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Owner {
  int released = 0;
  std::thread::id released_by;
  [[nodiscard]] net::Borrowed borrow() {
    return {this, [](void* owner) noexcept {
              auto& self = *static_cast<Owner*>(owner);
              ++self.released;
              self.released_by = std::this_thread::get_id();
            }};
  }
};

std::string text_of_size(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i) text += "row " + std::to_string(i * 7919 % 10007) + "\n";
  text.resize(size);
  return text;
}

ServerOptions compressing(std::uint32_t offload_from = 0) {
  ServerOptions options = SimServer::plain_options();
  auto compression = std::make_shared<Compression>();
  EXPECT_TRUE(compression->add(Coding::gzip, 6));
  options.compression = std::move(compression);
  options.offload_from = offload_from;
  return options;
}

void begin(Exchange& exchange, std::string_view length = {}) {
  exchange.response_head().start(200);
  EXPECT_EQ(exchange.response_head().add("content-type", "text/plain"), FieldError::ok);
  if (!length.empty()) {
    EXPECT_EQ(exchange.response_head().add("content-length", length), FieldError::ok);
  }
  EXPECT_EQ(exchange.start(), Outcome::ok);
}

// Both ways to do a step: 0 offloads each, the other none.
class CodedBodyTest : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(CodedBodyTest, releases_each_piece_once_on_the_loops_thread) {
  SimServer server(compressing(GetParam()));
  const std::string text = text_of_size(300'000);
  Owner first, second;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    begin(exchange);
    EXPECT_EQ(exchange.write(bytes_of(text), first.borrow(), false), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of(text), second.borrow(), true), Outcome::ok);
    EXPECT_TRUE(exchange.complete()) << "for the application";
    EXPECT_EQ(exchange.write(bytes_of(text), {}, true), Outcome::already_complete);
    server.app.release(exchange);
  };
  const auto answers = split_answers(server.once(kGet));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_TRUE(answers[0].has("content-encoding: gzip"));
  EXPECT_TRUE(answers[0].has("vary: accept-encoding"));
  EXPECT_LT(answers[0].body.size(), 200'000U);
  for (const Owner* owner : {&first, &second}) {
    EXPECT_EQ(owner->released, 1);
    EXPECT_EQ(owner->released_by, std::this_thread::get_id());
  }
  EXPECT_EQ(server.server().stats().coding.responses, 1U);
  EXPECT_EQ(server.server().stats().coding.bytes_in, 600'000U);
  EXPECT_EQ(server.server().stats().requests_active, 0U);
  EXPECT_GT(server.server().stats().coding.offloaded, 0U) << "also the many that one tick has no time for";
}

TEST_P(CodedBodyTest, keeps_the_order_of_pipelined_responses) {
  SimServer server(compressing(GetParam()));
  const std::vector<std::size_t> sizes = {200'000, 10, 5000, 600'000, 0, 2000};
  std::size_t next = 0;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    begin(exchange);
    EXPECT_EQ(exchange.write(bytes_of(text_of_size(sizes[next++])), {}, true), Outcome::ok);
    server.app.release(exchange);
  };
  std::string requests;
  for (std::size_t i = 0; i < sizes.size(); ++i) requests += kGet;
  const auto answers = split_answers(server.once(requests));
  ASSERT_EQ(answers.size(), sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(answers[i].has("content-encoding: gzip"), sizes[i] >= 1024) << i;
    if (sizes[i] < 1024) {
      EXPECT_EQ(answers[i].body.size(), sizes[i]);
    }
  }
}

TEST_P(CodedBodyTest, releases_everything_when_the_client_goes_away_meanwhile) {
  SimServer server(compressing(GetParam()));
  const std::string text = text_of_size(1'000'000);
  Owner owner;
  Peer& peer = server.connect();
  Exchange* kept = nullptr;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    begin(exchange);
    EXPECT_EQ(exchange.write(bytes_of(text), owner.borrow(), true), Outcome::ok);
    kept = &exchange;
    peer.reset();
  };
  peer.write(kGet);
  server.run();
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(server.app.dead, 0) << "for the application the response was complete";
  server.app.release(*kept);
  server.run();
  EXPECT_EQ(owner.released, 1);
}

TEST_P(CodedBodyTest, a_server_that_is_torn_down_meanwhile_loses_nothing) {
  Owner owner;
  const std::string text = text_of_size(1'000'000);
  {
    SimServer server(compressing(GetParam()));
    server.app.on_event = [&](Exchange& exchange, Event event) {
      if (event != Event::request) return;
      begin(exchange);
      EXPECT_EQ(exchange.write(bytes_of(text), owner.borrow(), true), Outcome::ok);
    };
    server.connect().write(kGet);
    for (int i = 0; i < 10 && owner.released == 0; ++i) {
      server.loop().run_once(TimePoint::min());
      server.app.run();
    }
    server.shut_down();
    server.loop().wait_for_tasks();
  }
  EXPECT_EQ(owner.released, 1);
}

TEST_P(CodedBodyTest, holds_the_application_up_until_the_client_has_read) {
  SimServer server(compressing(GetParam()));
  const std::string text = text_of_size(200'000);
  int drained = 0;
  int written = 0;
  Exchange* exchange = nullptr;
  const auto write_more = [&] {
    while (!exchange->should_wait() && written < 100) {
      ++written;
      ASSERT_EQ(exchange->write(bytes_of(text), {}, false), Outcome::ok);
    }
  };
  server.app.on_event = [&](Exchange& given, Event event) {
    if (event == Event::request) {
      exchange = &given;
      begin(given);
    } else if (event == Event::drained) {
      ++drained;
    } else {
      return;
    }
    write_more();
    if (written == 100 && !given.complete()) {
      ASSERT_EQ(given.write({}, {}, true), Outcome::ok);
      server.app.release(given);
    }
  };
  const std::string answer = server.once(kGet);
  EXPECT_EQ(written, 100);
  EXPECT_GT(drained, 10);
  const auto answers = split_answers(answer);
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_TRUE(answers[0].has("transfer-encoding: chunked"));
}

TEST_P(CodedBodyTest, a_body_of_another_length_than_was_told) {
  SimServer server(compressing(GetParam()));
  const std::string text = text_of_size(10'000);
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    begin(exchange, "5000");
    EXPECT_EQ(exchange.write(bytes_of(text), {}, true), Outcome::body_too_long);
    EXPECT_EQ(exchange.write(bytes_of(text).first(4000), {}, false), Outcome::ok);
    EXPECT_EQ(exchange.write(bytes_of(text).first(999), {}, true), Outcome::body_too_short);
    server.app.release(exchange);
  };
  Peer& peer = server.connect();
  EXPECT_EQ(server.exchange(peer, kGet), "");
  EXPECT_TRUE(peer.saw_reset());
}

TEST_P(CodedBodyTest, a_failure_in_the_middle_cuts_the_connection) {
  SimServer server(compressing(GetParam()));
  const std::string text = text_of_size(500'000);
  Owner owner;
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    begin(exchange);
    EXPECT_EQ(exchange.write(bytes_of(text), owner.borrow(), false), Outcome::ok);
    server.app.release(exchange);
  };
  Peer& peer = server.connect();
  server.exchange(peer, kGet);
  EXPECT_TRUE(peer.saw_reset());
  EXPECT_EQ(owner.released, 1);
}

TEST_P(CodedBodyTest, who_accepts_nothing_gets_it_as_it_is) {
  SimServer server(compressing(GetParam()));
  server.app.on_event = [&](Exchange& exchange, Event event) {
    if (event != Event::request) return;
    begin(exchange);
    EXPECT_EQ(exchange.write(bytes_of(text_of_size(5000)), {}, true), Outcome::ok);
    server.app.release(exchange);
  };
  const auto answers = split_answers(server.once(kPlainGet));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].body, text_of_size(5000));
  EXPECT_TRUE(answers[0].has("vary: accept-encoding"));
}

INSTANTIATE_TEST_SUITE_P(Steps, CodedBodyTest, ::testing::Values(0U, UINT32_MAX),
                         [](const auto& steps) { return steps.param == 0 ? "offloaded" : "inlined"; });

}  // namespace
}  // namespace pyre::http::test

#endif
