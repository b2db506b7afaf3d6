// HeadBatch: the first bytes of up to 16 connections, on their way through the Offload to be parsed. A value: each item
// owns its bytes and the head that comes out, and whoever parses it touches no connection, no loop and no socket.
//
// The items are given out one by one, each once: to the thread of the arena that runs the batch, and, for what that has
// not got to, back to the loop (see overflow.h).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "http/limits.h"
#include "http/request_head.h"
#include "net/offload.h"

namespace pyre::http {

class Connection;

class HeadBatch final : public net::Offload::Task {
 public:
  // A trip costs the loop some 4 us (offload_bench); a sixteenth of it is less than parsing a head of 4 KiB. More
  // would keep a second idle thread waiting for its share.
  static constexpr std::uint32_t kItems = 16;

  struct Item {
    Connection* connection = nullptr;  // the home loop's: null when nobody waits for this any more
    std::byte* bytes = nullptr;        // platform::allocate()d; the home loop frees them
    std::uint32_t size = 0;
    // ---- what parsing gave
    bool complete = false;   // one whole head, of a request without a body that goes on as HTTP
    std::uint32_t used = 0;  // the bytes of that
    RequestHead head;        // its memory is used again: the exchange that takes a head leaves its own here
  };

  // `limits` outlive it, and do not change. `done` as for every task.
  HeadBatch(const Limits& limits, Done done, void* its_owner) noexcept;
  ~HeadBatch();  // what is left of its bytes is freed

  // ---- the home loop, before submitting
  // Copies the bytes. Null when memory is exhausted; not for a full batch.
  [[nodiscard]] Item* add(Connection& connection, std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] bool full() const noexcept { return count_ == kItems; }

  // ---- any thread
  // Parses the next item that nobody has taken; false if there is none.
  bool parse_next() noexcept;

  // ---- the home loop, from submitting on
  // The next item that nobody has taken: it is the loop's again, not parsed. Null if there is none.
  [[nodiscard]] Item* take_back() noexcept;

  // ---- the home loop, when it is home
  [[nodiscard]] std::span<Item> items() noexcept { return std::span(items_).first(count_); }
  void clear() noexcept;  // empty again; nobody waits for anything in it

  void* const owner;

 private:
  [[nodiscard]] Item* claim() noexcept;

  const Limits& limits_;
  std::uint32_t count_ = 0;
  // Relaxed: it only decides who has which item. What is in one reaches the arena by submit(), and comes back by mail.
  std::atomic<std::uint32_t> claimed_{0};
  std::array<Item, kItems> items_;
};

}  // namespace pyre::http
