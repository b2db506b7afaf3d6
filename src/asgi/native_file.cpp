#include "asgi/native_file.h"

#include <type_traits>

namespace pyre::asgi {

namespace {

// A template, so that the branch of the other system is not looked at.
template <typename File>
File to_native(int descriptor) noexcept {
  if constexpr (std::is_pointer_v<File>) {
    PyRef module = PyRef::steal(PyImport_ImportModule("msvcrt"));
    PyRef handle = module ? PyRef::steal(PyObject_CallMethod(module.get(), "get_osfhandle", "i", descriptor)) : PyRef();
    if (!handle) return platform::no_file;
    const auto native = static_cast<File>(PyLong_AsVoidPtr(handle.get()));
    return native == nullptr && PyErr_Occurred() != nullptr ? File{platform::no_file} : native;
  } else {
    return descriptor;
  }
}

}  // namespace

platform::NativeFile native_file(int descriptor) noexcept { return to_native<platform::NativeFile>(descriptor); }

}  // namespace pyre::asgi
