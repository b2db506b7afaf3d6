// The operating system's handle types, named once.
#pragma once

#include <cstdint>

namespace pyre::platform {

#ifdef _WIN32
using NativeSocket = std::uintptr_t;  // SOCKET
using NativeFile = void*;             // HANDLE
inline constexpr NativeSocket no_socket = ~NativeSocket{0};
inline const NativeFile no_file = reinterpret_cast<NativeFile>(~std::uintptr_t{0});
#else
using NativeSocket = int;
using NativeFile = int;
inline constexpr NativeSocket no_socket = -1;
inline constexpr NativeFile no_file = -1;
#endif

}  // namespace pyre::platform
