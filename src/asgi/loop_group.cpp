#include "asgi/loop_group.h"

#include "asgi/decref_queue.h"
#include "asgi/giver.h"

namespace pyre::asgi {

LoopGroup::LoopGroup(std::uint32_t loops, std::uint64_t limit_connections, platform::NativeFile log,
                     http::AccessLog::Format format)
    : loops_(loops), placement_(loops + 1, limit_connections, 1), shares_(std::make_unique<Share[]>(loops + 1)) {
  if (log != platform::no_file) log_ = std::make_unique<http::AccessLog>(log, format, loops + 1);
  ended_.reserve(loops + 1);
}

LoopGroup::~LoopGroup() {
  end();
  DecrefQueue::of_this_thread().drain();
  if (!abandoned_) return;
  // Threads of theirs are the parent's.
  for (Ended& ended : ended_) {
    static_cast<void>(ended.server.release());
    static_cast<void>(ended.giver.release());
    static_cast<void>(ended.loop.release());
  }
  static_cast<void>(log_.release());
}

std::uint64_t LoopGroup::active() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i <= loops_; ++i) sum += shares_[i].active.load(std::memory_order_relaxed);
  return sum;
}

bool LoopGroup::has_idle() const noexcept {
  for (std::uint32_t i = 0; i < loops_; ++i)
    if (shares_[i].idle.load(std::memory_order_relaxed)) return true;
  return false;
}

std::int32_t LoopGroup::claim_idle(std::uint32_t self) noexcept {
  std::int32_t best = -1;
  std::uint64_t fewest = UINT64_MAX;
  for (std::uint32_t i = 1; i < loops_; ++i) {
    const std::uint32_t loop = (self + i) % loops_;
    const std::uint64_t active = shares_[loop].active.load(std::memory_order_relaxed);
    if (active >= fewest || !shares_[loop].idle.load(std::memory_order_relaxed)) continue;
    fewest = active;
    best = static_cast<std::int32_t>(loop);
  }
  // Another may have claimed it meanwhile: the next tick looks again.
  if (best < 0 || !shares_[static_cast<std::size_t>(best)].idle.exchange(false, std::memory_order_relaxed)) return -1;
  return best;
}

void LoopGroup::join(std::uint32_t loop, net::Mailbox& mailbox, Lane::Taker& taker) noexcept {
  shares_[loop].mailbox = &mailbox;
  shares_[loop].taker = &taker;
  members_.fetch_add(1, std::memory_order_relaxed);
}

void LoopGroup::leaving(std::uint32_t loop) noexcept {
  set_idle(loop, false);
  placement_.withdraw(loop);
}

void LoopGroup::left(std::uint32_t index, std::unique_ptr<net::Loop> loop, std::unique_ptr<Giver> giver,
                     std::unique_ptr<http::Server> server) noexcept {
  set_active(index, 0);
  giver->dispatcher_is_gone();
  {
    const std::lock_guard lock(mutex_);
    ended_.push_back({std::move(loop), std::move(giver), std::move(server)});  // there is room for all
  }
  ended_count_.fetch_add(1, std::memory_order_acq_rel);
  deliver_once();
  members_.fetch_sub(1, std::memory_order_release);
}

std::size_t LoopGroup::deliver_once() noexcept {
  const std::lock_guard lock(mutex_);
  std::size_t delivered = 0;
  for (const Ended& ended : ended_) {
    delivered += ended.loop->mailbox().deliver();
    ended.giver->post_events();
  }
  return delivered;
}

void LoopGroup::end() noexcept {
  if (abandoned_) return;
  // A letter may name another member's server, and be answered by one.
  bool quiet = false;
  while (!quiet) {
    quiet = deliver_once() == 0;
    for (const Ended& ended : ended_) ended.giver->run_commands_here();  // the takers' threads have ended, too
    for (const Ended& ended : ended_) quiet = quiet && ended.loop->mailbox().empty();
  }
  const std::lock_guard lock(mutex_);
  for (Ended& ended : ended_) ended.server.reset();
  ended_.clear();
  log_.reset();
}

}  // namespace pyre::asgi
