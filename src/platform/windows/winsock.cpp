#include "platform/windows/winsock.h"

namespace pyre::platform {
namespace {

template <typename Function>
bool load(SOCKET socket, GUID id, Function& function) noexcept {
  DWORD size = 0;
  return ::WSAIoctl(socket, SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, &function, sizeof function, &size,
                    nullptr, nullptr) == 0;
}

Winsock start() noexcept {
  Winsock result;
  WSADATA data{};
  result.error = ::WSAStartup(MAKEWORD(2, 2), &data);
  if (result.error != 0) return result;
  const SOCKET socket =
      ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
  if (socket == INVALID_SOCKET) {
    result.error = ::WSAGetLastError();
    return result;
  }
  // Once for the process, by way of a TCP socket: the functions in mswsock.lib would look them up for each call.
  if (!load(socket, WSAID_ACCEPTEX, result.accept_ex) ||
      !load(socket, WSAID_GETACCEPTEXSOCKADDRS, result.accept_ex_addresses) ||
      !load(socket, WSAID_TRANSMITFILE, result.transmit_file)) {
    result.error = ::WSAGetLastError();
  }
  WSAPROTOCOL_INFOW info{};
  int size = sizeof info;
  if (::getsockopt(socket, SOL_SOCKET, SO_PROTOCOL_INFOW, reinterpret_cast<char*>(&info), &size) == 0)
    result.real_handles = (info.dwServiceFlags1 & XP1_IFS_HANDLES) != 0;
  ::closesocket(socket);
  return result;
}

}  // namespace

Winsock& winsock_for_tests() noexcept {
  static Winsock started = start();
  return started;
}

const Winsock& winsock() noexcept { return winsock_for_tests(); }

}  // namespace pyre::platform
