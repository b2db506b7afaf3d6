// Another protocol takes a connection over.
#include <gtest/gtest.h>

#include "http/protocol.h"
#include "sim_server.h"

namespace pyre::http::test {
namespace {

constexpr std::string_view kUpgrade = "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
constexpr std::string_view kSwitching =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
constexpr std::string_view kHello =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";

// Answers every byte with itself, in capitals.
class EchoSession final : public ProtocolSession {
 public:
  [[nodiscard]] Protocol protocol() const noexcept override { return Protocol::websocket; }
  void taken_over(net::Stream& stream, std::span<const std::byte> leftover) noexcept override {
    stream_ = &stream;
    echo(leftover);
    stream_->set_reading(true);
  }
  void on_data(platform::Lease& data) noexcept override { echo(data.bytes()); }
  void on_end() noexcept override {
    ended = true;
    stream_->close();
  }
  void on_error(platform::Result) noexcept override { stream_->close(); }
  void on_sent() noexcept override { ++sent; }
  void on_closed() noexcept override { closed = true; }
  void drain() noexcept override {
    drained = true;
    echo(bytes_of("bye"));
    stream_->finish_sending();
  }
  void abort() noexcept override {
    aborted = true;
    stream_->close(true);
  }

  bool ended = false, closed = false, drained = false, aborted = false;
  int sent = 0;

 private:
  void echo(std::span<const std::byte> bytes) noexcept {
    for (const std::byte byte : bytes) {
      const auto upper = static_cast<std::byte>(std::toupper(static_cast<int>(byte)));
      EXPECT_TRUE(stream_->output().append({&upper, 1}));
    }
    stream_->request_flush();
  }
  net::Stream* stream_ = nullptr;
};

// "/up" is answered by the switch, when `go` says so, all else by HTTP.
struct SwitchingServer : SimServer {
  explicit SwitchingServer(ServerOptions options = plain_options()) : SimServer(std::move(options)) {
    app.on_event = [this](Exchange& exchange, TestApp::Event event) {
      if (event != TestApp::Event::request) return;
      if (exchange.request().path() != "/up") return app.answer(exchange, "Hello, world!");
      waiting = &exchange;
      if (go) answer();
    };
  }
  ~SwitchingServer() {
    if (!session.closed) shut_down();
    EXPECT_EQ(server().stats().requests_active, 0U);
  }
  void answer() {
    Exchange& exchange = *std::exchange(waiting, nullptr);
    outcome = exchange.switch_protocol(kSwitching, session);
    app.release(exchange);
  }

  EchoSession session;
  Exchange* waiting = nullptr;
  Outcome outcome = Outcome::dead;
  bool go = true;
};

TEST(ProtocolSwitch, gives_the_stream_to_the_session) {
  SwitchingServer server;
  Peer& peer = server.connect();
  EXPECT_EQ(server.exchange(peer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), kHello);
  EXPECT_EQ(server.exchange(peer, kUpgrade), kSwitching);
  EXPECT_EQ(server.outcome, Outcome::ok);
  EXPECT_EQ(server.exchange(peer, "GET / HTTP/1.1\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n") << "no longer HTTP";
  EXPECT_GT(server.session.sent, 0);
  server.pass(1h);
  EXPECT_EQ(server.exchange(peer, "still"), "STILL") << "HTTP's time-outs are off";
  peer.close();
  server.run();
  EXPECT_TRUE(server.session.ended);
  EXPECT_TRUE(server.session.closed);
  EXPECT_EQ(server.server().stats().connections_open, 0U);
}

TEST(ProtocolSwitch, loses_no_byte_that_came_behind_the_request) {
  const std::string input = std::string(kUpgrade) + "GET /x HTTP/1.1\r\n\r\n\x01 not http";
  for (std::size_t at = 1; at <= input.size(); ++at) {
    SwitchingServer server;
    Peer& peer = server.connect();
    std::string got = server.exchange(peer, input.substr(0, at));
    got += server.exchange(peer, input.substr(at));
    EXPECT_EQ(got, std::string(kSwitching) + "GET /X HTTP/1.1\r\n\r\n\x01 NOT HTTP") << "split at " << at;
    EXPECT_EQ(server.server().stats().requests_total, 1U);
    peer.close();
    server.run();
  }
}

TEST(ProtocolSwitch, takes_nothing_behind_the_request_for_http_while_the_app_thinks) {
  SwitchingServer server;
  server.go = false;
  Peer& peer = server.connect();
  EXPECT_EQ(server.exchange(peer, std::string(kUpgrade) + "\x81 frame"), "");
  EXPECT_EQ(server.exchange(peer, " and more\r\n\r\n"), "");
  server.pass(1h);
  ASSERT_NE(server.waiting, nullptr);
  EXPECT_EQ(server.server().stats().bad_requests, 0U);
  server.answer();
  server.run();
  EXPECT_EQ(peer.take_received(), std::string(kSwitching) + "\x81 FRAME AND MORE\r\n\r\n");
  peer.reset();
  server.run();
  EXPECT_TRUE(server.session.closed);
}

TEST(ProtocolSwitch, comes_after_the_answers_to_the_requests_before) {
  SwitchingServer server;
  Peer& peer = server.connect();
  const std::string got = server.exchange(peer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(kUpgrade) + "x");
  EXPECT_EQ(got, std::string(kHello) + std::string(kSwitching) + "X");
}

TEST(ProtocolSwitch, is_an_ordinary_request_when_the_app_answers_it_so) {
  SwitchingServer server;
  server.app.on_event = [&](Exchange& exchange, TestApp::Event) { server.app.answer(exchange, "Hello, world!"); };
  Peer& peer = server.connect();
  const std::string got = server.exchange(peer, std::string(kUpgrade) + std::string(kUpgrade));
  EXPECT_EQ(got, std::string(kHello) + std::string(kHello)) << "what follows is read once it is answered";
}

TEST(ProtocolSwitch, is_refused_to_a_request_that_did_not_ask_or_is_not_read) {
  SwitchingServer server;
  Peer& peer = server.connect();
  std::string got = server.exchange(peer, "GET /up HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(server.outcome, Outcome::no_upgrade);
  EXPECT_EQ(got.substr(0, 12), "HTTP/1.1 500") << "released without an answer";
  Peer& other = server.connect();
  server.exchange(
      other, "POST /up HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 9\r\n\r\n12");
  EXPECT_EQ(server.outcome, Outcome::no_upgrade);
}

TEST(ProtocolSwitch, draining_and_aborting_go_to_the_session) {
  {
    SwitchingServer server;
    Peer& peer = server.connect();
    server.exchange(peer, kUpgrade);
    server.server().stop_listening();
    server.server().drain();
    server.run();
    EXPECT_TRUE(server.session.drained);
    EXPECT_EQ(peer.take_received(), "BYE");
    EXPECT_TRUE(peer.saw_end());
    peer.close();
    server.run();
    EXPECT_TRUE(server.server().closed());
  }
  {
    SwitchingServer server;
    Peer& peer = server.connect();
    server.exchange(peer, kUpgrade);
    server.server().stop_listening();
    server.server().abort();
    server.run();
    EXPECT_TRUE(server.session.aborted);
    EXPECT_TRUE(peer.saw_reset());
    EXPECT_TRUE(server.server().closed());
  }
}

TEST(ProtocolSwitch, while_the_server_drains_tells_the_session_at_once) {
  SwitchingServer server;
  server.go = false;
  Peer& peer = server.connect();
  server.exchange(peer, kUpgrade);
  server.server().drain();
  server.answer();
  server.run();
  EXPECT_TRUE(server.session.drained);
  EXPECT_EQ(peer.take_received(), std::string(kSwitching) + "BYE");
  peer.close();
  server.run();
}

TEST(ProtocolSwitch, of_a_lost_connection_is_dead) {
  SwitchingServer server;
  server.go = false;
  Peer& peer = server.connect();
  server.exchange(peer, kUpgrade);
  peer.reset();
  server.run();
  ASSERT_NE(server.waiting, nullptr);
  server.answer();
  EXPECT_EQ(server.outcome, Outcome::dead);
  server.session.closed = true;  // it never had it
}

}  // namespace
}  // namespace pyre::http::test
