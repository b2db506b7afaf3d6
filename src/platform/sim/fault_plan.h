// FaultPlan: what goes wrong in a simulated run, and how often. Everything follows from the seed: the same plan and the
// same calls give the same run, so a failing seed is a test case.
#pragma once

#include <chrono>
#include <cstdint>

namespace pyre::platform::sim {

// splitmix64: small, and the same on every system (std::uniform_int_distribution is not).
class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) noexcept : state_(seed) {}
  constexpr std::uint64_t next() noexcept {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  // 0 .. limit - 1; limit > 0. The modulo's bias does not matter here.
  constexpr std::uint64_t below(std::uint64_t limit) noexcept { return next() % limit; }
  // Draws nothing for 0, so that a fault that is switched off does not move the others.
  constexpr bool chance(std::uint32_t per_mille) noexcept { return per_mille != 0 && below(1000) < per_mille; }

 private:
  std::uint64_t state_;
};

// Probabilities are per mille of the occasions named.
struct FaultPlan {
  std::uint64_t seed = 1;

  // What a correct server must not be impressed by.
  std::uint16_t partial_read = 0;     // a recv gives a random part of what is there
  std::uint16_t split_write = 0;      // a peer's write travels in two or more segments
  std::uint16_t short_send = 0;       // a send takes a random part and is parked, although there was room
  std::uint16_t delay = 0;            // a segment takes up to max_delay; a finished op is left for the next poll
  std::uint16_t reorder = 0;          // the next completion is one of another socket (a socket's own order stays)
  std::uint16_t spurious_wakeup = 0;  // a poll that would wait returns with nothing, before its time
  std::uint16_t finish_alone = 0;     // a peer's FIN comes later than its last bytes instead of with them
  std::chrono::microseconds max_delay{3000};
  std::uint32_t send_buffer_bytes = 256 * 1024;  // what the "kernel" holds for a peer that does not read

  // What it must survive.
  std::uint16_t reset_before_data = 0;  // a peer's write: RST instead of the bytes
  std::uint16_t reset_after_data = 0;   // a peer's write: RST right behind the bytes
  std::uint16_t accept_exhausted = 0;   // an accept meets EMFILE
  std::uint16_t buffers_exhausted = 0;  // a recv finds no buffer

  [[nodiscard]] static constexpr FaultPlan calm() noexcept { return {}; }

  // Every timing and every split, but nothing is lost: what was sent must be answered.
  [[nodiscard]] static constexpr FaultPlan rough(std::uint64_t seed) noexcept {
    Random random(seed);
    FaultPlan plan;
    plan.seed = seed;
    plan.partial_read = static_cast<std::uint16_t>(random.below(700));
    plan.split_write = static_cast<std::uint16_t>(random.below(700));
    plan.short_send = static_cast<std::uint16_t>(random.below(500));
    plan.delay = static_cast<std::uint16_t>(random.below(500));
    plan.reorder = static_cast<std::uint16_t>(random.below(800));
    plan.spurious_wakeup = static_cast<std::uint16_t>(random.below(200));
    plan.finish_alone = static_cast<std::uint16_t>(random.below(1000));
    // From a buffer that blocks every answer to the usual one.
    plan.send_buffer_bytes = static_cast<std::uint32_t>(16U << random.below(15));
    return plan;
  }

  // All of it.
  [[nodiscard]] static constexpr FaultPlan hostile(std::uint64_t seed) noexcept {
    FaultPlan plan = rough(seed);
    Random random(~seed);
    plan.reset_before_data = static_cast<std::uint16_t>(random.below(60));
    plan.reset_after_data = static_cast<std::uint16_t>(random.below(60));
    plan.accept_exhausted = static_cast<std::uint16_t>(random.below(300));
    plan.buffers_exhausted = static_cast<std::uint16_t>(random.below(100));
    return plan;
  }
};

}  // namespace pyre::platform::sim
