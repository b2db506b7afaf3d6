// Streams and acceptors over the system's own reactor: socket pairs and loopback connections.
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/acceptor.h"
#include "platform/file.h"
#include "unit/net/native_streams.h"

namespace pyre::net {
namespace {

TEST_F(StreamNativeTest, echoes_megabytes_byte_for_byte_with_back_pressure) {
  Echo echo(*loop_);
  open(echo);
  echo.stream.set_reading(true);
  std::string sent(8 * 1024 * 1024, '\0');
  std::uint32_t state = 1;
  for (char& c : sent) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
  std::thread writer([&] {
    test::write_all(peer_, sent);
    test::finish_writing(peer_);
  });
  std::string received;
  std::thread reader([&] {
    received = test::read_all(peer_);
    loop_->reactor().wake();
  });
  run_until([&] { return echo.ended && echo.stream.output().empty(); });
  loop_->run_once(TimePoint::min());
  writer.join();
  reader.join();
  EXPECT_TRUE(received == sent);
  EXPECT_EQ(echo.stream.progress(), sent.size());
  close(echo);
}

TEST_F(StreamNativeTest, steady_state_costs_no_control_call) {
  Echo echo(*loop_);
  open(echo);
  echo.stream.set_reading(true);
  const auto round_trip = [&] {
    ASSERT_TRUE(test::write_all(peer_, "ping"));
    ASSERT_EQ(receive(4), "ping");
  };
  round_trip();
  const auto before = loop_->reactor().stats();
  for (int i = 0; i < 100; ++i) round_trip();
  EXPECT_EQ(loop_->reactor().stats().control_calls, before.control_calls);
  close(echo);
}

TEST_F(StreamNativeTest, a_vanished_peer_is_an_error_for_the_writer) {
  Echo echo(*loop_);
  open(echo);
  close_peer();
  const std::string bytes(1000, 'x');
  ASSERT_TRUE(echo.stream.output().append(std::as_bytes(std::span(bytes))));
  echo.stream.request_flush();
  run_until([&] { return echo.closed; });
  EXPECT_EQ(echo.error, Errc::reset);
}

TEST_F(StreamNativeTest, close_with_a_blocked_send_gives_everything_back) {
  Echo echo(*loop_);
  open(echo);
  const std::string bytes(4 * 1024 * 1024, 'x');
  int released = 0;
  ASSERT_TRUE(echo.stream.output().append_borrowed(
      std::as_bytes(std::span(bytes)), {&released, [](void* owner) noexcept { ++*static_cast<int*>(owner); }}));
  echo.stream.request_flush();
  for (int i = 0; i < 20; ++i) loop_->run_once(TimePoint::min());
  EXPECT_GT(echo.stream.progress(), 0U);
  EXPECT_LT(echo.stream.progress(), bytes.size());
  EXPECT_EQ(released, 0);
  close(echo);
  EXPECT_EQ(released, 1);
}

TEST_F(StreamNativeFileTest, sends_a_cached_file) { send_and_compare(); }

TEST_F(StreamNativeFileTest, reads_ahead_for_a_file_that_is_not_cached) {
  loop_->set_is_cached_for_tests(&never_cached);
  send_and_compare();
}

TEST_F(StreamNativeFileTest, close_waits_for_the_read_ahead_before_it_releases_the_file) {
  loop_->set_is_cached_for_tests(&never_cached);
  Echo echo(*loop_);
  open(echo);
  ASSERT_TRUE(echo.stream.output().append_file(file_->native(), 0, contents_.size(), owner()));
  echo.stream.request_flush();
  loop_->flush();  // the read-ahead is on its way
  echo.stream.close();
  EXPECT_EQ(released_, 0);
  run_until([&] { return echo.closed; });
  EXPECT_EQ(released_, 1);
}

TEST_F(StreamNativeFileTest, a_file_shorter_than_promised_is_an_error) {
  for (const bool cached : {true, false}) {
    if (!cached) loop_->set_is_cached_for_tests(&never_cached);
    Echo echo(*loop_);
    open(echo);
    const platform::NativeFile copy = platform::duplicate_file(file_->native()).value();
    ASSERT_TRUE(echo.stream.output().append_file(copy, 0, contents_.size() + 10, {}));
    echo.stream.request_flush();
    std::string received;
    std::thread reader([&] { received = test::read_all(peer_); });
    run_until([&] { return echo.closed; });
    reader.join();
    EXPECT_EQ(echo.error, Errc::eof);
    EXPECT_TRUE(received == contents_);
    platform::close_file(copy);
    close_peer();
  }
}

TEST_F(StreamNativeTest, accepts_over_loopback_and_tells_the_peers_address) {
  const platform::NativeSocket listener = test::listen_on_loopback(128);

  struct Server final : Acceptor::Sink {
    explicit Server(Loop& l) : loop(l) {}
    void on_accept(platform::NativeSocket socket, const platform::Endpoint& peer) noexcept override {
      last = peer;
      auto& echo = *echoes.emplace_back(std::make_unique<Echo>(loop));
      if (echo.stream.open(socket) != Errc::ok) std::abort();
      echo.stream.set_reading(true);
    }
    void on_acceptor_closed() noexcept override { closed = true; }
    Loop& loop;
    std::vector<std::unique_ptr<Echo>> echoes;
    platform::Endpoint last;
    bool closed = false;
  };
  Server server(*loop_);
  Acceptor acceptor(*loop_, server);
  ASSERT_EQ(acceptor.open(listener).code, Errc::ok);

  constexpr std::size_t kClients = 60;
  std::vector<platform::NativeSocket> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    clients.push_back(test::connect_to(listener));
    ASSERT_TRUE(test::write_all(clients.back(), "hi"));
  }
  while (server.echoes.size() < kClients) {
    const std::size_t before = server.echoes.size();
    loop_->run_once(TimePoint::max());
    EXPECT_LE(server.echoes.size() - before, 16U);
  }
  EXPECT_EQ(server.last.family, platform::Endpoint::Family::ipv4);
  std::array<char, 64> text;
  EXPECT_EQ(server.last.host_text(text), "127.0.0.1");
  EXPECT_EQ(server.last.port, test::local_port(clients.back()));
  char buffer[4];
  for (const platform::NativeSocket client : clients) {
    while (test::read_some(client, buffer, sizeof buffer).bytes != 2)
      loop_->run_once(loop_->now() + std::chrono::milliseconds(10));
  }

  acceptor.close();
  for (auto& echo : server.echoes) echo->stream.close(true);
  run_until([&] {
    for (const auto& echo : server.echoes) {
      if (!echo->closed) return false;
    }
    return server.closed;
  });
  // An aborted stream: its peer can tell the cut from an end.
  test::Moved cut = test::read_some(clients.front(), buffer, sizeof buffer);
  while (cut.outcome == test::Outcome::would_block) {
    std::this_thread::yield();
    cut = test::read_some(clients.front(), buffer, sizeof buffer);
  }
  EXPECT_TRUE(cut.outcome == test::Outcome::reset || test::was_reset(clients.front()));
  // The listener is still the caller's, and listens.
  test::close_it(test::connect_to(listener));
  for (const platform::NativeSocket client : clients) test::close_it(client);
  test::close_it(listener);
}

}  // namespace
}  // namespace pyre::net
