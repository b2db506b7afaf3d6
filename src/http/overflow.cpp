#include "http/overflow.h"

#include <cassert>
#include <string_view>
#include <utility>

#include "http/connection.h"
#include "http/server_core.h"
#include "platform/memory.h"

namespace pyre::http {

Overflow::Overflow(ServerCore& core) noexcept : core_(core) {}

Overflow::~Overflow() {
  assert(all_home() && open_ == nullptr);
  for (const Slot& slot : slots_) platform::destroy(slot.batch);
}

bool Overflow::is_behind(std::size_t bytes) noexcept {
  const std::uint64_t limit_ps = std::uint64_t{core_.options.overflow_after_us} * 1'000'000;
  const std::uint64_t tick = core_.loop.stats().ticks;
  if (tick != tick_) {
    tick_ = tick;
    spent_ps_ = 0;
  }
  const bool was_behind = spent_ps_ > limit_ps;
  spent_ps_ += kRequestPs + bytes * kBytePs;
  if (spent_ps_ <= limit_ps) return false;
  if (!was_behind) ++core_.stats.parse.ticks_behind;
  return true;
}

HeadBatch::Item* Overflow::offer(Connection& connection, std::span<const std::byte> bytes) noexcept {
  HeadBatch::Item* item = nullptr;
  if (is_worth_it(bytes) && (open_ != nullptr || begin_batch() != nullptr) && (!open_->full() || next_batch()))
    item = open_->add(connection, bytes);
  if (item == nullptr) {
    ++core_.stats.parse.inlined;
    return nullptr;
  }
  ++core_.stats.parse.offered;
  offered_in_ = core_.loop.stats().ticks;
  core_.loop.defer(work_);
  return item;
}

// What is not exactly one head is a part of one, or has a body (the connection would have to parse it again), or is a
// pipeline, whose heads may be small.
bool Overflow::is_worth_it(std::span<const std::byte> bytes) const noexcept {
  static constexpr std::string_view kEnd = "\r\n\r\n";
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (core_.options.overflow_from == 0) return text.ends_with(kEnd);
  return text.size() >= core_.options.overflow_from && text.ends_with(kEnd) &&
         text.find(kEnd) == text.size() - kEnd.size();
}

HeadBatch* Overflow::begin_batch() noexcept {
  const net::OffloadPort& port = core_.options.overflow_to;
  if (port.idle(port.context) == 0) return nullptr;
  for (Slot& slot : slots_) {
    if (slot.is_out) continue;
    if (slot.batch == nullptr) {
      slot.batch = platform::create<HeadBatch>(
          core_.options.limits,
          [](net::Offload::Task& task) noexcept {
            auto& batch = static_cast<HeadBatch&>(task);
            static_cast<Overflow*>(batch.owner)->come_home(batch);
          },
          this);
      if (slot.batch == nullptr) return nullptr;
    }
    slot.is_out = true;
    ++out_;
    return open_ = slot.batch;
  }
  return nullptr;
}

bool Overflow::next_batch() noexcept { return submit() && begin_batch() != nullptr; }

bool Overflow::submit() noexcept {
  const net::OffloadPort& port = core_.options.overflow_to;
  if (!port.submit(port.context, core_.loop, *open_)) return false;
  open_ = nullptr;
  return true;
}

// In the tick of the offer this only sends off what is left. Then that tick's answers are written, which gives the
// others time; the next one begins here, and waits for nothing that nobody has begun.
void Overflow::run() noexcept {
  if (open_ != nullptr && !submit()) {
    HeadBatch& refused = *std::exchange(open_, nullptr);
    take_back(refused);
    put_away(refused);
  }
  if (offered_in_ == core_.loop.stats().ticks) return core_.loop.defer(work_);
  for (const Slot& slot : slots_)
    if (slot.is_out) take_back(*slot.batch);
}

void Overflow::take_back(HeadBatch& batch) noexcept {
  while (HeadBatch::Item* const item = batch.take_back()) {
    Connection* const connection = std::exchange(item->connection, nullptr);
    if (connection == nullptr) continue;
    item->bytes = nullptr;  // the connection's
    ++core_.stats.parse.taken_back;
    connection->take_head(nullptr);
  }
}

void Overflow::come_home(HeadBatch& batch) noexcept {
  for (HeadBatch::Item& item : batch.items()) {
    Connection* const connection = std::exchange(item.connection, nullptr);
    if (connection == nullptr) continue;
    item.bytes = nullptr;
    ++(item.complete ? core_.stats.parse.stolen : core_.stats.parse.repeated);
    connection->take_head(item.complete ? &item : nullptr);
  }
  put_away(batch);
  core_.exchange_returned();  // may be the end of all this
}

void Overflow::put_away(HeadBatch& batch) noexcept {
  batch.clear();
  for (Slot& slot : slots_)
    if (slot.batch == &batch) slot.is_out = false;
  --out_;
}

void Overflow::give_up() noexcept {
  core_.loop.cancel(work_);
  if (open_ != nullptr) put_away(*std::exchange(open_, nullptr));
}

}  // namespace pyre::http
