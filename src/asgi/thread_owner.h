// ThreadOwner: the thread that an object of ours belongs to. With a GIL that is a question of manners, and this is
// nothing: it takes no room and costs no instruction. On a free-threaded build it is what keeps two threads out of one
// object: whatever Python can reach and that changes asks it first, and raises on any other thread.
#pragma once

#include "asgi/python_api.h"

namespace pyre::asgi {

#ifdef Py_GIL_DISABLED
inline constexpr bool kFreeThreaded = true;

class ThreadOwner {
 public:
  [[nodiscard]] static ThreadOwner current() noexcept { return ThreadOwner(PyThread_get_thread_ident()); }
  [[nodiscard]] bool is_here() const noexcept { return PyThread_get_thread_ident() == id_; }

 private:
  explicit ThreadOwner(unsigned long id) noexcept : id_(id) {}
  unsigned long id_;
};
#else
inline constexpr bool kFreeThreaded = false;

class ThreadOwner {
 public:
  [[nodiscard]] static constexpr ThreadOwner current() noexcept { return {}; }
  [[nodiscard]] static constexpr bool is_here() noexcept { return true; }
};
#endif

// RuntimeError: `what` was used on another thread than its own. Null.
PyObject* raise_foreign_thread(const char* what) noexcept;

}  // namespace pyre::asgi
