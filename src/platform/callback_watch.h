// CallbackWatch: how a backend calls the callback of a finished operation. Debug builds look at the clock, count those
// that take more than 1 ms, since they hold up every connection of the loop, and name one a second on stderr, unless
// PYRE_DEBUG_SLOW_CALLBACKS is 0. Release builds only call.
#pragma once

#include "platform/reactor.h"

#ifndef NDEBUG
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "platform/clock.h"
#endif

namespace pyre::platform {

class CallbackWatch {
 public:
#ifndef NDEBUG
  CallbackWatch() noexcept {
    const char* const setting = std::getenv("PYRE_DEBUG_SLOW_CALLBACKS");
    names_ = setting == nullptr || std::string_view(setting) != "0";
  }
#endif

  void run(Op& op, Result result, ReactorStats& stats) noexcept {
    ++stats.completions;
    op.in_flight = false;
#ifndef NDEBUG
    const Op::Done done = op.done;
    const TimePoint before = Clock::now();
    done(op, result);
    const TimePoint after = Clock::now();
    if (after - before <= std::chrono::milliseconds(1)) return;
    ++stats.slow_callbacks;
    if (!names_ || after - last_named_ < std::chrono::seconds(1)) return;
    last_named_ = after;
    const auto spent = std::chrono::duration_cast<std::chrono::microseconds>(after - before).count();
    std::fprintf(stderr, "pyre: a reactor callback (%p) took %lld us\n", reinterpret_cast<void*>(done),
                 static_cast<long long>(spent));
#else
    op.done(op, result);
#endif
  }

#ifndef NDEBUG
 private:
  TimePoint last_named_{};
  bool names_ = false;
#endif
};

}  // namespace pyre::platform
