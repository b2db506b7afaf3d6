// Mailbox: the only door into a loop from other threads. Multi-producer, single-consumer, intrusive, lock-free; the first letter
// of a burst wakes the reactor, the rest do not.
#pragma once

#include <atomic>
#include <cstddef>

namespace pyre::platform {
class Reactor;
}

namespace pyre::net {

// Owned by the sender until it is delivered; `deliver` runs once on the loop's thread (without the GIL) and may delete it.
struct Letter {
  using Deliver = void (*)(Letter&) noexcept;
  explicit Letter(Deliver d) noexcept : deliver(d) {}
  Deliver deliver;
  std::atomic<Letter*> next{nullptr};
};

class Mailbox {
 public:
  void bind(platform::Reactor& reactor) noexcept { reactor_ = &reactor; }
  // Any thread. FIFO per sender.
  void post(Letter& letter) noexcept;
  // The loop's thread: delivers what is there now, at most `limit`. The wake flag is cleared before the queue is drained, so that a
  // letter posted meanwhile wakes again.
  std::size_t deliver(std::size_t limit = 1024) noexcept;
  [[nodiscard]] bool empty() const noexcept;

 private:
  platform::Reactor* reactor_ = nullptr;
  // the implementer's
};

}  // namespace pyre::net
