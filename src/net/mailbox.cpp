#include "net/mailbox.h"

#include "platform/reactor.h"
#include "platform/wakeup.h"

namespace pyre::net {

void Mailbox::bind(platform::Reactor& reactor) noexcept {
  receiver_ = &reactor;
  wake_ = [](void* receiver) noexcept { static_cast<platform::Reactor*>(receiver)->wake(); };
}

void Mailbox::bind(platform::Wakeup& wakeup) noexcept {
  receiver_ = &wakeup;
  wake_ = [](void* receiver) noexcept { static_cast<platform::Wakeup*>(receiver)->wake(); };
}

void Mailbox::post(Letter& letter) noexcept {
  push(letter);
  // A read-modify-write, not a plain load: it orders the push before it, so that whoever clears the flag after us sees
  // the letter.
  if (!awake_.exchange(true, std::memory_order_acq_rel) && wake_ != nullptr) wake_(receiver_);
}

void Mailbox::push(Letter& letter) noexcept {
  letter.next.store(nullptr, std::memory_order_relaxed);
  Letter* previous = newest_.exchange(&letter, std::memory_order_acq_rel);
  previous->next.store(&letter, std::memory_order_release);
}

// Nullptr when there is nothing, or a gap. The letter that is returned is no longer referred to by the queue.
Letter* Mailbox::pop() noexcept {
  Letter* oldest = oldest_;
  Letter* next = oldest->next.load(std::memory_order_acquire);
  if (oldest == &stub_) {
    if (next == nullptr) return nullptr;
    oldest_ = oldest = next;
    next = oldest->next.load(std::memory_order_acquire);
  }
  if (next == nullptr) {
    if (newest_.load(std::memory_order_acquire) != oldest) return nullptr;
    // It is the last one: the stub goes in behind it, so that there is something to point at.
    push(stub_);
    next = oldest->next.load(std::memory_order_acquire);
    if (next == nullptr) return nullptr;
  }
  oldest_ = next;
  return oldest;
}

std::size_t Mailbox::deliver(std::size_t limit) noexcept {
  // Without mail this is two plain loads per tick.
  if (awake_.load(std::memory_order_relaxed)) awake_.exchange(false, std::memory_order_acq_rel);
  std::size_t delivered = 0;
  while (delivered < limit) {
    Letter* letter = pop();
    if (letter == nullptr) break;
    ++delivered;
    letter->deliver(*letter);
  }
  return delivered;
}

bool Mailbox::empty() const noexcept {
  const Letter* next = oldest_->next.load(std::memory_order_acquire);
  if (oldest_ == &stub_) return next == nullptr;
  return next == nullptr && newest_.load(std::memory_order_acquire) != oldest_;
}

}  // namespace pyre::net
