// Streams over the system's own reactor: an echo server, and fixtures with the other end of its connection.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "net/stream.h"
#include "support/files.h"
#include "support/sockets.h"

namespace pyre::net {

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

class StreamNativeTest : public ::testing::Test {
 protected:
  void SetUp() override { loop_ = std::move(Loop::create().value()); }
  void open(Echo& echo) {
    const test::SocketPair pair = test::connected_pair();
    ASSERT_EQ(echo.stream.open(pair.server), Errc::ok);
    peer_ = pair.client;
  }
  void TearDown() override { close_peer(); }
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
  void close_peer() {
    if (peer_ != platform::no_socket) test::close_it(std::exchange(peer_, platform::no_socket));
  }
  // What the peer has received by now, while the loop runs; its socket is left non-blocking.
  std::string receive(std::size_t wanted) {
    test::set_blocking(peer_, false);
    std::string all;
    char buffer[64];
    while (all.size() < wanted) {
      const test::Moved moved = test::read_some(peer_, buffer, sizeof buffer);
      if (moved.outcome == test::Outcome::done) {
        all.append(buffer, moved.bytes);
      } else if (moved.outcome == test::Outcome::would_block) {
        loop_->run_once(loop_->now() + std::chrono::milliseconds(10));
      } else {
        break;
      }
    }
    return all;
  }

  std::unique_ptr<Loop> loop_;
  platform::NativeSocket peer_ = platform::no_socket;
};

class StreamNativeFileTest : public StreamNativeTest {
 protected:
  void SetUp() override {
    StreamNativeTest::SetUp();
    contents_.resize(3 * 1024 * 1024 + 77);
    std::uint32_t state = 7;
    for (char& c : contents_) c = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24);
    file_ = std::make_unique<test::TemporaryFile>(contents_);
  }
  Borrowed owner() {
    return {this, [](void* self) noexcept {
              auto& test = *static_cast<StreamNativeFileTest*>(self);
              ++test.released_;
              test.file_.reset();
            }};
  }
  void send_and_compare() {
    Echo echo(*loop_);
    open(echo);
    ASSERT_TRUE(echo.stream.output().append(std::as_bytes(std::span("head", 4))));
    ASSERT_TRUE(echo.stream.output().append_file(file_->native(), 1, contents_.size() - 1, owner()));
    ASSERT_TRUE(echo.stream.output().append(std::as_bytes(std::span("tail", 4))));
    echo.stream.finish_sending();
    std::string received;
    std::thread reader([&] { received = test::read_all(peer_); });
    run_until([&] { return echo.stream.output().empty(); });
    loop_->run_once(TimePoint::min());
    EXPECT_EQ(released_, 1);
    reader.join();
    EXPECT_TRUE(received == "head" + contents_.substr(1) + "tail");
    close(echo);
  }
  std::unique_ptr<test::TemporaryFile> file_;
  int released_ = 0;
  std::string contents_;
};

inline bool never_cached(platform::NativeFile, std::uint64_t) noexcept { return false; }

}  // namespace pyre::net
