#include "asgi/loop_group.h"

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

void LoopGroup::left(std::unique_ptr<net::Loop> loop, std::unique_ptr<http::Server> server) noexcept {
  {
    const std::lock_guard lock(mutex_);
    ended_.emplace_back(std::move(loop), std::move(server));  // there is room for all
  }
  members_.fetch_sub(1, std::memory_order_release);
}

void LoopGroup::end() noexcept {
  const std::lock_guard lock(mutex_);
  // A letter may name another member's server: all mail first.
  for (const auto& [loop, server] : ended_) {
    while (loop->mailbox().deliver() != 0) {
    }
  }
  for (auto& [loop, server] : ended_) server.reset();
  ended_.clear();
  log_.reset();
}

}  // namespace pyre::asgi
