#include "http/encoder_pool.h"

#include <array>
#include <new>

#include "platform/memory.h"

namespace pyre::http {

struct EncoderPool::Set {
  struct Ready {
    std::unique_ptr<Encoder> encoder;
    int level = 0;
  };
  std::array<Ready, kCodings> encoders;
  ByteBuffer scratch;
  Set* next = nullptr;
};

namespace {

alignas(EncoderPool) constinit std::array<std::byte, sizeof(EncoderPool)> memory_of_process{};

}  // namespace

EncoderPool& EncoderPool::of_process() noexcept {
  static auto* const pool = ::new (memory_of_process.data()) EncoderPool;
  return *pool;
}

void EncoderPool::abandon_after_fork() noexcept { ::new (&of_process()) EncoderPool; }

EncoderPool::~EncoderPool() {
  while (free_ != nullptr) {
    Set* const set = free_;
    free_ = set->next;
    set->~Set();
    platform::deallocate(set);
  }
}

EncoderPool::Set* EncoderPool::take() noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (free_ != nullptr) {
      Set* const set = free_;
      free_ = set->next;
      return set;
    }
  }
  void* const memory = platform::allocate(sizeof(Set));
  return memory == nullptr ? nullptr : ::new (memory) Set;
}

void EncoderPool::give_back(Set* set) noexcept {
  if (set == nullptr) return;
  set->scratch.clear();
  set->scratch.shrink(kKeepScratch);
  const std::lock_guard lock(mutex_);
  set->next = free_;
  free_ = set;
}

Encoder* EncoderPool::Lease::encoder(Compression::Choice choice) noexcept {
  Set::Ready& ready = set_->encoders[static_cast<std::size_t>(choice.coding)];
  if (ready.encoder == nullptr || ready.level != choice.level) {
    ready.encoder = Encoder::create(choice.coding, choice.level);
    ready.level = choice.level;
  }
  return ready.encoder.get();
}

ByteBuffer& EncoderPool::Lease::scratch() noexcept { return set_->scratch; }

}  // namespace pyre::http
