// Placement: which of a process' loops serves a connection. The loop that accepts hands each socket, before anything is
// read from it, to the loop that has the fewest connections; from then on the connection stays there. Shared by the
// servers of these loops, which count here what they have; so the limit of connections is one for all of them.
//
// Why not one listener for each loop (SO_REUSEPORT): the kernel hashes, and with the few connections of a proxy's pool
// one loop gets twice as many as another. A server that has listeners of its own anyway (that option) keeps what it
// accepts, and is only counted; since each such loop looks at the sum when it has accepted, all of them together may
// then be above the limit by one less than their number.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "net/mailbox.h"

namespace pyre::http {

class Placement {
 public:
  // Per loop an epoll instance, a thread, two for files when it serves any, and a megabyte of log: more loops than
  // cores are of no use, and a process with more cores than this is several.
  static constexpr std::uint32_t kMaxLoops = 64;

  // `limit`: of connections, in all. `accept_only`: the last ones of the loops serve nobody.
  Placement(std::uint32_t loops, std::uint64_t limit, std::uint32_t accept_only = 0) noexcept;
  Placement(const Placement&) = delete;
  Placement& operator=(const Placement&) = delete;

  [[nodiscard]] std::uint32_t loops() const noexcept { return loops_; }
  // What takes sockets over on that loop; before any of the loops runs.
  class Member {};
  void join(std::uint32_t loop, Member& member) noexcept { shares_[loop].member = &member; }
  [[nodiscard]] Member& member(std::uint32_t loop) const noexcept { return *shares_[loop].member; }
  // Connections of one loop, those included that are on their way to it. Any thread.
  [[nodiscard]] std::uint64_t count(std::uint32_t loop) const noexcept {
    return shares_[loop].count.load(std::memory_order_seq_cst);
  }
  [[nodiscard]] std::uint64_t total() const noexcept;

  // ---- the accepting loop's thread
  // The loop with the fewest connections; of several the next in turn. One that has withdrawn only if all have.
  [[nodiscard]] std::uint32_t choose() noexcept;
  void came(std::uint32_t loop) noexcept { shares_[loop].count.fetch_add(1, std::memory_order_seq_cst); }
  // True: the limit is reached, and every listening loop's `room` letter is posted once a connection has left.
  [[nodiscard]] bool is_full() noexcept;

  // ---- a loop's own thread
  // `room` lives until its mailbox has been emptied after the last connection has left. Null: no longer listening.
  struct Room : net::Letter {
    explicit Room(Deliver function) noexcept : Letter(function) {}
    // Its deliver function calls this first: from then on it can be posted again. Not a store, which a later look at
    // the counts could overtake: then one side would find the letter on its way, and the other the limit still reached.
    void delivered() noexcept { posted.exchange(false, std::memory_order_seq_cst); }
    std::atomic<bool> posted{false};
  };
  void listens(std::uint32_t loop, net::Mailbox& mailbox, Room* room) noexcept;
  void left(std::uint32_t loop) noexcept;
  // It is about to close, and would look like the one with the most room.
  void withdraw(std::uint32_t loop) noexcept { shares_[loop].withdrawn.store(true, std::memory_order_relaxed); }

 private:
  struct alignas(64) Share {
    Member* member = nullptr;
    std::atomic<std::uint64_t> count{0};
    std::atomic<bool> withdrawn{false};
    std::atomic<Room*> room{nullptr};
    std::atomic<net::Mailbox*> mailbox{nullptr};
  };

  const std::uint32_t loops_;
  const std::uint32_t serving_;  // the first ones of them
  const std::uint64_t limit_;
  std::uint32_t next_ = 0;  // the accepting loop's
  std::atomic<bool> awaited_{false};
  const std::unique_ptr<Share[]> shares_;
};

}  // namespace pyre::http
