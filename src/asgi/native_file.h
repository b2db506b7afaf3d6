// Python's file descriptors as the system's handles.
#pragma once

#include "asgi/python_api.h"
#include "platform/native.h"

namespace pyre::asgi {

// Still the descriptor's own: duplicate it to keep it. no_file with an exception set if it is not open. On Windows
// descriptors are numbers of the C runtime that Python was linked with, which need not be ours: Python is asked.
[[nodiscard]] platform::NativeFile native_file(int descriptor) noexcept;

}  // namespace pyre::asgi
