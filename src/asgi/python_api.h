// Python.h, included the one right way (before anything else, with PY_SSIZE_T_CLEAN), and the small owning reference.
// Only src/asgi and bind_* files include this.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <utility>

namespace pyre::asgi {

// An owned reference or null. Needs the GIL wherever it changes a count.
class PyRef {
 public:
  PyRef() noexcept = default;
  [[nodiscard]] static PyRef steal(PyObject* object) noexcept { return PyRef(object); }
  [[nodiscard]] static PyRef borrow(PyObject* object) noexcept {
    Py_XINCREF(object);
    return PyRef(object);
  }
  PyRef(PyRef&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  PyRef& operator=(PyRef&& other) noexcept {
    PyObject* old = std::exchange(object_, std::exchange(other.object_, nullptr));
    Py_XDECREF(old);
    return *this;
  }
  PyRef(const PyRef&) = delete;
  PyRef& operator=(const PyRef&) = delete;
  ~PyRef() { Py_XDECREF(object_); }

  [[nodiscard]] PyObject* get() const noexcept { return object_; }
  [[nodiscard]] PyObject* release() noexcept { return std::exchange(object_, nullptr); }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }
  void reset() noexcept { Py_CLEAR(object_); }

 private:
  explicit PyRef(PyObject* object) noexcept : object_(object) {}
  PyObject* object_ = nullptr;
};

// What a dict holds under a key, or null: nothing (no exception), or an error (exception set). Of a dict that the app
// can reach another thread may take it out at any time, so without a GIL the reference is owned; with one it is
// borrowed, and good until code of the app's may run.
#ifdef Py_GIL_DISABLED
using ItemRef = PyRef;
[[nodiscard]] inline ItemRef dict_item(PyObject* dict, PyObject* key) noexcept {
  PyObject* value = nullptr;
  if (PyDict_GetItemRef(dict, key, &value) < 0) return {};
  return PyRef::steal(value);
}
#else
class ItemRef {
 public:
  explicit ItemRef(PyObject* object) noexcept : object_(object) {}
  [[nodiscard]] PyObject* get() const noexcept { return object_; }
  [[nodiscard]] explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  PyObject* object_;
};
[[nodiscard]] inline ItemRef dict_item(PyObject* dict, PyObject* key) noexcept {
  return ItemRef(PyDict_GetItemWithError(dict, key));
}
#endif

// The exception that is set, normalised and with its traceback; clears it. Null if none is set.
[[nodiscard]] inline PyRef take_exception() noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  return PyRef::steal(PyErr_GetRaisedException());
#else
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;
  PyErr_Fetch(&type, &value, &traceback);
  if (type == nullptr) return {};
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != nullptr && value != nullptr) PyException_SetTraceback(value, traceback);
  Py_XDECREF(type);
  Py_XDECREF(traceback);
  return PyRef::steal(value);
#endif
}

// Sets it again. Takes the reference.
inline void restore_exception(PyRef exception) noexcept {
#if PY_VERSION_HEX >= 0x030C0000
  PyErr_SetRaisedException(exception.release());
#else
  PyObject* value = exception.release();
  PyErr_Restore(Py_NewRef(reinterpret_cast<PyObject*>(Py_TYPE(value))), value, PyException_GetTraceback(value));
#endif
}

}  // namespace pyre::asgi
