// Two servers on two loops that share a Placement, with real sockets: what happens to one that is on its way.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>

#include "http/placement.h"
#include "http/server.h"
#include "net/loop.h"
#include "platform/clock.h"
#include "support/sockets.h"
#include "test_app.h"

namespace pyre::http::test {
namespace {

using pyre::test::Outcome;
using namespace std::chrono_literals;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

class HandOver : public ::testing::Test {
 protected:
  struct Side {
    std::unique_ptr<net::Loop> loop;
    TestApp app;
    std::unique_ptr<Server> server;
  };

  void make(std::uint64_t limit = 100) {
    placement = std::make_unique<Placement>(2, limit);
    for (std::uint32_t i = 0; i < 2; ++i) {
      auto loop = net::Loop::create();
      ASSERT_TRUE(loop.has_value());
      sides[i].loop = std::move(*loop);
      ServerOptions options;
      options.loop_index = i;
      options.placement = placement.get();
      sides[i].server = std::make_unique<Server>(*sides[i].loop, sides[i].app, std::move(options));
    }
    listen();
  }
  void listen() {
    listener = pyre::test::listen_on_loopback();
    EXPECT_EQ(sides[0].server->listen(listener, false).code, platform::Errc::ok);
  }
  void stop_listening() {
    sides[0].server->stop_listening();
    pyre::test::close_it(listener);
  }
  void TearDown() override {
    stop_listening();
    for (Side& side : sides) side.server->abort();
    for (int i = 0; i < 200 && !(sides[0].server->closed() && sides[1].server->closed()); ++i)
      for (Side& side : sides) run(side, 1);
    for (Side& side : sides) {
      EXPECT_TRUE(side.server->closed());
      for (Exchange* exchange : side.app.all()) side.app.release(*exchange);
    }
    EXPECT_EQ(placement->total(), 0U);
    for (Side& side : sides) side.server.reset();
    for (Side& side : sides) side.loop.reset();
    for (const auto client : clients) pyre::test::close_it(client);
  }
  static void run(Side& side, int turns = 20) {
    for (int i = 0; i < turns; ++i) {
      side.loop->run_once(platform::now() + 1ms);
      side.app.run();
    }
  }
  platform::NativeSocket connect() {
    clients.push_back(pyre::test::connect_to(listener));
    return clients.back();
  }
  // The client's bytes, or its end, once there is something.
  static std::string read(Side& side, platform::NativeSocket client, Outcome* outcome = nullptr) {
    std::array<char, 4096> buffer{};
    for (int i = 0; i < 2000; ++i) {
      const auto got = pyre::test::read_some(client, buffer.data(), buffer.size());
      if (outcome != nullptr) *outcome = got.outcome;
      if (got.outcome != Outcome::would_block) return {buffer.data(), got.bytes};
      run(side, 1);
    }
    return "nothing came";
  }

  std::unique_ptr<Placement> placement;
  std::array<Side, 2> sides;
  platform::NativeSocket listener = platform::no_socket;
  std::vector<platform::NativeSocket> clients;
};

TEST_F(HandOver, a_loop_is_not_done_while_a_socket_is_on_its_way_to_it) {
  make();
  connect();
  const auto second = connect();
  run(sides[0]);
  EXPECT_EQ(sides[0].server->stats().connections_open, 1U);
  EXPECT_EQ(sides[1].server->stats().connections_open, 0U);
  EXPECT_EQ(sides[1].server->unfinished(), 1U);
  EXPECT_FALSE(sides[1].server->closed());
  run(sides[1]);
  EXPECT_EQ(sides[1].server->stats().connections_open, 1U);
  EXPECT_EQ(sides[1].server->unfinished(), 1U);
  EXPECT_TRUE(pyre::test::write_some(second, kGet).bytes == kGet.size());
  EXPECT_TRUE(read(sides[1], second).ends_with("Hello, world!"));
  EXPECT_EQ(sides[0].app.requests, 0);
}

TEST_F(HandOver, a_drain_overtakes_a_socket_and_its_first_request_is_answered) {
  make();
  connect();
  const auto second = connect();
  run(sides[0]);
  sides[1].server->drain();
  EXPECT_TRUE(pyre::test::write_some(second, kGet).bytes == kGet.size());
  const std::string answer = read(sides[1], second);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_NE(answer.find("connection: close"), std::string::npos) << answer;
  Outcome outcome{};
  EXPECT_EQ(read(sides[1], second, &outcome), "");
  EXPECT_EQ(outcome, Outcome::end);
}

TEST_F(HandOver, an_abort_overtakes_a_socket_and_it_is_closed) {
  make();
  connect();
  const auto second = connect();
  run(sides[0]);
  sides[1].server->abort();
  EXPECT_FALSE(sides[1].server->closed());
  EXPECT_EQ(read(sides[1], second), "");
  EXPECT_TRUE(sides[1].server->closed());
  EXPECT_EQ(placement->count(1), 0U);
  EXPECT_EQ(sides[1].server->stats().connections_total, 1U) << "whoever waits for the last one is to look again";
}

TEST_F(HandOver, room_on_one_loop_lets_the_other_accept) {
  make(2);
  connect();
  connect();
  const auto third = connect();
  EXPECT_TRUE(pyre::test::write_some(third, kGet).bytes == kGet.size());
  for (int i = 0; i < 20; ++i)
    for (Side& side : sides) run(side, 1);
  EXPECT_EQ(sides[0].app.requests + sides[1].app.requests, 0);
  EXPECT_EQ(sides[0].server->stats().accepts_paused, 1U);
  pyre::test::close_it(clients[1]);
  clients.erase(clients.begin() + 1);
  for (int i = 0; i < 50; ++i)
    for (Side& side : sides) run(side, 1);
  EXPECT_EQ(sides[1].app.requests, 1) << "which has fewest now";
}

TEST_F(HandOver, a_listener_that_comes_after_a_pause_is_not_paused_for_ever) {
  make(1);
  connect();
  run(sides[0]);
  EXPECT_EQ(sides[0].server->stats().accepts_paused, 1U);
  stop_listening();
  run(sides[0]);
  pyre::test::close_it(clients[0]);
  clients.clear();
  run(sides[0]);
  EXPECT_EQ(placement->total(), 0U);
  listen();
  const auto client = connect();
  EXPECT_TRUE(pyre::test::write_some(client, kGet).bytes == kGet.size());
  for (int i = 0; i < 20; ++i)
    for (Side& side : sides) run(side, 1);
  EXPECT_EQ(sides[0].app.requests + sides[1].app.requests, 1);
}

}  // namespace
}  // namespace pyre::http::test
