// Mailbox: the only door into a loop's thread from other threads, and from I/O threads into Python's. Multi-producer,
// single-consumer, intrusive, lock-free; the first letter of a burst wakes the receiver, the rest do not.
#pragma once

#include <atomic>
#include <cstddef>

namespace pyre::platform {
class Reactor;
class Wakeup;
}  // namespace pyre::platform

namespace pyre::net {

// Owned by the sender until it is delivered; `deliver` runs once on the receiver's thread (a loop's: without the GIL)
// and may delete it.
struct Letter {
  using Deliver = void (*)(Letter&) noexcept;
  explicit Letter(Deliver d) noexcept : deliver(d) {}
  Deliver deliver;
  std::atomic<Letter*> next{nullptr};
};

class Mailbox {
 public:
  Mailbox() noexcept = default;
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;
  // What wakes the receiver.
  void bind(platform::Reactor& reactor) noexcept;
  void bind(platform::Wakeup& wakeup) noexcept;
  // Any thread. FIFO per sender.
  void post(Letter& letter) noexcept;
  // The receiver's thread: delivers what is there now, at most `limit`. The wake flag is cleared before the queue is
  // drained, so that a letter posted meanwhile wakes again.
  std::size_t deliver(std::size_t limit = 1024) noexcept;
  // The receiver's thread: nothing can be delivered now. (A letter whose sender is inside post() wakes it itself.)
  [[nodiscard]] bool empty() const noexcept;

 private:
  void push(Letter& letter) noexcept;
  [[nodiscard]] Letter* pop() noexcept;

  void* receiver_ = nullptr;
  void (*wake_)(void* receiver) noexcept = nullptr;
  // Vyukov's intrusive queue: senders swap themselves in at the newest end, then link their predecessor to themselves.
  // Between the two steps the list has a gap; what lies behind it is delivered later, and its sender wakes us when the
  // gap is closed.
  alignas(64) std::atomic<Letter*> newest_{&stub_};
  std::atomic<bool> awake_{false};  // a wake was sent and deliver() has not begun since
  alignas(64) Letter* oldest_ = &stub_;
  Letter stub_{nullptr};
};

}  // namespace pyre::net
