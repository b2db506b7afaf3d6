#include "http/placement.h"

namespace pyre::http {

Placement::Placement(std::uint32_t loops, std::uint64_t limit, std::uint32_t accept_only) noexcept
    : loops_(loops), serving_(loops - accept_only), limit_(limit), shares_(std::make_unique<Share[]>(loops)) {}

std::uint64_t Placement::total() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < loops_; ++i) sum += count(i);
  return sum;
}

std::uint32_t Placement::choose() noexcept {
  const auto count_of = [this](std::uint32_t loop) noexcept {
    return shares_[loop].withdrawn.load(std::memory_order_relaxed) ? UINT64_MAX : count(loop);
  };
  std::uint32_t best = next_;
  std::uint64_t fewest = count_of(best);
  for (std::uint32_t i = 1; i < serving_; ++i) {
    const std::uint32_t loop = (next_ + i) % serving_;
    const std::uint64_t has = count_of(loop);
    if (has >= fewest) continue;
    best = loop;
    fewest = has;
  }
  next_ = (best + 1) % serving_;
  return best;
}

// Either this sees that a connection has left, or left() sees `awaited_`: each writes its own before it reads the
// other's, all in one order (seq_cst).
bool Placement::is_full() noexcept {
  if (total() < limit_) return false;
  awaited_.store(true, std::memory_order_seq_cst);
  return total() >= limit_;
}

void Placement::listens(std::uint32_t loop, net::Mailbox& mailbox, Room* room) noexcept {
  shares_[loop].mailbox.store(&mailbox, std::memory_order_relaxed);
  shares_[loop].room.store(room, std::memory_order_release);
}

void Placement::left(std::uint32_t loop) noexcept {
  shares_[loop].count.fetch_sub(1, std::memory_order_seq_cst);
  if (!awaited_.load(std::memory_order_seq_cst) || !awaited_.exchange(false, std::memory_order_seq_cst)) return;
  for (std::uint32_t i = 0; i < loops_; ++i) {
    Room* room = shares_[i].room.load(std::memory_order_acquire);
    if (room == nullptr || room->posted.exchange(true, std::memory_order_seq_cst)) continue;
    shares_[i].mailbox.load(std::memory_order_relaxed)->post(*room);
  }
}

}  // namespace pyre::http
