// The system's errors as Python's OSError, with the subclass (FileNotFoundError) that belongs to the number.
#pragma once

#include "asgi/python_api.h"
#include "platform/expected.h"

namespace pyre::asgi {

// Sets the exception; null, for `return raise_os_error(...)`. `path` is UTF-8 or what PyUnicode_FSConverter made of it.
PyObject* raise_os_error(platform::Error error, const char* path = nullptr) noexcept;

}  // namespace pyre::asgi
