// The operating system's handle types, named once.
#pragma once

#include <cstdint>

namespace pyre::platform {

#ifdef _WIN32
using NativeSocket = std::uintptr_t;  // SOCKET
using NativeFile = void*;             // HANDLE
inline constexpr NativeSocket no_socket = ~NativeSocket{0};
inline const NativeFile no_file = reinterpret_cast<NativeFile>(~std::uintptr_t{0});
// A file as the context of a callback, and back.
inline void* to_context(NativeFile file) noexcept { return file; }
inline NativeFile file_from_context(void* context) noexcept { return context; }
#else
using NativeSocket = int;
using NativeFile = int;
inline constexpr NativeSocket no_socket = -1;
inline constexpr NativeFile no_file = -1;
inline void* to_context(NativeFile file) noexcept { return reinterpret_cast<void*>(static_cast<std::intptr_t>(file)); }
inline NativeFile file_from_context(void* context) noexcept {
  return static_cast<NativeFile>(reinterpret_cast<std::intptr_t>(context));
}
#endif

}  // namespace pyre::platform
