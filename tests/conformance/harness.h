// What the conformance suite needs to know about a backend: how to make one, and how to play the other end of its
// connections.
#pragma once

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "platform/clock.h"
#include "platform/reactor.h"

namespace pyre::platform::test {

// Counts what is lent, and can run dry.
class CountingBuffers final : public BufferSource {
 public:
  explicit CountingBuffers(std::uint32_t capacity = 4096) noexcept : capacity_(capacity) {}
  [[nodiscard]] Lease lend() noexcept override {
    if (lent >= limit) return {};
    ++lent;
    ++total;
    return {*this, static_cast<std::byte*>(std::malloc(capacity_)), capacity_};
  }
  void take_back(std::byte* data, std::uint32_t capacity) noexcept override {
    if (capacity != capacity_) std::abort();
    --lent;
    std::free(data);
  }
  std::uint32_t lent = 0;
  std::uint32_t total = 0;
  std::uint32_t limit = 1000;

 private:
  std::uint32_t capacity_;
};

// The other end. Calls do not block; what they do happens in Harness::pump() and the next polls.
class Client {
 public:
  virtual ~Client() = default;
  virtual void write(std::string_view bytes) = 0;
  virtual void finish() = 0;  // FIN
  virtual void reset() = 0;   // RST, behind what was written
  virtual void stop_reading() = 0;
  virtual void resume_reading() = 0;
  [[nodiscard]] virtual const std::string& received() = 0;
  [[nodiscard]] virtual bool saw_end() = 0;
  [[nodiscard]] virtual bool saw_reset() = 0;
};

class Harness {
 public:
  virtual ~Harness() = default;
  [[nodiscard]] virtual Reactor& reactor() = 0;
  [[nodiscard]] virtual std::unique_ptr<Client> pair(NativeSocket& server_end) = 0;
  [[nodiscard]] virtual NativeSocket listen() = 0;
  [[nodiscard]] virtual std::unique_ptr<Client> connect(NativeSocket listener) = 0;
  virtual void pump() = 0;                           // the clients' turn
  [[nodiscard]] virtual bool real() const = 0;       // a kernel, not a simulation
  [[nodiscard]] virtual bool has_reset() const = 0;  // the transport knows RST
  [[nodiscard]] virtual bool steady() const = 0;     // no faults: counts can be compared
  CountingBuffers buffers{4096};
};

// Runs the reactor and the clients until `reached`. False if that takes absurdly long (a guard against hanging).
inline bool run_until(Harness& harness, const std::function<bool()>& reached) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < give_up) {
    harness.pump();
    if (reached()) return true;
    harness.reactor().poll(now() + std::chrono::milliseconds(2));
    if (reached()) return true;
  }
  return false;
}

// Lets everything happen that is going to.
inline void settle(Harness& harness) {
  for (int i = 0; i < 8; ++i) {
    harness.pump();
    harness.reactor().poll(now() + std::chrono::milliseconds(4));
  }
  for (int i = 0; i < 10000 && harness.reactor().has_ready(); ++i) harness.reactor().poll(TimePoint::min());
}

// Ops that write down what happened to them. `log` is shared where the order matters.
struct Record {
  std::vector<Result> results;
  std::vector<std::string>* log = nullptr;
  const char* name = "";
  int running = 0;  // depth of `done`, over all ops of a test, if shared
  std::function<void()> then;
  void note(Result result) {
    results.push_back(result);
    if (log != nullptr) log->push_back(name);
    if (then) then();
  }
  [[nodiscard]] bool done() const { return !results.empty(); }
  [[nodiscard]] Errc code() const { return results.empty() ? Errc::other : results.back().code; }
};

struct TestOp : Op, Record {
  TestOp() {
    Op::done = [](Op& op, Result result) noexcept { static_cast<TestOp&>(op).note(result); };
  }
  using Record::done;
};

struct TestRecv : RecvOp, Record {
  std::string bytes;
  TestRecv() {
    Op::done = [](Op& op, Result result) noexcept {
      auto& self = static_cast<TestRecv&>(op);
      if (result.ok()) {
        self.bytes.append(reinterpret_cast<const char*>(self.data.data()), self.data.size());
        if (self.data.size() != result.bytes) std::abort();
      } else if (self.data) {
        std::abort();
      }
      self.data.reset();
      self.note(result);
    };
  }
  using Record::done;
};

// Receives for as long as there is something.
struct Reader : TestRecv {
  Reactor* reactor = nullptr;
  Socket* socket = nullptr;
  void start(Reactor& on, Socket& from) {
    reactor = &on;
    socket = &from;
    then = [this] {
      if (results.back().ok()) reactor->recv(*socket, *this);
    };
    reactor->recv(*socket, *this);
  }
  [[nodiscard]] bool ended() const { return !results.empty() && !results.back().ok(); }
};

struct TestSend : SendOp, Record {
  std::vector<ConstBytes> list;
  TestSend() {
    Op::done = [](Op& op, Result result) noexcept { static_cast<TestSend&>(op).note(result); };
  }
  void add(std::string_view bytes) {
    list.push_back(std::as_bytes(std::span(bytes.data(), bytes.size())));
    pieces = list;
  }
  using Record::done;
};

struct TestSendFile : SendFileOp, Record {
  TestSendFile() {
    Op::done = [](Op& op, Result result) noexcept { static_cast<TestSendFile&>(op).note(result); };
  }
  using Record::done;
};

struct TestAccept : AcceptOp, Record {
  TestAccept() {
    Op::done = [](Op& op, Result result) noexcept { static_cast<TestAccept&>(op).note(result); };
  }
  using Record::done;
};

// Bytes in which a lost or doubled piece shows.
inline std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  std::uint32_t x = 12345;
  for (char& c : text) {
    x = x * 1664525 + 1013904223;
    c = static_cast<char>('a' + (x >> 24) % 26);
  }
  return text;
}

}  // namespace pyre::platform::test
