#include "net/buffer_pool.h"

#include <cstring>

#include "net/poison.h"
#include "platform/memory.h"

namespace pyre::net {

namespace {

// An idle buffer's first bytes hold the pointer to the next idle one.
std::byte* next_of(const std::byte* buffer) noexcept {
  std::byte* next = nullptr;
  std::memcpy(&next, buffer, sizeof next);
  return next;
}

}  // namespace

BufferPool::BufferPool(std::uint32_t limit, std::uint32_t keep) noexcept : limit_(limit), keep_(keep) {}

BufferPool::~BufferPool() {
  while (free_ != nullptr) {
    std::byte* buffer = free_;
    free_ = next_of(buffer);
    unpoison(buffer, kBufferBytes);
    platform::deallocate(buffer);
  }
}

platform::Lease BufferPool::lend() noexcept {
  if (lent_ >= limit_) return {};
  std::byte* buffer = free_;
  if (buffer != nullptr) {
    free_ = next_of(buffer);
    --idle_;
    unpoison(buffer, kBufferBytes);
  } else {
    buffer = static_cast<std::byte*>(platform::allocate(kBufferBytes));
    if (buffer == nullptr) return {};
  }
  ++lent_;
  return {*this, buffer, kBufferBytes};
}

void BufferPool::take_back(std::byte* data, std::uint32_t /*capacity*/) noexcept {
  --lent_;
  if (idle_ >= keep_) {
    platform::deallocate(data);
    return;
  }
  // Last in, first out: the buffer that comes back now is the one whose lines are still in the cache.
  std::memcpy(data, &free_, sizeof free_);
  free_ = data;
  ++idle_;
  poison(data + sizeof free_, kBufferBytes - sizeof free_);
}

}  // namespace pyre::net
