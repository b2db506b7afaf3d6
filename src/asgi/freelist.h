// Freelist: keeps the memory of a few dead objects of one exact Python type, so that the per-request objects cost no
// allocator call. Needs the GIL; on a free-threaded build it keeps nothing. AddressSanitizer knows that what it keeps
// is dead.
#pragma once

#include <array>
#include <cstddef>

#include "asgi/python_api.h"
#include "net/poison.h"

namespace pyre::asgi {

template <typename T, std::size_t kKeep = 64>  // 64 = one batch
class Freelist {
 public:
  // A new reference with only the object head initialised; null with MemoryError set.
  [[nodiscard]] T* take(PyTypeObject& type) noexcept {
#ifndef Py_GIL_DISABLED
    if (size_ > 0) {
      T* object = kept_[--size_];
      net::unpoison(object, sizeof(T));
      return reinterpret_cast<T*>(PyObject_Init(reinterpret_cast<PyObject*>(object), &type));
    }
#endif
    return PyObject_New(T, &type);
  }
  void give(T* object) noexcept {
#ifndef Py_GIL_DISABLED
    if (size_ < kKeep) {
      net::poison(object, sizeof(T));
      kept_[size_++] = object;
      return;
    }
#endif
    PyObject_Free(object);
  }

 private:
  std::array<T*, kKeep> kept_{};
  std::size_t size_ = 0;
};

}  // namespace pyre::asgi
