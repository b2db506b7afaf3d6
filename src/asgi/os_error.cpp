#include "asgi/os_error.h"

#include <cerrno>

#include "platform/error.h"

namespace pyre::asgi {

PyObject* raise_os_error(platform::Error error, const char* path) noexcept {
  if constexpr (platform::os_errors_are_errno) {
    errno = error.os_error;
    return path == nullptr ? PyErr_SetFromErrno(PyExc_OSError) : PyErr_SetFromErrnoWithFilename(PyExc_OSError, path);
  } else {
    // As PyErr_SetExcFromWindowsErr, whose declaration only Windows has: OSError finds the errno of the fourth argument
    // by itself.
    const std::string text = platform::os_error_text(error.os_error);
    PyRef name = path == nullptr ? PyRef::borrow(Py_None) : PyRef::steal(PyUnicode_DecodeFSDefault(path));
    if (!name) return nullptr;
    PyRef exception =
        PyRef::steal(PyObject_CallFunction(PyExc_OSError, "is#Oi", 0, text.data(), static_cast<Py_ssize_t>(text.size()),
                                           name.get(), static_cast<int>(error.os_error)));
    if (exception) PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.get())), exception.get());
    return nullptr;
  }
}

}  // namespace pyre::asgi
