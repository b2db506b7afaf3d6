// BodyQueue: the decoded bytes of a request body that the app has not read yet, in pooled blocks. A large piece that
// ends a receive buffer is not copied: the queue keeps the buffer's lease instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "platform/lease.h"

namespace pyre::http {

// Blocks of one server; the loop's thread only. The pool outlives its queues.
class BodyPool {
 public:
  static constexpr std::uint32_t kBlockBytes = 4096;  // most bodies are forms and JSON below that
  static constexpr std::uint32_t kKeep = 64;          // idle blocks kept: 256 KiB
  BodyPool() noexcept = default;
  ~BodyPool();
  BodyPool(const BodyPool&) = delete;
  BodyPool& operator=(const BodyPool&) = delete;
  [[nodiscard]] std::uint32_t in_use() const noexcept { return in_use_; }

 private:
  friend class BodyQueue;
  struct Block;
  [[nodiscard]] Block* take() noexcept;  // nullptr when memory is exhausted
  void give_back(Block* block) noexcept;

  Block* free_ = nullptr;
  std::uint32_t idle_ = 0;
  std::uint32_t in_use_ = 0;
};

class BodyQueue {
 public:
  BodyQueue() noexcept = default;
  ~BodyQueue();  // empty: clear() needs the pool
  BodyQueue(const BodyQueue&) = delete;
  BodyQueue& operator=(const BodyQueue&) = delete;

  // Copies. False when memory is exhausted; what was appended before that stays.
  [[nodiscard]] bool append(BodyPool& pool, std::span<const std::byte> bytes) noexcept;
  // Keeps the lease; `bytes` lie in it. On false the lease was not taken.
  [[nodiscard]] bool append_lease(BodyPool& pool, platform::Lease& lease, std::span<const std::byte> bytes) noexcept;
  // Takes exactly out.size() bytes off the front; there must be so many.
  void read(BodyPool& pool, std::span<std::byte> out) noexcept;
  void clear(BodyPool& pool) noexcept;

 private:
  void push(BodyPool::Block* block) noexcept;

  BodyPool::Block* head_ = nullptr;
  BodyPool::Block* tail_ = nullptr;
};

}  // namespace pyre::http
