// LoopGroup: what the engines of one process share where each of several threads has an event loop, and an engine
// embedded in it, of its own (--worker-mode thread; free-threaded Python only). One more, on the main thread, runs no
// code of the application's: it accepts, and hands each socket to the loop that has the fewest connections
// (http::Placement), so that a loop whose application blocks keeps nobody from the others. There is one limit of
// connections, of requests, and one access log with a ring for each loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "asgi/lane.h"
#include "http/access_log.h"
#include "http/placement.h"
#include "http/server.h"
#include "net/loop.h"

namespace pyre::asgi {

class Giver;

class LoopGroup {
 public:
  // `loops`: without the one that accepts, whose index is that number. `log`: where access lines go; not closed by us.
  // no_file: nowhere.
  LoopGroup(std::uint32_t loops, std::uint64_t limit_connections, platform::NativeFile log,
            http::AccessLog::Format format);
  ~LoopGroup();  // every engine is closed
  LoopGroup(const LoopGroup&) = delete;
  LoopGroup& operator=(const LoopGroup&) = delete;

  [[nodiscard]] std::uint32_t loops() const noexcept { return loops_; }
  [[nodiscard]] http::Placement& placement() noexcept { return placement_; }
  [[nodiscard]] http::AccessLog* log() const noexcept { return log_.get(); }

  // ---- any thread
  // Requests that are with the application, of all loops; each tells its own.
  void set_active(std::uint32_t loop, std::uint64_t active) noexcept {
    shares_[loop].active.store(active, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t active() const noexcept;
  // Requests that were started, this one included.
  [[nodiscard]] std::uint64_t count_request() noexcept { return requests_.fetch_add(1, std::memory_order_relaxed) + 1; }

  // A loop that has told that it is idle, from now on no longer counted as such: it is given something. -1: none.
  [[nodiscard]] std::int32_t claim_idle(std::uint32_t self) noexcept;
  [[nodiscard]] net::Mailbox& mailbox(std::uint32_t loop) const noexcept { return *shares_[loop].mailbox; }
  [[nodiscard]] Lane::Taker* const& taker(std::uint32_t loop) const noexcept { return shares_[loop].taker; }

  // ---- an engine's own thread
  // Before any of the loops runs.
  void join(std::uint32_t loop, net::Mailbox& mailbox, Lane::Taker& taker) noexcept;
  void set_idle(std::uint32_t loop, bool idle) noexcept { shares_[loop].idle.store(idle, std::memory_order_relaxed); }
  // Its server is closed and its dispatcher gone. Others may still post to its mailbox (a socket, that there is room
  // again, the end of a request that they took), so all this lives as long as the group.
  void left(std::uint32_t index, std::unique_ptr<net::Loop> loop, std::unique_ptr<Giver> giver,
            std::unique_ptr<http::Server> server) noexcept;

  // ---- any thread, when all have left
  [[nodiscard]] std::uint32_t members() const noexcept { return members_.load(std::memory_order_acquire); }
  void end() noexcept;  // writes the log out

 private:
  struct alignas(64) Share {
    std::atomic<std::uint64_t> active{0};
    std::atomic<bool> idle{false};
    net::Mailbox* mailbox = nullptr;
    Lane::Taker* taker = nullptr;  // its thread's, once the loops run
  };
  struct Ended {  // the last member goes first
    std::unique_ptr<net::Loop> loop;
    std::unique_ptr<Giver> giver;
    std::unique_ptr<http::Server> server;
  };

  const std::uint32_t loops_;
  http::Placement placement_;
  std::unique_ptr<http::AccessLog> log_;
  const std::unique_ptr<Share[]> shares_;
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<std::uint32_t> members_{0};
  std::mutex mutex_;  // of what is below
  std::vector<Ended> ended_;
};

}  // namespace pyre::asgi
