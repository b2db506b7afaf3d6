// Streams and acceptors over the system's own reactor: socket pairs and loopback connections.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "net/acceptor.h"
#include "net/file_pool.h"
#include "net/stream.h"

namespace pyre::net {
namespace {

using platform::Errc;
using platform::Lease;
using platform::Result;

struct Echo final : StreamEvents {
  explicit Echo(Loop& loop) : stream(loop, *this) {}
  void on_data(Lease& data) noexcept override {
    received += data.size();
    if (echo) {
      if (!stream.output().append(data.bytes())) std::abort();
      stream.request_flush();
      if (stream.output().memory() > 256 * 1024) stream.set_reading(false);
    } else {
      text.append(reinterpret_cast<const char*>(data.data()), data.size());
    }
  }
  void on_end() noexcept override {
    ended = true;
    if (finish_on_end) stream.finish_sending();
  }
  void on_error(Result result) noexcept override {
    error = result.code;
    stream.close();
  }
  void on_sent() noexcept override {
    if (stream.output().memory() < 64 * 1024) stream.set_reading(true);
  }
  void on_closed() noexcept override { closed = true; }

  bool echo = true;
  bool finish_on_end = true;
  bool ended = false;
  bool closed = false;
  Errc error = Errc::ok;
  std::size_t received = 0;
  std::string text;
  Stream stream;
};

class StreamEpollTest : public ::testing::Test {
 protected:
  void SetUp() override { loop_ = std::move(Loop::create().value()); }
  void open(Echo& echo) {
    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ASSERT_EQ(::fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    ASSERT_EQ(echo.stream.open(pair[0]), Errc::ok);
    peer_ = pair[1];
  }
  void TearDown() override {
    if (peer_ >= 0) ::close(peer_);
  }
  template <typename Condition>
  void run_until(Condition condition) {
    while (!condition()) loop_->run_once(TimePoint::max());
  }
  void close(Echo& echo) {
    echo.stream.close();
    run_until([&] { return echo.closed; });
    EXPECT_EQ(loop_->buffers().lent(), 0U);
    EXPECT_EQ(loop_->blocks().blocks_in_use(), 0U);
    EXPECT_EQ(loop_->blocks().pieces_in_use(), 0U);
    EXPECT_EQ(loop_->frames_in_use(), 0U);
  }
  static std::string read_all(int fd) {
    std::string all;
    char buffer[65536];
    ssize_t count;
    while ((count = ::read(fd, buffer, sizeof buffer)) > 0) all.append(buffer, static_cast<std::size_t>(count));
    return all;
  }

  std::unique_ptr<Loop> loop_;
  int peer_ = -1;
};

TEST_F(StreamEpollTest, echoes_megabytes_byte_for_byte_with_back_pressure) {
  Echo echo(*loop_);
  open(echo);
  echo.stream.set_reading(true);
  std::string sent(8 * 1024 * 1024, '\0');
  std::uint32_t state = 1;
  for (char& c : sent) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
  std::thread writer([&] {
    std::size_t done = 0;
    while (done < sent.size()) {
      const ssize_t count = ::write(peer_, sent.data() + done, std::min<std::size_t>(sent.size() - done, 100'000));
      if (count <= 0) break;
      done += static_cast<std::size_t>(count);
    }
    ::shutdown(peer_, SHUT_WR);
  });
  std::string received;
  std::thread reader([&] {
    received = read_all(peer_);
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

TEST_F(StreamEpollTest, steady_state_costs_no_control_call) {
  Echo echo(*loop_);
  open(echo);
  echo.stream.set_reading(true);
  const auto round_trip = [&] {
    ASSERT_EQ(::write(peer_, "ping", 4), 4);
    char buffer[16];
    while (::recv(peer_, buffer, sizeof buffer, MSG_DONTWAIT) != 4) loop_->run_once(TimePoint::max());
  };
  round_trip();
  const auto before = loop_->reactor().stats();
  for (int i = 0; i < 100; ++i) round_trip();
  EXPECT_EQ(loop_->reactor().stats().control_calls, before.control_calls);
  close(echo);
}

TEST_F(StreamEpollTest, a_vanished_peer_is_an_error_for_the_writer) {
  Echo echo(*loop_);
  open(echo);
  ::close(std::exchange(peer_, -1));
  const std::string bytes(1000, 'x');
  ASSERT_TRUE(echo.stream.output().append(std::as_bytes(std::span(bytes))));
  echo.stream.request_flush();
  run_until([&] { return echo.closed; });
  EXPECT_EQ(echo.error, Errc::reset);
}

TEST_F(StreamEpollTest, close_with_a_blocked_send_gives_everything_back) {
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

class StreamEpollFileTest : public StreamEpollTest {
 protected:
  void SetUp() override {
    StreamEpollTest::SetUp();
    std::string name = ::testing::TempDir() + "stream_file_XXXXXX";
    file_ = ::mkstemp(name.data());
    ASSERT_GE(file_, 0);
    ::unlink(name.c_str());
    contents_.resize(3 * 1024 * 1024 + 77);
    std::uint32_t state = 7;
    for (char& c : contents_) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
    ASSERT_EQ(::write(file_, contents_.data(), contents_.size()), static_cast<ssize_t>(contents_.size()));
  }
  Borrowed owner() {
    return {this, [](void* self) noexcept {
              auto& test = *static_cast<StreamEpollFileTest*>(self);
              ++test.released_;
              ::close(std::exchange(test.file_, -1));
            }};
  }
  void TearDown() override {
    StreamEpollTest::TearDown();
    if (file_ >= 0) ::close(file_);
  }
  void send_and_compare() {
    Echo echo(*loop_);
    open(echo);
    ASSERT_TRUE(echo.stream.output().append(std::as_bytes(std::span("head", 4))));
    ASSERT_TRUE(echo.stream.output().append_file(file_, 1, contents_.size() - 1, owner()));
    ASSERT_TRUE(echo.stream.output().append(std::as_bytes(std::span("tail", 4))));
    echo.stream.finish_sending();
    std::string received;
    std::thread reader([&] { received = read_all(peer_); });
    run_until([&] { return echo.stream.output().empty(); });
    loop_->run_once(TimePoint::min());
    EXPECT_EQ(released_, 1);
    reader.join();
    EXPECT_TRUE(received == "head" + contents_.substr(1) + "tail");
    close(echo);
  }
  int file_ = -1;
  int released_ = 0;
  std::string contents_;
};

bool never_cached(platform::NativeFile, std::uint64_t) noexcept { return false; }

TEST_F(StreamEpollFileTest, sends_a_cached_file) { send_and_compare(); }

TEST_F(StreamEpollFileTest, reads_ahead_for_a_file_that_is_not_cached) {
  loop_->set_is_cached_for_tests(&never_cached);
  send_and_compare();
}

TEST_F(StreamEpollFileTest, close_waits_for_the_read_ahead_before_it_releases_the_file) {
  loop_->set_is_cached_for_tests(&never_cached);
  Echo echo(*loop_);
  open(echo);
  ASSERT_TRUE(echo.stream.output().append_file(file_, 0, contents_.size(), owner()));
  echo.stream.request_flush();
  loop_->flush();  // the read-ahead is on its way
  echo.stream.close();
  EXPECT_EQ(released_, 0);
  run_until([&] { return echo.closed; });
  EXPECT_EQ(released_, 1);
}

TEST_F(StreamEpollFileTest, a_file_shorter_than_promised_is_an_error) {
  for (const bool cached : {true, false}) {
    if (!cached) loop_->set_is_cached_for_tests(&never_cached);
    Echo echo(*loop_);
    open(echo);
    const int copy = ::dup(file_);
    ASSERT_TRUE(echo.stream.output().append_file(copy, 0, contents_.size() + 10, {}));
    echo.stream.request_flush();
    std::string received;
    std::thread reader([&] { received = read_all(peer_); });
    run_until([&] { return echo.closed; });
    reader.join();
    EXPECT_EQ(echo.error, Errc::eof);
    EXPECT_TRUE(received == contents_);
    ::close(copy);
    ::close(std::exchange(peer_, -1));
  }
}

TEST_F(StreamEpollTest, accepts_over_loopback_and_tells_the_peers_address) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener, 128), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);

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
  std::vector<int> clients;
  for (std::size_t i = 0; i < kClients; ++i) {
    const int client = clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::write(client, "hi", 2), 2);
  }
  while (server.echoes.size() < kClients) {
    const std::size_t before = server.echoes.size();
    loop_->run_once(TimePoint::max());
    EXPECT_LE(server.echoes.size() - before, 16U);
  }
  EXPECT_EQ(server.last.family, platform::Endpoint::Family::ipv4);
  std::array<char, 64> text;
  EXPECT_EQ(server.last.host_text(text), "127.0.0.1");
  sockaddr_in own{};
  size = sizeof own;
  ASSERT_EQ(::getsockname(clients.back(), reinterpret_cast<sockaddr*>(&own), &size), 0);
  EXPECT_EQ(server.last.port, ntohs(own.sin_port));
  for (const int client : clients) {
    char buffer[4];
    while (::recv(client, buffer, sizeof buffer, MSG_DONTWAIT) != 2) loop_->run_once(TimePoint::max());
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
  char buffer[4];
  EXPECT_EQ(::recv(clients.front(), buffer, sizeof buffer, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
  // The listener is still the caller's, and listens.
  const int late = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::connect(late, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(late);
  for (const int client : clients) ::close(client);
  ::close(listener);
}

// What asyncio sees: a handle that becomes readable, and has_work(). The host sleeps for ever otherwise, so anything
// that the two do not tell (kept bytes, an unflushed stream, a timer, mail, a read-ahead) would hang here.
TEST_F(StreamEpollFileTest, an_embedding_host_never_sleeps_on_pending_work) {
  loop_->set_is_cached_for_tests(&never_cached);
  Echo echo(*loop_);
  open(echo);
  struct Nap : Timer {
    explicit Nap(Echo& e)
        : Timer([](Timer& timer) noexcept { static_cast<Nap&>(timer).echo.stream.set_reading(true); }), echo(e) {}
    Echo& echo;
  } nap(echo);
  ASSERT_TRUE(echo.stream.output().append_file(file_, 0, contents_.size(), owner()));
  echo.stream.request_flush();
  loop_->timers().set(nap, loop_->now() + std::chrono::milliseconds(100));
  std::string sent(2 * 1024 * 1024, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + (i >> 9));
  std::thread writer([&] {
    std::size_t done = 0;
    while (done < sent.size()) {
      const ssize_t count = ::write(peer_, sent.data() + done, std::min<std::size_t>(sent.size() - done, 70'000));
      if (count <= 0) break;
      done += static_cast<std::size_t>(count);
    }
    ::shutdown(peer_, SHUT_WR);
  });
  std::string received;
  std::thread reader([&] { received = read_all(peer_); });
  bool finished = false;
  while (!finished) {
    if (!loop_->has_work()) {
      loop_->arm_alarm();
      pollfd handle{loop_->reactor().pollable_handle(), POLLIN, 0};
      ASSERT_GE(::poll(&handle, 1, -1), 0);
    }
    loop_->run_once(TimePoint::min());
    finished = echo.ended && echo.stream.output().empty() && !loop_->has_work();
  }
  writer.join();
  reader.join();
  EXPECT_TRUE(received == contents_ + sent);
  close(echo);
}

TEST_F(StreamEpollTest, a_forked_child_leaves_the_parents_loop_alone) {
  Echo echo(*loop_);
  open(echo);
  echo.stream.set_reading(true);
  loop_->run_once(TimePoint::min());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    loop_->abandon_after_fork();
    const bool quiet = loop_->run_once(TimePoint::max()) == 0 && !loop_->has_work();
    ::_exit(quiet ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ASSERT_EQ(::write(peer_, "ping", 4), 4);
  char buffer[8];
  while (::recv(peer_, buffer, sizeof buffer, MSG_DONTWAIT) != 4) loop_->run_once(TimePoint::max());
  close(echo);
}

}  // namespace
}  // namespace pyre::net
