// winsock2.h comes before windows.h, or the latter brings in the old winsock.h, which contradicts it.
#include <winsock2.h>
// Keep this order.
#include <windows.h>

#include "platform/error.h"

namespace pyre::platform {

Errc errc_from_os(std::int32_t os_error) noexcept {
  // Winsock's numbers (10000 and up) and Win32's share one space. A failed call says WSAECONNRESET where a failed
  // completion says ERROR_NETNAME_DELETED, so each fact is here under both of its names.
  switch (os_error) {
    case ERROR_SUCCESS:
      return Errc::ok;

    case ERROR_HANDLE_EOF:
      return Errc::eof;

    // The connection is gone, whoever ended it. The network's own refusals are among them, as they are on Linux.
    case WSAECONNRESET:
    case WSAECONNABORTED:
    case WSAECONNREFUSED:
    case WSAENOTCONN:
    case WSAESHUTDOWN:
    case WSAENETRESET:
    case WSAENETDOWN:
    case WSAENETUNREACH:
    case WSAEHOSTDOWN:
    case WSAEHOSTUNREACH:
    case WSAEDISCON:
    case ERROR_NETNAME_DELETED:
    case ERROR_UNEXP_NET_ERR:
    case ERROR_CONNECTION_REFUSED:
    case ERROR_GRACEFUL_DISCONNECT:
    case ERROR_NETWORK_UNREACHABLE:
    case ERROR_HOST_UNREACHABLE:
    case ERROR_PORT_UNREACHABLE:
    case ERROR_CONNECTION_ABORTED:
    case ERROR_BROKEN_PIPE:  // a log's pipe, whose reader is gone
    case ERROR_NO_DATA:      // the same pipe, while it is being closed
    case ERROR_PIPE_NOT_CONNECTED:
      return Errc::reset;

    case WSAETIMEDOUT:
    case ERROR_SEM_TIMEOUT:  // how a completion says WSAETIMEDOUT
    case ERROR_TIMEOUT:
      return Errc::timed_out;

    case ERROR_OPERATION_ABORTED:  // also WSA_OPERATION_ABORTED: CancelIoEx or closesocket
    case ERROR_CANCELLED:
    case WSAECANCELLED:
    case WSA_E_CANCELLED:
      return Errc::cancelled;

    // Something is short just now: handles, the non-paged pool, locked pages (a quota of the process), the disk.
    case WSAEMFILE:
    case WSAENOBUFS:
    case WSAEPROCLIM:
    case ERROR_TOO_MANY_OPEN_FILES:
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_HANDLE_DISK_FULL:
    case ERROR_DISK_FULL:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NONPAGED_SYSTEM_RESOURCES:
    case ERROR_PAGED_SYSTEM_RESOURCES:
    case ERROR_WORKING_SET_QUOTA:
    case ERROR_PAGEFILE_QUOTA:
    case ERROR_COMMITMENT_LIMIT:
    case ERROR_NOT_ENOUGH_QUOTA:
      return Errc::exhausted;

    // The call makes no sense for this kind of object, or the system does not have it.
    case WSAEINVAL:
    case WSAEOPNOTSUPP:
    case WSAEPROTONOSUPPORT:
    case WSAESOCKTNOSUPPORT:
    case WSAEPFNOSUPPORT:
    case WSAEAFNOSUPPORT:
    case ERROR_INVALID_FUNCTION:
    case ERROR_NOT_SUPPORTED:
    case ERROR_INVALID_PARAMETER:
    case ERROR_CALL_NOT_IMPLEMENTED:
      return Errc::unsupported;

    default:
      return Errc::other;
  }
}

std::string os_error_text(std::int32_t os_error) {
  wchar_t text[512];
  DWORD size = ::FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, nullptr,
                                static_cast<DWORD>(os_error), 0, text, 512, nullptr);
  while (size > 0 && (text[size - 1] <= L' ' || text[size - 1] == L'.')) --size;
  const int bytes = ::WideCharToMultiByte(CP_UTF8, 0, text, static_cast<int>(size), nullptr, 0, nullptr, nullptr);
  std::string utf8(static_cast<std::size_t>(bytes), '\0');
  ::WideCharToMultiByte(CP_UTF8, 0, text, static_cast<int>(size), utf8.data(), bytes, nullptr, nullptr);
  return utf8;
}

}  // namespace pyre::platform
