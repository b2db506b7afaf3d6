#include "asgi/loop_group.h"

#include "asgi/giver.h"

namespace pyre::asgi {

LoopGroup::LoopGroup(std::uint32_t loops, std::uint64_t limit_connections, platform::NativeFile log,
                     http::AccessLog::Format format)
    : loops_(loops), placement_(loops + 1, limit_connections, 1), shares_(std::make_unique<Share[]>(loops + 1)) {
  if (log != platform::no_file) log_ = std::make_unique<http::AccessLog>(log, format, loops + 1);
  ended_.reserve(loops + 1);
}

LoopGroup::~LoopGroup() { end(); }

std::uint64_t LoopGroup::active() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i <= loops_; ++i) sum += shares_[i].active.load(std::memory_order_relaxed);
  return sum;
}

std::int32_t LoopGroup::claim_idle(std::uint32_t self) noexcept {
  for (std::uint32_t i = 1; i < loops_; ++i) {
    const std::uint32_t loop = (self + i) % loops_;
    std::atomic<bool>& idle = shares_[loop].idle;
    if (idle.load(std::memory_order_relaxed) && idle.exchange(false, std::memory_order_relaxed))
      return static_cast<std::int32_t>(loop);
  }
  return -1;
}

void LoopGroup::join(std::uint32_t loop, net::Mailbox& mailbox, Lane::Taker& taker) noexcept {
  shares_[loop].mailbox = &mailbox;
  shares_[loop].taker = &taker;
  members_.fetch_add(1, std::memory_order_relaxed);
}

void LoopGroup::left(std::uint32_t index, std::unique_ptr<net::Loop> loop, std::unique_ptr<Giver> giver,
                     std::unique_ptr<http::Server> server) noexcept {
  set_idle(index, false);
  shares_[index].taker = nullptr;
  giver->dispatcher_is_gone();
  {
    const std::lock_guard lock(mutex_);
    ended_.push_back({std::move(loop), std::move(giver), std::move(server)});  // there is room for all
  }
  members_.fetch_sub(1, std::memory_order_release);
}

void LoopGroup::end() noexcept {
  const std::lock_guard lock(mutex_);
  // A letter may name another member's server, and be answered by one.
  std::size_t delivered = 0;
  do {
    delivered = 0;
    for (const Ended& ended : ended_) {
      delivered += ended.loop->mailbox().deliver();
      ended.giver->run_commands_here();
      ended.giver->end_tick();
    }
  } while (delivered != 0);
  for (Ended& ended : ended_) ended.server.reset();
  ended_.clear();
  log_.reset();
}

}  // namespace pyre::asgi
