// Winsock: started once for the process, and the extension functions that have to be asked for by number.
#pragma once

// winsock2.h comes before windows.h, or the latter brings in the old winsock.h, which contradicts it.
#include <winsock2.h>
// Keep this order.
#include <mswsock.h>
#include <windows.h>

#include <cstdint>

namespace pyre::platform {

struct Winsock {
  std::int32_t error = 0;  // why Winsock cannot be used; 0 if it can
  LPFN_ACCEPTEX accept_ex = nullptr;
  LPFN_GETACCEPTEXSOCKADDRS accept_ex_addresses = nullptr;
  LPFN_TRANSMITFILE transmit_file = nullptr;
  // Sockets are handles of the file system's own making. Where a layered provider (an old virus scanner's LSP) wraps
  // them, the handle is not the one that I/O ends on, and skipping a completion packet would lose it.
  bool real_handles = false;
};

// The first call starts it. It is never ended: the process's other users of Winsock count on their own start anyway,
// and a static destructor would race with sockets that are still open.
[[nodiscard]] const Winsock& winsock() noexcept;
// The same, to be changed: as if a layered provider were installed.
[[nodiscard]] Winsock& winsock_for_tests() noexcept;

inline HANDLE handle_of(SOCKET socket) noexcept { return reinterpret_cast<HANDLE>(socket); }

}  // namespace pyre::platform
