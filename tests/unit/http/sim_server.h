// A whole server on the simulated reactor: virtual time, no sockets.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "http/server.h"
#include "net/loop.h"
#include "platform/sim/sim_reactor.h"
#include "test_app.h"

namespace pyre::http::test {

using namespace std::chrono_literals;
using platform::TimePoint;
using platform::sim::FaultPlan;
using platform::sim::Peer;
using platform::sim::SimReactor;
using platform::sim::SimScope;

class SimServer {
 public:
  explicit SimServer(ServerOptions options = plain_options(), const FaultPlan& plan = FaultPlan::calm()) {
    plan_ = plan;
    auto made = net::Loop::create(
        [](platform::BufferSource& buffers, void* context) -> platform::Expected<std::unique_ptr<platform::Reactor>> {
          auto& self = *static_cast<SimServer*>(context);
          auto reactor = std::make_unique<SimReactor>(buffers, self.plan_);
          self.reactor_ = reactor.get();
          self.scope_.emplace(*reactor);  // before the loop reads its first time
          return std::unique_ptr<platform::Reactor>(std::move(reactor));
        },
        this);
    loop_ = std::move(made.value());
    server_ = std::make_unique<Server>(*loop_, app, std::move(options));
    listener_ = reactor_->listen();
    EXPECT_EQ(server_->listen(listener_, false).code, platform::Errc::ok);
  }
  ~SimServer() {
    shut_down();
    EXPECT_TRUE(server_->closed());
    EXPECT_EQ(app.live(), 0U) << "the test left exchanges unreleased";
    server_.reset();
    if (after_server) after_server();
    EXPECT_EQ(loop_->buffers().lent(), 0U);
    EXPECT_EQ(loop_->blocks().blocks_in_use(), 0U);
    EXPECT_EQ(loop_->blocks().pieces_in_use(), 0U);
    EXPECT_EQ(loop_->frames_in_use(), 0U);
    EXPECT_EQ(reactor_->open_sockets(), 1U) << "the test's own listener is left, and nothing else";
    scope_.reset();
    loop_.reset();
  }

  static ServerOptions plain_options() {
    ServerOptions options;
    options.date_header = false;  // tests that compare whole answers
    return options;
  }

  Peer& connect() { return reactor_->connect(listener_); }
  // Everything that happens without waiting for a time-out.
  void run() {
    for (int turns = 0, waits = 0; turns < kMostTurns && waits < kMostWaits;) {
      app.run();
      // Asked first: what they send is mail, and so work.
      const bool others_are_idle = loop_->files_are_idle() && loop_->tasks_are_home();
      if (!app.pending() && !loop_->has_work() && reactor_->idle()) {
        if (others_are_idle) return;
        // Those threads are real, and a busy machine lets them wait. (Windows knows no sleep below a millisecond.)
        ++waits;
        std::this_thread::sleep_for(1ms);
        continue;
      }
      ++turns;
      loop_->run_once(reactor_->now() + 1ms);
    }
    ADD_FAILURE() << "the server does not come to rest";
  }
  void pass(platform::Clock::duration time) {
    const TimePoint until = reactor_->now() + time;
    run();
    while (reactor_->now() < until) {
      loop_->run_once(until);
      run();
    }
  }
  // Sends, lets the server do what it can at once, and gives what came back.
  std::string exchange(Peer& peer, std::string_view input) {
    peer.write(input);
    run();
    return peer.take_received();
  }
  std::string once(std::string_view input) {
    Peer& peer = connect();
    std::string answer = exchange(peer, input);
    peer.close();
    run();
    return answer;
  }
  void shut_down() {
    server_->stop_listening();
    for (Exchange* exchange : app.all()) app.release(*exchange);
    server_->abort();
    for (int i = 0; i < 10'000 && !server_->closed(); ++i) {
      app.run();
      loop_->run_once(reactor_->now() + 1ms);
    }
    for (Exchange* exchange : app.all()) app.release(*exchange);
  }

  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] net::Loop& loop() { return *loop_; }
  [[nodiscard]] SimReactor& reactor() { return *reactor_; }

  TestApp app;
  // Called when the server is gone, and its loop is not.
  std::function<void()> after_server;

 private:
  static constexpr int kMostTurns = 1'000'000;
  static constexpr int kMostWaits = 60'000;  // of a millisecond, or somewhat more

  FaultPlan plan_;
  SimReactor* reactor_ = nullptr;
  std::optional<SimScope> scope_;
  std::unique_ptr<net::Loop> loop_;
  std::unique_ptr<Server> server_;
  platform::NativeSocket listener_ = platform::no_socket;
};

// One answer as a client sees it.
struct Answer {
  int status = 0;
  std::string head;  // status line and fields, with the empty line
  std::string body;  // decoded
  std::string trailers;
  [[nodiscard]] bool has(std::string_view line) const {
    return head.find(std::string(line) + "\r\n") != std::string::npos;
  }
};

// Splits what a server sent into answers, as a strict client would. `methods` names the request of each answer, for
// HEAD. A body that only the end of the connection ends takes the rest.
inline std::vector<Answer> split_answers(std::string_view bytes, const std::vector<std::string>& methods = {}) {
  std::vector<Answer> answers;
  std::size_t finals = 0;
  while (!bytes.empty()) {
    const std::size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos || !bytes.starts_with("HTTP/1.1 ")) {
      ADD_FAILURE() << "not an answer: " << bytes.substr(0, 200);
      return answers;
    }
    Answer& answer = answers.emplace_back();
    answer.head = bytes.substr(0, end + 4);
    answer.status = std::stoi(answer.head.substr(9, 3));
    bytes.remove_prefix(end + 4);
    if (answer.status < 200) continue;
    const bool is_head = finals < methods.size() && methods[finals] == "HEAD";
    ++finals;
    if (is_head || answer.status == 204 || answer.status == 304) continue;
    const std::size_t length_at = answer.head.find("\r\ncontent-length: ");
    if (length_at != std::string::npos) {
      EXPECT_FALSE(answer.head.find("\r\ntransfer-encoding:") != std::string::npos);
      const std::size_t length = std::stoull(answer.head.substr(length_at + 18));
      EXPECT_LE(length, bytes.size()) << "the body is cut";
      answer.body = bytes.substr(0, length);
      bytes.remove_prefix(std::min(length, bytes.size()));
    } else if (answer.has("transfer-encoding: chunked")) {
      while (true) {
        const std::size_t line = bytes.find("\r\n");
        if (line == std::string_view::npos) {
          ADD_FAILURE() << "a chunked body is cut";
          return answers;
        }
        const std::size_t size = std::stoull(std::string(bytes.substr(0, line)), nullptr, 16);
        bytes.remove_prefix(line + 2);
        if (size == 0) break;
        if (bytes.size() < size + 2 || bytes.substr(size, 2) != "\r\n") {
          ADD_FAILURE() << "a chunk is cut, or not ended by CRLF";
          return answers;
        }
        answer.body.append(bytes.substr(0, size));
        bytes.remove_prefix(size + 2);
      }
      while (!bytes.starts_with("\r\n")) {
        const std::size_t line = bytes.find("\r\n");
        if (line == std::string_view::npos) {
          ADD_FAILURE() << "a trailer section is cut";
          return answers;
        }
        answer.trailers.append(bytes.substr(0, line + 2));
        bytes.remove_prefix(line + 2);
      }
      bytes.remove_prefix(2);
    } else {
      answer.body = bytes;
      bytes = {};
    }
  }
  return answers;
}

}  // namespace pyre::http::test
