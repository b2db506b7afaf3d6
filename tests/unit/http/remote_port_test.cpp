// The mirror of an exchange and the way to it, on one thread: what is checked is who knows what when, and the bounds.
#include "http/remote_port.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "sim_server.h"

namespace pyre::http::test {
namespace {

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

class RemoteServer final : public RemotePort::Application {
 public:
  explicit RemoteServer(ServerOptions options = SimServer::plain_options()) {
    auto made = net::Loop::create(
        [](platform::BufferSource& buffers, void* context) -> platform::Expected<std::unique_ptr<platform::Reactor>> {
          auto& self = *static_cast<RemoteServer*>(context);
          auto reactor = std::make_unique<SimReactor>(buffers, FaultPlan::calm());
          self.reactor_ = reactor.get();
          self.scope_.emplace(*reactor);
          return std::unique_ptr<platform::Reactor>(std::move(reactor));
        },
        this);
    loop = std::move(made.value());
    port = std::make_unique<RemotePort>(*loop, inbox_, *this, options.limits,
                                        [](ConnectionInfo& info) noexcept { info.app_cache[0] = nullptr; });
    server_ = std::make_unique<Server>(*loop, *port, std::move(options));
    listener_ = reactor_->listen();
    EXPECT_EQ(server_->listen(listener_, false).code, platform::Errc::ok);
  }
  ~RemoteServer() {
    server_->stop_listening();
    server_->abort();
    for (int i = 0; i < 100; ++i) {
      for (AppExchange* exchange : std::exchange(live, {})) exchange->release();
      app_runs();
      loop_runs();
    }
    EXPECT_TRUE(server_->closed());
    EXPECT_EQ(port->in_use(), 0U);
    server_.reset();
    port.reset();
    scope_.reset();
    loop.reset();
  }
  Peer& connect() { return reactor_->connect(listener_); }
  void loop_runs() {
    for (int i = 0; i < 10'000 && (i == 0 || loop->has_work() || !reactor_->idle()); ++i) {
      loop->run_once(reactor_->now() + 1ms);
      port->end_tick(false);
    }
  }
  std::size_t app_runs() {
    const std::size_t letters = inbox_.deliver();
    port->flush();
    return letters;
  }
  void run() {
    for (int i = 0; i < 20; ++i) {
      loop_runs();
      app_runs();
    }
  }
  AppExchange& request(Peer& peer, std::string_view bytes) {
    const std::size_t before = live.size();
    peer.write(bytes);
    run();
    EXPECT_EQ(live.size(), before + 1);
    return *live.back();
  }
  void release(AppExchange& exchange) {
    std::erase(live, &exchange);
    exchange.release();
  }

  std::vector<AppExchange*> live;
  int changes = 0;
  std::unique_ptr<net::Loop> loop;
  std::unique_ptr<RemotePort> port;

 private:
  void on_request(AppExchange& exchange) noexcept override { live.push_back(&exchange); }
  void on_change(AppExchange&) noexcept override { ++changes; }
  void on_object(void*) noexcept override {}
  void on_commands() noexcept override {}

  net::Mailbox inbox_;
  SimReactor* reactor_ = nullptr;
  std::optional<SimScope> scope_;
  std::unique_ptr<Server> server_;
  platform::NativeSocket listener_ = platform::no_socket;
};

void start(AppExchange& exchange, std::string_view length = {}, bool trailers = false) {
  exchange.response_head().start(200);
  if (!length.empty()) {
    EXPECT_EQ(exchange.response_head().add("content-length", length), FieldError::ok);
  }
  EXPECT_EQ(exchange.start(trailers), Outcome::ok);
}

TEST(RemotePort, answers_with_head_and_body_in_one_piece) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, kGet);
  EXPECT_EQ(exchange.request().method(), "GET");
  EXPECT_TRUE(exchange.body_complete());
  start(exchange);
  EXPECT_EQ(exchange.write(bytes_of("Hello"), {}, true), Outcome::ok);
  EXPECT_TRUE(exchange.complete());
  EXPECT_EQ(peer.received(), "") << "nothing leaves before the batch is over";
  server.release(exchange);
  server.run();
  EXPECT_EQ(peer.received(), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello");
  EXPECT_EQ(server.port->in_use(), 0U);
}

TEST(RemotePort, misuse_is_refused_at_once_and_changes_nothing) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, kGet);
  EXPECT_EQ(exchange.write(bytes_of("x"), {}, true), Outcome::not_started);
  start(exchange, "3");
  EXPECT_EQ(exchange.start(false), Outcome::already_started);
  EXPECT_EQ(exchange.send_informational(103, {}), Outcome::already_started);
  EXPECT_EQ(exchange.write(bytes_of("abcd"), {}, true), Outcome::body_too_long);
  EXPECT_EQ(exchange.write(bytes_of("ab"), {}, false), Outcome::ok);
  EXPECT_EQ(exchange.write(bytes_of("c"), {}, true), Outcome::ok);
  EXPECT_EQ(exchange.write(bytes_of("d"), {}, true), Outcome::already_complete);
  server.release(exchange);
  server.run();
  EXPECT_EQ(peer.received(), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
}

TEST(RemotePort, a_body_that_is_too_short_cuts_the_connection) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, kGet);
  start(exchange, "10");
  EXPECT_EQ(exchange.write(bytes_of("abc"), {}, true), Outcome::body_too_short);
  EXPECT_TRUE(exchange.complete());
  server.run();
  EXPECT_TRUE(peer.saw_reset());
}

TEST(RemotePort, trailers_go_behind_a_chunked_body) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, kGet);
  start(exchange, {}, true);
  EXPECT_EQ(exchange.write(bytes_of("ab"), {}, true), Outcome::ok);
  EXPECT_FALSE(exchange.complete());
  EXPECT_EQ(exchange.add_trailer("content-length", "1"), FieldError::forbidden_trailer);
  EXPECT_EQ(exchange.add_trailer("x-sum", "7"), FieldError::ok);
  EXPECT_EQ(exchange.end_trailers(), Outcome::ok);
  server.run();
  EXPECT_EQ(peer.received(), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nx-sum: 7\r\n\r\n");
}

TEST(RemotePort, a_dead_connection_is_known_after_the_next_letter) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, kGet);
  start(exchange);
  peer.reset();
  server.loop_runs();
  int released = 0;
  const auto count = [](void* owner) noexcept { ++*static_cast<int*>(owner); };
  EXPECT_EQ(exchange.write(bytes_of("ab"), {&released, count}, false), Outcome::ok) << "nobody here knows yet";
  server.run();
  EXPECT_EQ(released, 1);
  EXPECT_TRUE(exchange.dead());
  EXPECT_EQ(exchange.write(bytes_of("ab"), {&released, count}, true), Outcome::dead);
  EXPECT_EQ(released, 1) << "what is refused stays the caller's";
}

TEST(RemotePort, what_is_posted_and_what_is_queued_count_against_one_mark) {
  RemoteServer server;
  Peer& peer = server.connect();
  peer.stop_reading();
  AppExchange& exchange = server.request(peer, kGet);
  start(exchange);
  const std::string piece(10'000, 'x');
  std::size_t written = 0;
  for (int i = 0; i < 1000 && !exchange.should_wait(); ++i) {
    EXPECT_EQ(exchange.write(bytes_of(piece), {}, false), Outcome::ok);
    written += piece.size();
  }
  EXPECT_LE(written, 256U * 1024 + piece.size());
  server.run();
  for (int i = 0; i < 10'000 && !exchange.should_wait(); ++i) {
    EXPECT_EQ(exchange.write(bytes_of(piece), {}, false), Outcome::ok);
    written += piece.size();
    server.run();
  }
  EXPECT_TRUE(exchange.should_wait()) << "the peer takes nothing any more";
  server.changes = 0;
  peer.resume_reading();
  server.run();
  EXPECT_GT(server.changes, 0);
  EXPECT_FALSE(exchange.should_wait());
  EXPECT_EQ(exchange.write({}, {}, true), Outcome::ok);
  server.run();
  EXPECT_EQ(split_answers(peer.received()).at(0).body.size(), written);
}

TEST(RemotePort, a_body_is_pushed_as_far_as_the_window_goes) {
  RemoteServer server;
  Peer& peer = server.connect();
  constexpr std::size_t kSize = 1'000'000;
  AppExchange& exchange =
      server.request(peer, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n");
  EXPECT_FALSE(exchange.body_complete());
  peer.write(std::string(kSize, 'b'));
  server.run();
  std::size_t read = 0;
  std::uint64_t most = 0;
  for (int i = 0; i < 1000 && !(exchange.body_complete() && exchange.body_available() == 0); ++i) {
    most = std::max(most, exchange.body_available());
    std::string out(exchange.body_available(), ' ');
    exchange.read_body(std::as_writable_bytes(std::span(out)));
    read += out.size();
    server.run();
  }
  EXPECT_EQ(read, kSize);
  EXPECT_LE(most, 2U * 64 * 1024);
}

TEST(RemotePort, a_hundred_is_sent_only_when_the_application_asks) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange =
      server.request(peer, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_EQ(peer.received(), "");
  exchange.want_body();
  exchange.want_body();
  server.run();
  EXPECT_EQ(peer.take_received(), "HTTP/1.1 100 Continue\r\n\r\n");
  peer.write("ab");
  server.run();
  EXPECT_EQ(exchange.body_available(), 2U);
  EXPECT_TRUE(exchange.body_complete());
}

TEST(RemotePort, more_than_the_application_may_have_is_refused) {
  ServerOptions options = SimServer::plain_options();
  options.limits.connections = 1;
  RemoteServer server(std::move(options));
  // Clients who come and go while the application does not look.
  std::size_t refused = 0;
  for (std::uint32_t i = 0; i < RemotePort::kSpare + 10; ++i) {
    Peer& peer = server.connect();
    peer.write(kGet);
    server.loop_runs();
    if (peer.received().starts_with("HTTP/1.1 503")) ++refused;
    peer.reset();
    server.loop_runs();
  }
  EXPECT_EQ(refused, 9U);
  EXPECT_EQ(server.port->refused(), 9U);
  EXPECT_EQ(server.port->in_use(), RemotePort::kSpare + 1);
}

// A handler's background task keeps its exchange long after the response.
TEST(RemotePort, what_the_application_has_begun_takes_nobodys_place) {
  ServerOptions options = SimServer::plain_options();
  options.limits.connections = 1;
  RemoteServer server(std::move(options));
  Peer& peer = server.connect();
  for (std::uint32_t i = 0; i < RemotePort::kSpare + 10; ++i) {
    AppExchange& exchange = server.request(peer, kGet);
    start(exchange);
    EXPECT_EQ(exchange.write(bytes_of("Hello"), {}, true), Outcome::ok);
    server.run();
    ASSERT_TRUE(peer.take_received().starts_with("HTTP/1.1 200"));
  }
  EXPECT_EQ(server.port->in_use(), RemotePort::kSpare + 10);
  EXPECT_EQ(server.port->refused(), 0U);
}

TEST(RemotePort, no_limit_on_connections_is_no_limit_on_requests_either) {
  ServerOptions options = SimServer::plain_options();
  options.limits.connections = std::numeric_limits<std::uint32_t>::max();
  RemoteServer server(std::move(options));
  for (std::uint32_t i = 0; i < RemotePort::kSpare + 10; ++i) {
    server.connect().write(kGet);
    server.loop_runs();
  }
  EXPECT_EQ(server.port->refused(), 0U);
  server.run();
  EXPECT_EQ(server.live.size(), RemotePort::kSpare + 10);
}

TEST(RemotePort, pieces_of_a_body_that_is_not_sent_are_dropped_at_once) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  start(exchange);
  int released = 0;
  const net::Borrowed owner{&released, [](void* count) noexcept { ++*static_cast<int*>(count); }};
  const std::string piece(100'000, 'x');
  for (int i = 0; i < 100; ++i) EXPECT_EQ(exchange.write(bytes_of(piece), owner, false), Outcome::ok);
  EXPECT_EQ(released, 99) << "all but the first, which the loop looks at";
  EXPECT_EQ(exchange.write(bytes_of(piece), owner, true), Outcome::ok);
  EXPECT_TRUE(exchange.complete());
  server.release(exchange);
  server.run();
  EXPECT_EQ(released, 101);
  const std::string answer = peer.take_received();
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n")) << answer;
}

TEST(RemotePort, informational_responses_to_a_client_that_does_not_read_make_the_application_wait) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange = server.request(peer, kGet);
  peer.stop_reading();
  const std::string hint = "link: " + std::string(4000, 'x') + "\r\n";
  int sent = 0;
  for (; sent < 100'000 && !exchange.should_wait(); ++sent) {
    EXPECT_EQ(exchange.send_informational(103, hint), Outcome::ok);
    if (sent % 4 == 0) server.run();
  }
  EXPECT_LT(sent, 10'000);
  EXPECT_TRUE(exchange.should_wait());
}

TEST(RemotePort, a_mirror_lives_as_long_as_an_event_that_the_application_has_not_seen) {
  // Above what is kept of idle mirrors, so that some are freed; AddressSanitizer would see one that is freed too early.
  constexpr int kMany = 600;
  RemoteServer server;
  std::vector<Peer*> peers;
  for (int i = 0; i < kMany; ++i) peers.push_back(&server.connect());
  for (int round = 0; round < 2; ++round) {
    for (Peer* peer : peers) peer->write(kGet);
    server.run();
    ASSERT_EQ(server.live.size(), static_cast<std::size_t>(kMany));
    for (AppExchange* exchange : std::exchange(server.live, {})) {
      start(*exchange);
      if (round == 0) {
        EXPECT_EQ(exchange->write(bytes_of("x"), {}, true), Outcome::ok);
      }
      exchange->release();
    }
    if (round == 1)
      for (Peer* peer : peers) peer->reset();  // told in the tick that carries the releases out
    server.port->flush();
    server.loop_runs();
    server.run();
    EXPECT_EQ(server.port->in_use(), 0U);
  }
}

TEST(RemotePort, a_body_that_comes_byte_by_byte_is_few_pieces) {
  constexpr std::size_t kSize = 1000;
  RemoteServer server;
  Peer& peer = server.connect();
  peer.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n");
  server.loop_runs();
  std::string sent;
  for (std::size_t i = 0; i < kSize; ++i) {
    sent.push_back(static_cast<char>('a' + i % 26));
    peer.write(sent.substr(i));
    server.loop_runs();
  }
  // One letter for the request, and one for each piece.
  EXPECT_LE(server.app_runs(), 1U + RemotePort::kMaxPieces);
  ASSERT_EQ(server.live.size(), 1U);
  AppExchange& exchange = *server.live.front();
  EXPECT_EQ(exchange.body_available(), RemotePort::kMaxPieces);
  std::string body;
  for (int i = 0; i < 20 && !(exchange.body_complete() && exchange.body_available() == 0); ++i) {
    // Not all of it: a piece that is half read is not free yet.
    std::string out(std::max<std::size_t>(1, exchange.body_available() * 2 / 3), ' ');
    exchange.read_body(std::as_writable_bytes(std::span(out)));
    body += out;
    server.run();
  }
  EXPECT_EQ(body, sent);
}

TEST(RemotePort, wake_ups_that_say_nothing_do_not_queue_up) {
  RemoteServer server;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 100; ++j) server.port->end_tick(true);
    EXPECT_EQ(server.app_runs(), 1U);
  }
}

TEST(RemotePort, an_exchange_that_was_released_takes_no_orders) {
  RemoteServer server;
  Peer& peer = server.connect();
  AppExchange& exchange =
      server.request(peer, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  server.release(exchange);
  exchange.want_body();
  exchange.read_body({});
  exchange.fail(500);
  exchange.release();
  EXPECT_EQ(exchange.start(false), Outcome::dead);
  EXPECT_EQ(exchange.write(bytes_of("x"), {}, true), Outcome::dead);
  server.run();
  EXPECT_EQ(server.port->in_use(), 0U);
}

}  // namespace
}  // namespace pyre::http::test
