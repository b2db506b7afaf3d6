// Freelist: keeps the memory of a few dead objects of one exact Python type, so that the per-request objects cost no
// allocator call. Needs the GIL; on a free-threaded build, and under AddressSanitizer, it keeps nothing.
#pragma once

#include <array>
#include <cstddef>

#include "asgi/python_api.h"

// AddressSanitizer sees a use after free only if the memory is given back.
#if !defined(Py_GIL_DISABLED) && !defined(__SANITIZE_ADDRESS__)
#define PYRE_ASGI_FREELISTS
#endif

namespace pyre::asgi {

template <typename T, std::size_t kKeep = 64>  // 64 = one batch
class Freelist {
 public:
  // A new reference with only the object head initialised; null with MemoryError set.
  [[nodiscard]] T* take(PyTypeObject& type) noexcept {
#ifdef PYRE_ASGI_FREELISTS
    if (size_ > 0) {
      T* object = kept_[--size_];
      return reinterpret_cast<T*>(PyObject_Init(reinterpret_cast<PyObject*>(object), &type));
    }
#endif
    return PyObject_New(T, &type);
  }
  void give(T* object) noexcept {
#ifdef PYRE_ASGI_FREELISTS
    if (size_ < kKeep) {
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
