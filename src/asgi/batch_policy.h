// BatchPolicy: how much Python one tick may run before it yields to the event loop. Pure; tested without Python.
#pragma once

#include <chrono>
#include <cstdint>

#include "platform/op.h"

namespace pyre::asgi {

class BatchPolicy {
 public:
  // 64 first steps of a small app are ~200 us. 500 us bounds what a tick adds to the latency of the app's own timers
  // and sockets when its handlers are slow: the check comes after each step, so a tick ends with the step that passes
  // the mark.
  static constexpr std::uint32_t kMaxSteps = 64;
  static constexpr std::chrono::microseconds kMaxTime{500};

  explicit BatchPolicy(platform::TimePoint start) noexcept : end_(start + kMaxTime) {}
  // Call after each step; true: go on.
  [[nodiscard]] bool step_done(platform::TimePoint now) noexcept { return ++steps_ < kMaxSteps && now < end_; }
  [[nodiscard]] std::uint32_t steps() const noexcept { return steps_; }

 private:
  platform::TimePoint end_;
  std::uint32_t steps_ = 0;
};

// InLine: how many pipelined requests of one connection may run in a row, so that their answers leave in one write.
// Each write costs about as much as the Python of a small app; but the other connections wait meanwhile.
class InLine {
 public:
  static constexpr std::uint32_t kMaxRequests = 16;          // Limits::pipelined_heads
  static constexpr std::chrono::microseconds kMaxTime{100};  // a fifth of a batch

  // A request of another connection, or the first: a new row.
  void begin(platform::TimePoint now) noexcept {
    start_ = now;
    count_ = 1;
  }
  // May one more of the same connection run now? Counts it if so.
  [[nodiscard]] bool admit(platform::TimePoint now) noexcept {
    if (count_ >= kMaxRequests || now - start_ >= kMaxTime) return false;
    ++count_;
    return true;
  }

 private:
  platform::TimePoint start_{};
  std::uint32_t count_ = 0;
};

}  // namespace pyre::asgi
