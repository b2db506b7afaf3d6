#include "platform/clock.h"

#include <chrono>

namespace pyre::platform {
namespace {

constinit thread_local ClockFunction override_ = nullptr;

}  // namespace

TimePoint now() noexcept {
  if (override_ != nullptr) [[unlikely]] {
    return override_();
  }
  return Clock::now();
}

std::int64_t wall_ms() noexcept {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  if (override_ != nullptr) [[unlikely]] {
    return kTestWallEpochMs + duration_cast<milliseconds>(override_().time_since_epoch()).count();
  }
  return duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

void override_clock_for_tests(ClockFunction clock) noexcept { override_ = clock; }

}  // namespace pyre::platform
