// DictCopies: shallow copies of one dict, one per request, since an app may write to what it is given. A copy that
// nobody holds any more and nobody wrote to is given out again: making and freeing a dict costs some 400 instructions,
// and a scope has three.
#pragma once

#include <cstdint>

#include "asgi/python_api.h"

namespace pyre::asgi {

class DictCopies {
 public:
  DictCopies() noexcept = default;
  explicit DictCopies(PyRef original) noexcept : original_(std::move(original)) {}
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(original_); }

  // A dict equal to the original, that no one else holds. Null with an exception set. A mapping that is no dict is
  // asked for its copy().
  [[nodiscard]] PyRef take() noexcept {
    PyObject* original = original_.get();
    if (!PyDict_CheckExact(original)) return PyRef::steal(PyObject_CallMethod(original, "copy", nullptr));
#if PY_VERSION_HEX < 0x030C0000
    // Every change gives a dict a new version (PEP 509; gone in 3.12). Values are shared with the original in any copy.
    if (spare_ && Py_REFCNT(spare_.get()) == 1 && version(spare_.get()) == spare_version_ &&
        version(original) == original_version_)
      return PyRef::borrow(spare_.get());
    spare_ = PyRef::steal(PyDict_Copy(original));
    if (!spare_) return {};
    spare_version_ = version(spare_.get());
    original_version_ = version(original);
    return PyRef::borrow(spare_.get());
#else
    return PyRef::steal(PyDict_Copy(original));
#endif
  }

 private:
  PyRef original_;
#if PY_VERSION_HEX < 0x030C0000
  [[nodiscard]] static std::uint64_t version(PyObject* dict) noexcept {
    return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
  }
  PyRef spare_;
  std::uint64_t spare_version_ = 0;
  std::uint64_t original_version_ = 0;
#endif
};

}  // namespace pyre::asgi
