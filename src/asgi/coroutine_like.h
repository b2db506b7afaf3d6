// What our awaitables share: they are their own iterators and pass for coroutines (collections.abc.Coroutine asks for
// send, throw, close and __await__), so that asyncio.create_task(receive()) works as it does where receive is an `async
// def`.
//
// A type provides step(self, value, &result) and stop(self) (drop what it waits for; false with an exception set: it
// may not, here); this gives the slots and methods.
#pragma once

#include "asgi/interned.h"
#include "asgi/python_api.h"

namespace pyre::asgi {

template <typename F>
PyCFunction as_method(F function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

// Raises StopIteration(value) as PEP 380 wants it (a tuple or an exception as the value must not be unpacked). Takes
// the reference.
inline void set_stop_iteration(PyObject* value) noexcept {
  if (value == Py_None) {
    PyErr_SetNone(PyExc_StopIteration);
  } else {
    PyRef exception = PyRef::steal(PyObject_CallOneArg(PyExc_StopIteration, value));
    if (exception) PyErr_SetObject(PyExc_StopIteration, exception.get());
  }
  Py_DECREF(value);
}

// Restores the exception given to throw(type_or_exception[, value[, traceback]]). False with TypeError set instead.
inline bool restore_thrown(PyObject* const* arguments, Py_ssize_t count) noexcept {
  if (count < 1 || count > 3) {
    PyErr_SetString(PyExc_TypeError, "throw() takes one to three arguments");
    return false;
  }
  PyObject* type = arguments[0];
  if (PyExceptionInstance_Check(type)) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(type)), type);
    return true;
  }
  if (!PyExceptionClass_Check(type)) {
    PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    return false;
  }
  if (count > 1 && arguments[1] != Py_None) {
    PyErr_SetObject(type, arguments[1]);
  } else {
    PyErr_SetNone(type);
  }
  return true;
}

template <typename T, PySendResult (*step)(T*, PyObject*, PyObject**) noexcept, bool (*stop)(T*) noexcept>
struct CoroutineLike {
  static T* self_of(PyObject* object) noexcept { return reinterpret_cast<T*>(object); }
  static PyObject* iterate(PyObject* object) noexcept { return Py_NewRef(object); }
  static PySendResult am_send(PyObject* object, PyObject* value, PyObject** result) noexcept {
    return step(self_of(object), value, result);
  }
  static PyObject* drive(PyObject* object, PyObject* value) noexcept {
    PyObject* result = nullptr;
    switch (step(self_of(object), value, &result)) {
      case PYGEN_NEXT:
        return result;
      case PYGEN_RETURN:
        set_stop_iteration(result);
        return nullptr;
      default:
        return nullptr;
    }
  }
  static PyObject* next(PyObject* object) noexcept { return drive(object, Py_None); }
  static PyObject* send(PyObject* object, PyObject* value) noexcept { return drive(object, value); }
  static PyObject* throw_(PyObject* object, PyObject* const* arguments, Py_ssize_t count) noexcept {
    if (!stop(self_of(object))) return nullptr;
    restore_thrown(arguments, count);
    return nullptr;
  }
  static PyObject* close(PyObject* object, PyObject*) noexcept {
    if (!stop(self_of(object))) return nullptr;
    Py_RETURN_NONE;
  }
  // Fills the slots; the caller sets name, size, flags and dealloc.
  static void fill(PyTypeObject& type) noexcept {
    static PyAsyncMethods async_methods{};
    async_methods.am_await = iterate;
    async_methods.am_send = am_send;
    static PyMethodDef methods[] = {{"send", as_method(send), METH_O, nullptr},
                                    {"throw", as_method(throw_), METH_FASTCALL, nullptr},
                                    {"close", as_method(close), METH_NOARGS, nullptr},
                                    {nullptr, nullptr, 0, nullptr}};
    type.tp_as_async = &async_methods;
    type.tp_iter = iterate;
    type.tp_iternext = next;
    type.tp_methods = methods;
  }
};

}  // namespace pyre::asgi
