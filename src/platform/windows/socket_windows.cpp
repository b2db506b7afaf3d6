#include "platform/socket.h"

#include "platform/windows/winsock.h"
// Keep this order.
#include <ws2tcpip.h>

#include "platform/error.h"

namespace pyre::platform {
namespace {

constinit thread_local SocketOverride* override_ = nullptr;

bool overridden(NativeSocket socket) noexcept { return override_ != nullptr && override_->owns(socket); }

Error last_error() noexcept { return error_from_os(::WSAGetLastError()); }

template <typename Value>
bool set_option(NativeSocket socket, int level, int name, const Value& value) noexcept {
  return ::setsockopt(socket, level, name, reinterpret_cast<const char*>(&value), sizeof value) == 0;
}

}  // namespace

void override_sockets_for_tests(SocketOverride* sockets) noexcept { override_ = sockets; }

Expected<NativeSocket> open_listener(const Endpoint& address, const ListenOptions& options) noexcept {
  if (winsock().error != 0) return error_from_os(winsock().error);
  sockaddr_storage storage{};
  const std::uint32_t size = address.to_sockaddr(&storage, sizeof storage);
  if (size == 0) return error_from_os(WSAEAFNOSUPPORT);
  const SOCKET socket = ::WSASocketW(storage.ss_family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                                     WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
  if (socket == INVALID_SOCKET) return last_error();
  const BOOL on = TRUE;
  const DWORD v6_only = options.dual_stack ? 0 : 1;
  u_long non_blocking = 1;
  const bool done = set_option(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, on) &&
                    (storage.ss_family != AF_INET6 || set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, v6_only)) &&
                    ::ioctlsocket(socket, static_cast<long>(FIONBIO), &non_blocking) == 0 &&
                    ::bind(socket, reinterpret_cast<const sockaddr*>(&storage), static_cast<int>(size)) == 0 &&
                    ::listen(socket, options.backlog) == 0;
  if (done) return NativeSocket{socket};
  const Error error = last_error();
  ::closesocket(socket);
  return error;
}

void set_nodelay(NativeSocket socket) noexcept {
  if (overridden(socket)) return;
  static_cast<void>(set_option(socket, IPPROTO_TCP, TCP_NODELAY, BOOL{TRUE}));
}

void set_linger_zero(NativeSocket socket) noexcept {
  if (overridden(socket)) {
    override_->set_linger_zero(socket);
    return;
  }
  static_cast<void>(set_option(socket, SOL_SOCKET, SO_LINGER, linger{1, 0}));
}

Error set_nonblocking_cloexec(NativeSocket socket) noexcept {
  if (overridden(socket)) return {Errc::ok, 0};
  if (winsock().error != 0) return error_from_os(winsock().error);
  u_long on = 1;
  if (::ioctlsocket(socket, static_cast<long>(FIONBIO), &on) != 0) return last_error();
  if (::SetHandleInformation(handle_of(socket), HANDLE_FLAG_INHERIT, 0) == 0)
    return error_from_os(static_cast<std::int32_t>(::GetLastError()));
  return {Errc::ok, 0};
}

void close_socket(NativeSocket socket) noexcept {
  if (overridden(socket)) {
    override_->close(socket);
    return;
  }
  static_cast<void>(::closesocket(socket));
}

bool is_listening(NativeSocket socket) noexcept {
  if (overridden(socket)) return override_->is_listening(socket);
  DWORD value = 0;
  int size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, reinterpret_cast<char*>(&value), &size) == 0 && value != 0;
}

Expected<NativeSocket> duplicate_socket(NativeSocket socket) noexcept {
  if (overridden(socket)) return override_->duplicate(socket);
  if (winsock().error != 0) return error_from_os(winsock().error);
  // Not DuplicateHandle(): Winsock would know nothing of the copy.
  WSAPROTOCOL_INFOW info{};
  if (::WSADuplicateSocketW(socket, ::GetCurrentProcessId(), &info) != 0) return last_error();
  const SOCKET copy = ::WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0,
                                   WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
  if (copy == INVALID_SOCKET) return last_error();
  return NativeSocket{copy};
}

}  // namespace pyre::platform
