#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "platform/error.h"
#include "platform/socket.h"

namespace pyre::platform {
namespace {

constinit thread_local SocketOverride* override_ = nullptr;

bool overridden(NativeSocket socket) noexcept { return override_ != nullptr && override_->owns(socket); }

}  // namespace

void override_sockets_for_tests(SocketOverride* sockets) noexcept { override_ = sockets; }

Expected<NativeSocket> open_listener(const Endpoint& address, const ListenOptions& options) noexcept {
  sockaddr_storage storage{};
  const std::uint32_t size = address.to_sockaddr(&storage, sizeof storage);
  if (size == 0) return error_from_os(EAFNOSUPPORT);
  const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return error_from_os(errno);
  const int on = 1;
  const int v6_only = options.dual_stack ? 0 : 1;
  const bool done =
      ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
      (storage.ss_family != AF_INET6 || ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof v6_only) == 0) &&
      ::bind(fd, reinterpret_cast<const sockaddr*>(&storage), size) == 0 && ::listen(fd, options.backlog) == 0;
  if (done) return fd;
  const int error = errno;
  ::close(fd);
  return error_from_os(error);
}

void set_nodelay(NativeSocket socket) noexcept {
  if (overridden(socket)) return;
  const int on = 1;
  static_cast<void>(::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

void set_linger_zero(NativeSocket socket) noexcept {
  if (overridden(socket)) {
    override_->set_linger_zero(socket);
    return;
  }
  const linger value{1, 0};
  static_cast<void>(::setsockopt(socket, SOL_SOCKET, SO_LINGER, &value, sizeof value));
}

Error set_nonblocking_cloexec(NativeSocket socket) noexcept {
  if (overridden(socket)) return {Errc::ok, 0};
  const int status = ::fcntl(socket, F_GETFL);
  if (status < 0) return error_from_os(errno);
  if ((status & O_NONBLOCK) == 0 && ::fcntl(socket, F_SETFL, status | O_NONBLOCK) < 0) return error_from_os(errno);
  const int descriptor = ::fcntl(socket, F_GETFD);
  if (descriptor < 0) return error_from_os(errno);
  if ((descriptor & FD_CLOEXEC) == 0 && ::fcntl(socket, F_SETFD, descriptor | FD_CLOEXEC) < 0)
    return error_from_os(errno);
  return {Errc::ok, 0};
}

void close_socket(NativeSocket socket) noexcept {
  if (overridden(socket)) {
    override_->close(socket);
    return;
  }
  // Not repeated on EINTR: Linux has released the descriptor by then, and it may already be another thread's.
  static_cast<void>(::close(socket));
}

bool is_listening(NativeSocket socket) noexcept {
  if (overridden(socket)) return override_->is_listening(socket);
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value != 0;
}

Expected<NativeSocket> duplicate_socket(NativeSocket socket) noexcept {
  if (overridden(socket)) return override_->duplicate(socket);
  const int copy = ::fcntl(socket, F_DUPFD_CLOEXEC, 3);  // 0-2 are the app's, even if it closed them
  if (copy < 0) return error_from_os(errno);
  return copy;
}

}  // namespace pyre::platform
