#include "http/body_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>

#include "platform/memory.h"

namespace pyre::http {

struct BodyPool::Block {
  Block* next = nullptr;
  const std::byte* data = nullptr;  // `bytes`, or the lease's
  std::uint32_t at = 0;
  std::uint32_t end = 0;
  std::uint32_t capacity = 0;  // 0 for a lease: nothing is appended to it
  platform::Lease lease;
  std::byte bytes[1];
};

namespace {
constexpr std::uint32_t kHeader = 64;  // the block's own fields, rounded up
constexpr std::uint32_t kCapacity = BodyPool::kBlockBytes - kHeader;
}  // namespace

BodyPool::~BodyPool() {
  assert(in_use_ == 0);
  while (free_ != nullptr) {
    Block* block = free_;
    free_ = block->next;
    platform::deallocate(block);
  }
}

BodyPool::Block* BodyPool::take() noexcept {
  static_assert(offsetof(Block, bytes) <= kHeader);
  void* memory = free_;
  if (memory != nullptr) {
    free_ = free_->next;
    --idle_;
  } else {
    memory = platform::allocate(kBlockBytes);
    if (memory == nullptr) return nullptr;
  }
  ++in_use_;
  Block* block = ::new (memory) Block;
  block->data = block->bytes;
  block->capacity = kCapacity;
  return block;
}

void BodyPool::give_back(Block* block) noexcept {
  block->lease.reset();
  --in_use_;
  if (idle_ >= kKeep) {
    platform::deallocate(block);
    return;
  }
  block->next = free_;
  free_ = block;
  ++idle_;
}

BodyQueue::~BodyQueue() { assert(head_ == nullptr); }

void BodyQueue::push(BodyPool::Block* block) noexcept {
  if (tail_ == nullptr)
    head_ = block;
  else
    tail_->next = block;
  tail_ = block;
}

bool BodyQueue::append(BodyPool& pool, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    if (tail_ == nullptr || tail_->end == tail_->capacity || tail_->capacity == 0) {
      BodyPool::Block* block = pool.take();
      if (block == nullptr) return false;
      push(block);
    }
    const std::size_t size = std::min<std::size_t>(bytes.size(), tail_->capacity - tail_->end);
    std::memcpy(tail_->bytes + tail_->end, bytes.data(), size);
    tail_->end += static_cast<std::uint32_t>(size);
    bytes = bytes.subspan(size);
  }
  return true;
}

bool BodyQueue::append_lease(BodyPool& pool, platform::Lease& lease, std::span<const std::byte> bytes) noexcept {
  BodyPool::Block* block = pool.take();
  if (block == nullptr) return false;
  block->data = bytes.data();
  block->end = static_cast<std::uint32_t>(bytes.size());
  block->capacity = 0;
  block->lease = std::move(lease);
  push(block);
  return true;
}

void BodyQueue::read(BodyPool& pool, std::span<std::byte> out) noexcept {
  while (!out.empty()) {
    assert(head_ != nullptr);
    const std::size_t size = std::min<std::size_t>(out.size(), head_->end - head_->at);
    std::memcpy(out.data(), head_->data + head_->at, size);
    head_->at += static_cast<std::uint32_t>(size);
    out = out.subspan(size);
    if (head_->at == head_->end) {
      BodyPool::Block* empty = head_;
      head_ = head_->next;
      if (head_ == nullptr) tail_ = nullptr;
      pool.give_back(empty);
    }
  }
}

void BodyQueue::clear(BodyPool& pool) noexcept {
  while (head_ != nullptr) {
    BodyPool::Block* block = head_;
    head_ = block->next;
    pool.give_back(block);
  }
  tail_ = nullptr;
}

}  // namespace pyre::http
