// Clock: the two clocks that the server reads, and the seam through which a test replaces them.
//
// Everything above src/platform that wants to know the time calls these two, never std::chrono itself, so that a
// simulated run (src/platform/sim) is deterministic down to its Date headers and time-outs.
#pragma once

#include <cstdint>

#include "platform/op.h"

namespace pyre::platform {

// The monotonic clock. Costs one vDSO call and one thread-local load (about 20 ns): read it once per tick, not per
// request.
[[nodiscard]] TimePoint now() noexcept;

// The wall clock: milliseconds since the Unix epoch. It may jump; use it for dates and logs only, never for time-outs.
[[nodiscard]] std::int64_t wall_ms() noexcept;

// Tests only, and for the calling thread only: now() becomes `clock`, and wall_ms() becomes kTestWallEpochMs plus
// clock()'s time since TimePoint{}, so that both advance together. nullptr brings the real clocks back.
using ClockFunction = TimePoint (*)() noexcept;
void override_clock_for_tests(ClockFunction clock) noexcept;
inline constexpr std::int64_t kTestWallEpochMs = 1'700'000'000'000;  // Tue, 14 Nov 2023 22:13:20 GMT

}  // namespace pyre::platform
