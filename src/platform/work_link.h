// WorkLink: the list of sockets that have something to do without a kernel event, in either backend. Intrusive, so that
// queueing allocates nothing; one reactor's thread only.
#pragma once

namespace pyre::platform {

// Doubly linked, so that close() can unlink in O(1) while a list is being walked.
struct WorkLink {
  WorkLink* previous = nullptr;
  WorkLink* next = nullptr;
  [[nodiscard]] bool linked() const noexcept { return next != nullptr; }
  void unlink() noexcept {
    previous->next = next;
    next->previous = previous;
    previous = next = nullptr;
  }
  // For list heads only.
  void make_empty() noexcept { previous = next = this; }
  [[nodiscard]] bool empty() const noexcept { return next == this; }
  void push_back(WorkLink& link) noexcept {
    link.previous = previous;
    link.next = this;
    previous->next = &link;
    previous = &link;
  }
};

}  // namespace pyre::platform
