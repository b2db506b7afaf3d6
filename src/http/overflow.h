// Overflow: what a loop does with request heads when more of them are ready than it can parse at once. It offers them
// to threads that have nothing to do, goes on with what else there is, and parses itself what nobody has taken by then.
//
// One per server, the loop's thread only. Only work leaves the loop: connections, their timers and sockets stay. What
// is offered is the first thing on its connection, and the connection does nothing else until it is back, so the order
// of requests is as ever. Why and when it pays: docs/decisions/009-overflow-parsing.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "http/head_batch.h"
#include "net/loop.h"

namespace pyre::http {

class Connection;
struct ServerCore;

class Overflow {
 public:
  // More work than that in a tick, as estimated: the loop is behind. Chosen by bench/scenarios/one_hot_loop_sim: at 200
  // less than a third of the heads of a loop with too much to do are given away; at 100 balanced loops lose.
  static constexpr std::uint32_t kAfterUs = 150;
  // What a request is taken to cost: recv, a short answer, send (assumed), and parsing by the byte (head_bench). Only a
  // yardstick for kAfterUs.
  static constexpr std::uint32_t kRequestPs = 8'000'000;
  static constexpr std::uint32_t kBytePs = 220;
  // Out at a time. A poll reports 256 sockets at most, and this is that many heads; some 20 KiB each when it has been
  // used.
  static constexpr std::size_t kBatches = 16;

  explicit Overflow(ServerCore& core) noexcept;
  ~Overflow();  // all are home
  Overflow(const Overflow&) = delete;
  Overflow& operator=(const Overflow&) = delete;

  // Bytes of a request are there, from its first one on. Counts them; true: this tick has much to do already, and
  // offer() may be tried.
  [[nodiscard]] bool is_behind(std::size_t bytes) noexcept;
  // `bytes` are all that the connection has. Null: it parses them itself. Else they were copied, and the item holds
  // them until Connection::take_head() is called, in a later tick at the earliest. A connection that does not want them
  // any more sets the item's `connection` to null.
  [[nodiscard]] HeadBatch::Item* offer(Connection& connection, std::span<const std::byte> bytes) noexcept;

  // No connection is left.
  void give_up() noexcept;
  [[nodiscard]] bool all_home() const noexcept { return out_ == 0; }

 private:
  struct Work : net::Deferred {
    explicit Work(Overflow& o) noexcept
        : Deferred([](Deferred& work) noexcept { static_cast<Work&>(work).overflow.run(); }), overflow(o) {}
    Overflow& overflow;
  };
  struct Slot {
    HeadBatch* batch = nullptr;  // made when it is first needed
    bool is_out = false;
  };

  [[nodiscard]] bool is_worth_it(std::span<const std::byte> bytes) const noexcept;
  [[nodiscard]] HeadBatch* begin_batch() noexcept;
  // Of the open batch. Not from inside take_head(): what is refused stays, until run() takes it back.
  [[nodiscard]] bool submit() noexcept;
  [[nodiscard]] bool next_batch() noexcept;  // sends the full one off; false: there is no room in another
  void run() noexcept;
  void take_back(HeadBatch& batch) noexcept;
  void come_home(HeadBatch& batch) noexcept;
  void put_away(HeadBatch& batch) noexcept;

  ServerCore& core_;
  std::array<Slot, kBatches> slots_;
  HeadBatch* open_ = nullptr;  // is being filled
  std::uint32_t out_ = 0;
  std::uint64_t tick_ = 0;      // that spent_ps_ is of
  std::uint64_t spent_ps_ = 0;  // in that tick, as estimated
  std::uint64_t offered_in_ = 0;
  Work work_{*this};
};

}  // namespace pyre::http
