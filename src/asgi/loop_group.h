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
  // Counts one that is started. True once: that makes `limit`, or more.
  [[nodiscard]] bool count_request(std::uint64_t limit) noexcept {
    return requests_.fetch_add(1, std::memory_order_relaxed) + 1 >= limit &&
           !limit_told_.exchange(true, std::memory_order_relaxed);
  }

  // Some loop has told that it is idle.
  [[nodiscard]] bool has_idle() const noexcept;
  // Of the loops that have told that they are idle the one with the fewest requests; from now on no longer counted as
  // such: it is given something. -1: none.
  [[nodiscard]] std::int32_t claim_idle(std::uint32_t self) noexcept;
  [[nodiscard]] net::Mailbox& mailbox(std::uint32_t loop) const noexcept { return *shares_[loop].mailbox; }
  [[nodiscard]] Lane::Taker* const& taker(std::uint32_t loop) const noexcept { return shares_[loop].taker; }

  // ---- an engine's own thread
  // Before any of the loops runs.
  void join(std::uint32_t loop, net::Mailbox& mailbox, Lane::Taker& taker) noexcept;
  void set_idle(std::uint32_t loop, bool idle) noexcept { shares_[loop].idle.store(idle, std::memory_order_relaxed); }
  // It will close: no new connection, nothing more from other loops.
  void leaving(std::uint32_t loop) noexcept;
  // Its dispatcher has given up what it had taken: what still comes is sent back by the lane itself.
  void takes_no_more(std::uint32_t loop) noexcept { shares_[loop].taker = nullptr; }
  // Its server is closed and its dispatcher gone. Others may still post to its mailbox (a socket, that there is room
  // again, the end of a request that they took), so all this lives as long as the group.
  void left(std::uint32_t index, std::unique_ptr<net::Loop> loop, std::unique_ptr<Giver> giver,
            std::unique_ptr<http::Server> server) noexcept;

  // ---- any engine's thread, after it may have posted to another's mailbox
  // Stands in for the loops that have left: what came to their mailboxes (a socket, a request) is sent back or closed.
  void deliver_for_ended() noexcept {
    // A read-modify-write, as that of left() is: one of the two sees the other, we the number, or it what we posted.
    if (ended_count_.fetch_add(0, std::memory_order_acq_rel) != 0) deliver_once();
  }

  // ---- any thread, when all have left
  [[nodiscard]] std::uint32_t members() const noexcept { return members_.load(std::memory_order_acquire); }
  void end() noexcept;  // writes the log out
  // In a fork()ed child: nothing of this is ever used, or freed.
  void abandon_after_fork() noexcept { abandoned_ = true; }

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

  std::size_t deliver_once() noexcept;

  const std::uint32_t loops_;
  http::Placement placement_;
  std::unique_ptr<http::AccessLog> log_;
  const std::unique_ptr<Share[]> shares_;
  std::atomic<std::uint64_t> requests_{0};
  std::atomic<bool> limit_told_{false};
  std::atomic<std::uint32_t> ended_count_{0};
  bool abandoned_ = false;
  std::atomic<std::uint32_t> members_{0};
  std::mutex mutex_;  // of what is below
  std::vector<Ended> ended_;
};

}  // namespace pyre::asgi
