// DecrefQueue: Python references that were given up where the GIL may not be held (a send completed, a connection
// died). They are dropped in the next section that holds it. One per thread that runs a loop.
#pragma once

#include <utility>
#include <vector>

#include "asgi/python_api.h"

namespace pyre::asgi {

class DecrefQueue {
 public:
  // Not destroyed by itself: at a thread's end the GIL may not be held.
  [[nodiscard]] static DecrefQueue& of_this_thread() noexcept {
    DecrefQueue*& queue = slot();
    if (queue == nullptr) [[unlikely]]
      queue = new DecrefQueue;  // NOLINT(bugprone-unhandled-exception-at-new): nothing works without
    return *queue;
  }
  // At the end of a thread that has handed everything over.
  static void end_of_this_thread() noexcept { delete std::exchange(slot(), nullptr); }
  void push(PyObject* object) noexcept { objects_.push_back(object); }
  [[nodiscard]] bool empty() const noexcept { return objects_.empty(); }
  // On a thread that never has the GIL: gives each to `take`, which sends it where it can be dropped.
  template <typename Take>
  void hand_over(Take take) noexcept {
    for (PyObject* object : objects_) take(object);
    objects_.clear();
  }
  // Needs the GIL. A finaliser may run Python code, which may push again: those are dropped, too.
  void drain() noexcept {
    if (objects_.empty()) return;
    while (!objects_.empty()) {
      PyObject* object = objects_.back();
      objects_.pop_back();
      Py_DECREF(object);
    }
    if (objects_.capacity() > kKeepCapacity) std::vector<PyObject*>().swap(objects_);
  }

 private:
  static DecrefQueue*& slot() noexcept {
    constinit thread_local DecrefQueue* queue = nullptr;
    return queue;
  }

  static constexpr std::size_t kKeepCapacity = 4096;
  std::vector<PyObject*> objects_;
};

}  // namespace pyre::asgi
