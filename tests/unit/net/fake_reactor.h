// FakeReactor: a reactor that a test drives by hand. Nothing happens by itself: the test puts bytes, ends and errors on
// a socket, holds sends back or lets them go, and poll() reports what is due, in order. For whole runs with faults
// there is the simulated reactor.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/loop.h"
#include "platform/clock.h"
#include "platform/reactor.h"
#include "platform/socket.h"

namespace pyre::net::testing {

using platform::Errc;
using platform::NativeSocket;
using platform::Result;

// The time of the test's thread.
class FakeClock {
 public:
  FakeClock() {
    time_ = TimePoint{} + std::chrono::hours(1000);
    platform::override_clock_for_tests([]() noexcept { return time_; });
  }
  ~FakeClock() { platform::override_clock_for_tests(nullptr); }
  FakeClock(const FakeClock&) = delete;
  FakeClock& operator=(const FakeClock&) = delete;
  static void advance(std::chrono::milliseconds by) { time_ += by; }
  [[nodiscard]] static TimePoint now() { return time_; }

 private:
  static inline thread_local TimePoint time_{};
};

struct FakeSocket final : platform::Socket {
  FakeSocket() noexcept = default;
  ~FakeSocket() = default;

  struct Input {
    std::string bytes;
    Result result;
  };
  NativeSocket native = platform::no_socket;
  std::deque<Input> input;
  platform::RecvOp* recv = nullptr;
  platform::SendOp* send = nullptr;
  platform::SendFileOp* file = nullptr;
  std::deque<platform::AcceptOp*> accepts;
  std::string sent;                 // everything that was taken, files as "[offset+count]"
  std::vector<std::size_t> pieces;  // of each send
  std::vector<bool> more;           // of each send, of memory or of a file
  std::vector<std::size_t> heads;   // bytes before each file
  bool hold_sends = false;
  bool finished = false;
  bool closing = false;
  bool gone = false;
  bool reset = false;
  int recvs = 0;

  void put(std::string_view bytes) {
    input.push_back({std::string(bytes), {Errc::ok, static_cast<std::uint32_t>(bytes.size()), 0}});
  }
  void put(Errc code) { input.push_back({{}, {code, 0, 0}}); }
};

class FakeReactor final : public platform::Reactor, private platform::SocketOverride {
 public:
  explicit FakeReactor(platform::BufferSource& buffers) : buffers_(buffers) {
    platform::override_sockets_for_tests(this);
  }
  ~FakeReactor() override { platform::override_sockets_for_tests(nullptr); }

  // ---- the test's side
  [[nodiscard]] NativeSocket make_socket() {
    const NativeSocket native = next_++;
    open_handles.push_back(native);
    return native;
  }
  [[nodiscard]] FakeSocket& at(NativeSocket native) { return *sockets_.at(native); }
  [[nodiscard]] FakeSocket& last() { return *sockets_.rbegin()->second; }
  void let_send_go(FakeSocket& socket, Result result = {}) {
    platform::SendOp& op = *std::exchange(socket.send, nullptr);
    std::string all;
    for (const platform::ConstBytes piece : op.pieces)
      all.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    if (result.ok()) result.bytes = static_cast<std::uint32_t>(all.size());
    socket.sent += all.substr(0, result.bytes);
    op.progress = result.bytes;
    ready_.push_back({&op, result, nullptr});
  }
  void let_file_go(FakeSocket& socket, Result result = {}) {
    platform::SendFileOp& op = *std::exchange(socket.file, nullptr);
    const auto head = static_cast<std::uint32_t>(op.head.size());
    if (result.ok()) result.bytes = head + op.count;
    const std::uint32_t of_head = std::min(result.bytes, head);
    socket.sent.append(reinterpret_cast<const char*>(op.head.data()), of_head);
    socket.sent += "[" + std::to_string(op.offset) + "+" + std::to_string(result.bytes - of_head) + "]";
    op.progress = result.bytes;
    ready_.push_back({&op, result, nullptr});
  }
  void finish_accept(FakeSocket& listener, Result result = {}) {
    platform::AcceptOp& op = *listener.accepts.front();
    listener.accepts.pop_front();
    if (result.ok()) op.peer = make_socket();
    ready_.push_back({&op, result, nullptr});
  }
  std::vector<TimePoint> poll_untils;
  std::vector<TimePoint> alarms;
  std::vector<NativeSocket> open_handles;
  std::function<void()> on_poll;
  std::size_t pretend_callbacks = 0;  // the next poll() claims so many more
  int duplicates_left = 1000;
  int wakes = 0;
  bool attach_fails = false;

  // ---- platform::Reactor
  platform::Expected<platform::Socket*> attach(NativeSocket native) noexcept override {
    if (attach_fails) return platform::Error{Errc::exhausted, 0};
    auto& socket = sockets_[native];
    socket = std::make_unique<FakeSocket>();
    socket->native = native;
    return static_cast<platform::Socket*>(socket.get());
  }
  void accept(platform::Socket& base, platform::AcceptOp& op) noexcept override {
    op.in_flight = true;
    as_fake(base).accepts.push_back(&op);
  }
  void recv(platform::Socket& base, platform::RecvOp& op) noexcept override {
    FakeSocket& socket = as_fake(base);
    if (socket.recv != nullptr || socket.closing) std::abort();
    op.in_flight = true;
    socket.recv = &op;
    ++socket.recvs;
  }
  void send(platform::Socket& base, platform::SendOp& op) noexcept override {
    FakeSocket& socket = as_fake(base);
    if (socket.send != nullptr || socket.file != nullptr || socket.closing || socket.finished) std::abort();
    op.in_flight = true;
    op.progress = 0;
    socket.send = &op;
    socket.pieces.push_back(op.pieces.size());
    socket.more.push_back(op.more);
    if (!socket.hold_sends) let_send_go(socket);
  }
  void send_file(platform::Socket& base, platform::SendFileOp& op) noexcept override {
    FakeSocket& socket = as_fake(base);
    if (socket.send != nullptr || socket.file != nullptr || socket.closing || socket.finished) std::abort();
    if (op.count > platform::kMaxSendFileBytes) std::abort();
    op.in_flight = true;
    op.progress = 0;
    socket.file = &op;
    socket.heads.push_back(op.head.size());
    socket.more.push_back(op.more);
    if (!socket.hold_sends) let_file_go(socket);
  }
  void finish_sending(platform::Socket& base) noexcept override {
    FakeSocket& socket = as_fake(base);
    if (socket.send != nullptr || socket.file != nullptr || socket.closing || socket.finished) std::abort();
    socket.finished = true;
  }
  void close(platform::Socket& base, platform::Op& closed) noexcept override {
    FakeSocket& socket = as_fake(base);
    if (socket.closing) std::abort();
    socket.closing = true;
    const Result cancelled{Errc::cancelled, 0, 0};
    if (socket.recv != nullptr) ready_.push_back({std::exchange(socket.recv, nullptr), cancelled, nullptr});
    if (socket.send != nullptr) {
      ready_.push_back({socket.send, {Errc::cancelled, static_cast<std::uint32_t>(socket.send->progress), 0}, nullptr});
      socket.send = nullptr;
    }
    if (socket.file != nullptr) ready_.push_back({std::exchange(socket.file, nullptr), cancelled, nullptr});
    for (platform::AcceptOp* op : socket.accepts) ready_.push_back({op, cancelled, nullptr});
    socket.accepts.clear();
    closed.in_flight = true;
    ready_.push_back({&closed, {}, &socket});
    std::erase(open_handles, socket.native);
  }
  void wake() noexcept override { ++wakes; }
  std::size_t poll(TimePoint until) noexcept override {
    poll_untils.push_back(until);
    if (on_poll) on_poll();
    std::size_t ran = run_ready() + std::exchange(pretend_callbacks, 0);
    for (auto& [native, socket] : sockets_) {
      if (socket->recv == nullptr || socket->input.empty()) continue;
      FakeSocket::Input input = std::move(socket->input.front());
      socket->input.pop_front();
      platform::RecvOp& op = *std::exchange(socket->recv, nullptr);
      if (input.result.ok()) {
        op.data = buffers_.lend();
        if (!op.data) {
          socket->input.push_front(std::move(input));
          report(op, {Errc::exhausted, 0, 0});
          ++ran;
          continue;
        }
        std::copy(input.bytes.begin(), input.bytes.end(), reinterpret_cast<char*>(op.data.data()));
        op.data.set_size(static_cast<std::uint32_t>(input.bytes.size()));
      }
      report(op, input.result);
      ++ran;
    }
    return ran;
  }
  std::size_t run_ready() noexcept override {
    std::size_t ran = 0;
    for (std::size_t count = ready_.size(); count != 0; --count, ++ran) {
      const Ready ready = ready_.front();
      ready_.pop_front();
      if (ready.gone != nullptr) ready.gone->gone = true;
      report(*ready.op, ready.result);
    }
    return ran;
  }
  [[nodiscard]] bool has_ready() const noexcept override { return !ready_.empty(); }
  [[nodiscard]] NativeSocket pollable_handle() const noexcept override { return platform::no_socket; }
  void arm_alarm(TimePoint when) noexcept override { alarms.push_back(when); }
  void abandon_after_fork() noexcept override { ready_.clear(); }
  [[nodiscard]] const platform::ReactorStats& stats() const noexcept override { return stats_; }

 private:
  struct Ready {
    platform::Op* op;
    Result result;
    FakeSocket* gone;
  };
  static FakeSocket& as_fake(platform::Socket& socket) { return static_cast<FakeSocket&>(socket); }
  static void report(platform::Op& op, Result result) {
    op.in_flight = false;
    op.done(op, result);
  }

  // ---- platform::SocketOverride
  [[nodiscard]] bool owns(NativeSocket native) const noexcept override { return native >= kFirst; }
  void set_linger_zero(NativeSocket native) noexcept override { at(native).reset = true; }
  void close(NativeSocket native) noexcept override { std::erase(open_handles, native); }
  [[nodiscard]] bool is_listening(NativeSocket) const noexcept override { return false; }
  [[nodiscard]] platform::Expected<NativeSocket> duplicate(NativeSocket) noexcept override {
    if (duplicates_left == 0) return platform::Error{Errc::exhausted, 0};
    --duplicates_left;
    return make_socket();
  }

  static constexpr NativeSocket kFirst = 1'000'000;
  platform::BufferSource& buffers_;
  NativeSocket next_ = kFirst;
  std::map<NativeSocket, std::unique_ptr<FakeSocket>> sockets_;
  std::deque<Ready> ready_;
  platform::ReactorStats stats_;
};

// A loop on a fake reactor, on the fake clock.
struct FakeLoop {
  FakeLoop() {
    auto made = Loop::create(
        [](platform::BufferSource& buffers, void* context) -> platform::Expected<std::unique_ptr<platform::Reactor>> {
          auto made_reactor = std::make_unique<FakeReactor>(buffers);
          static_cast<FakeLoop*>(context)->reactor = made_reactor.get();
          return std::unique_ptr<platform::Reactor>(std::move(made_reactor));
        },
        this);
    loop = std::move(made.value());
  }
  void tick(int times = 1) {
    while (times-- > 0) loop->run_once(TimePoint::min());
  }
  FakeClock clock;
  FakeReactor* reactor = nullptr;
  std::unique_ptr<Loop> loop;
};

}  // namespace pyre::net::testing
