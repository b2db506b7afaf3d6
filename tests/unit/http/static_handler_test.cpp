// Static files by a whole server on the simulated reactor: what is answered natively, what the application gets, and
// that nothing is lost on the way.
#include "http/static_handler.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <thread>

#include "net/file_pool.h"
#include "sim_server.h"
#include "support/files.h"

namespace pyre::http::test {
namespace {

std::string get(std::string_view path, std::string_view fields = "") {
  return std::string("GET ").append(path).append(" HTTP/1.1\r\nHost: a\r\n").append(fields).append("\r\n");
}

class Static : public ::testing::Test {
 protected:
  Static() { make(); }
  void make(std::uint32_t connections = 1000) {
    server.reset();
    folder.make_file("a.txt", "hello");
    folder.make_file("large", std::string(100'000, 'x'));
    auto files = std::make_shared<StaticFiles>();
    EXPECT_EQ(files->add("/static", folder.file("").c_str()).code, platform::Errc::ok);
    EXPECT_EQ(files->add("/", folder.file("").c_str()).code, platform::Errc::ok);
    ServerOptions options = SimServer::plain_options();
    options.static_files = std::move(files);
    options.limits.connections = connections;
    server.emplace(std::move(options));
  }
  std::vector<Answer> ask(std::string_view input) { return split_answers(server->once(input)); }
  const pyre::test::TemporaryFolder folder;
  std::optional<SimServer> server;
};

TEST_F(Static, a_file_is_answered_and_the_application_never_asked) {
  const std::vector<Answer> answers = ask(get("/static/a.txt"));
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].status, 200);
  EXPECT_EQ(answers[0].body, "hello");
  EXPECT_TRUE(answers[0].has("content-type: text/plain; charset=utf-8"));
  EXPECT_TRUE(answers[0].has("content-length: 5"));
  EXPECT_EQ(server->app.requests, 0);
}

TEST_F(Static, pipelined_requests_are_answered_in_order_whoever_answers) {
  const std::vector<Answer> answers = ask(get("/static/a.txt") + get("/app") + get("/static/none") + get("/a.txt") +
                                          get("/static/large") + get("/other") + get("/static/a.txt"));
  ASSERT_EQ(answers.size(), 7U);
  EXPECT_EQ(answers[0].body, "hello");
  EXPECT_EQ(answers[1].body, "Hello, world!");
  EXPECT_EQ(answers[2].status, 404);
  EXPECT_EQ(answers[3].body, "hello");
  EXPECT_EQ(answers[4].body.size(), 100'000U);
  EXPECT_EQ(answers[5].body, "Hello, world!");
  EXPECT_EQ(answers[6].body, "hello");
  EXPECT_EQ(server->app.requests, 2);
}

TEST_F(Static, many_more_pipelined_requests_than_wait_at_once_are_answered) {
  std::string input;
  for (int i = 0; i < 500; ++i) input += get(i % 2 == 0 ? "/static/a.txt" : "/static/none");
  const std::vector<Answer> answers = ask(input);
  ASSERT_EQ(answers.size(), 500U);
  for (std::size_t i = 0; i < answers.size(); ++i) EXPECT_EQ(answers[i].status, i % 2 == 0 ? 200 : 404);
}

TEST_F(Static, below_the_root_the_application_has_what_is_not_there) {
  EXPECT_EQ(ask(get("/a.txt"))[0].body, "hello");
  EXPECT_EQ(ask(get("/b.txt"))[0].body, "Hello, world!");
  EXPECT_EQ(ask(get("/"))[0].body, "Hello, world!") << "there is no index.html";
  EXPECT_EQ(ask(get("/../x"))[0].body, "Hello, world!") << "what is refused is the application's, too";
  EXPECT_EQ(ask("POST /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")[0].body, "Hello, world!");
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")[0].body, "Hello, world!");
}

TEST_F(Static, a_half_close_while_the_file_is_looked_for_reaches_the_application) {
  Peer& peer = server->connect();
  peer.write(get("/b.txt"));
  peer.finish();
  server->run();
  EXPECT_EQ(split_answers(peer.take_received()).at(0).body, "Hello, world!");
  EXPECT_EQ(server->app.requests, 1);
}

TEST_F(Static, other_methods_are_refused_and_their_bodies_dropped) {
  const std::vector<Answer> answers =
      ask("POST /static/a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + get("/static/a.txt"));
  ASSERT_EQ(answers.size(), 2U);
  EXPECT_EQ(answers[0].status, 405);
  EXPECT_TRUE(answers[0].has("allow: GET, HEAD, OPTIONS"));
  EXPECT_EQ(answers[1].body, "hello");
  EXPECT_EQ(ask("OPTIONS /static/a.txt HTTP/1.1\r\nHost: a\r\n\r\n")[0].status, 204);
}

TEST_F(Static, a_change_is_seen_after_a_second) {
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "hello");
  std::filesystem::rename(folder.make_file("new", "other"), folder.path() / "a.txt");
  server->pass(1001ms);
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "other");
  std::filesystem::remove(folder.path() / "a.txt");
  server->pass(1001ms);
  EXPECT_EQ(ask(get("/static/a.txt"))[0].status, 404);
  folder.make_file("a.txt", "back");
  server->pass(1001ms);
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "back");
}

// Both threads of the file pool wait, as on a disk that hangs.
class Stalled {
 public:
  explicit Stalled(net::Loop& loop) {
    for (auto& call : calls_) EXPECT_EQ(loop.files()->submit(loop, call), platform::Errc::ok);
  }
  ~Stalled() { end(); }
  void end() { over_.store(true); }

 private:
  struct Call : net::FilePool::CallRequest {
    explicit Call(std::atomic<bool>& o)
        : CallRequest([](net::Letter&) noexcept {},
                      [](CallRequest& request) noexcept {
                        while (!static_cast<Call&>(request).over)
                          std::this_thread::sleep_for(std::chrono::milliseconds(1));
                      }),
          over(o) {}
    std::atomic<bool>& over;
  };
  std::atomic<bool> over_{false};
  std::array<Call, net::FilePool::kThreads> calls_{Call(over_), Call(over_)};
};

TEST_F(Static, a_file_in_demand_is_served_as_it_was_while_the_disk_hangs) {
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "hello");
  Stalled disk(server->loop());
  std::filesystem::rename(folder.make_file("new", "other"), folder.path() / "a.txt");
  Peer& peer = server->connect();
  const auto ask_now = [&] {  // run() would wait for the disk
    peer.write(get("/static/a.txt"));
    for (int i = 0; i < 10; ++i) server->loop().run_once(server->reactor().now());
    return split_answers(peer.take_received());
  };
  for (int i = 0; i < 60; ++i) server->loop().run_once(server->reactor().now() + 10ms);
  std::vector<Answer> answers = ask_now();
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].body, "hello");
  for (int i = 0; i < 60; ++i) server->loop().run_once(server->reactor().now() + 100ms);
  answers = ask_now();
  ASSERT_EQ(answers.size(), 1U) << "its look-up is still under way";
  EXPECT_EQ(answers[0].body, "hello");
  disk.end();
  server->run();
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "other");
}

TEST_F(Static, a_disk_that_hangs_leaves_half_of_the_connections_to_others) {
  make(8);
  ASSERT_EQ(ask(get("/app"))[0].body, "Hello, world!");
  Stalled disk(server->loop());
  const auto run_now = [&] {
    for (int i = 0; i < 10; ++i) {
      server->loop().run_once(server->reactor().now());
      server->app.run();
    }
  };
  std::vector<Peer*> peers;
  for (int i = 0; i < 6; ++i) peers.push_back(&server->connect());
  for (Peer* peer : peers) peer->write(get("/static/a.txt"));
  run_now();
  int refused = 0;
  for (Peer* peer : peers) refused += peer->received().starts_with("HTTP/1.1 503") ? 1 : 0;
  EXPECT_EQ(refused, 2);
  int left = 0;
  for (Peer* peer : peers) {
    if (!peer->received().empty() || left == 2) continue;
    peer->reset();
    ++left;
  }
  run_now();
  disk.end();
  server->run();
  int answered = 0;
  for (Peer* peer : peers) answered += peer->received().ends_with("hello") ? 1 : 0;
  EXPECT_EQ(answered, 2);
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "hello");
}

TEST_F(Static, more_files_than_are_kept_are_served_all_the_same) {
  const std::size_t count = OpenFiles::kMaxDescriptors + 50;
  for (std::size_t i = 0; i < count; ++i)
    folder.make_file("f" + std::to_string(i), std::string(StaticFile::kMaxInMemory + 1 + i, 'x'));
  for (int round = 0; round < 2; ++round)
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_EQ(ask(get("/static/f" + std::to_string(i))).at(0).body.size(), StaticFile::kMaxInMemory + 1 + i);
  for (std::size_t i = 0; i < OpenFiles::kMaxMissing + 50; ++i)
    EXPECT_EQ(ask(get("/static/none" + std::to_string(i))).at(0).status, 404);
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "hello");
}

TEST_F(Static, clients_that_leave_while_their_file_is_looked_for_leave_nothing_behind) {
  std::vector<Peer*> peers;
  for (int i = 0; i < 20; ++i) {
    peers.push_back(&server->connect());
    peers.back()->write(get("/static/" + std::to_string(i % 3)) + get("/static/a.txt") + get("/x"));
  }
  for (int i = 0; i < 3; ++i) server->loop().run_once(server->reactor().now());
  for (Peer* peer : peers) peer->reset();
  server->run();
  EXPECT_EQ(server->server().stats().connections_open, 0U);
  EXPECT_EQ(ask(get("/static/a.txt"))[0].body, "hello");
}

TEST_F(Static, a_server_that_ends_while_files_are_looked_for_waits_for_nothing) {
  for (int i = 0; i < 20; ++i) server->connect().write(get("/static/" + std::to_string(i)));
  for (int i = 0; i < 3; ++i) server->loop().run_once(server->reactor().now());
  server.reset();  // checks for itself that nothing is left
}

}  // namespace
}  // namespace pyre::http::test
