// Socket helpers: the handful of calls on a native socket that are no I/O. They may be used before attach(); of the
// options, also after it. Reading, writing and closing an attached socket is the Reactor's alone.
#pragma once

#include "platform/endpoint.h"
#include "platform/expected.h"
#include "platform/native.h"

namespace pyre::platform {

struct ListenOptions {
  int backlog = 2048;       // the kernel cuts it down to its own limit
  bool dual_stack = false;  // an IPv6 listener takes IPv4 clients, too
};

// A bound, listening, non-blocking socket that programs started by this one do not inherit. On Windows nobody else may
// bind the same port meanwhile (SO_EXCLUSIVEADDRUSE: SO_REUSEADDR would let another program steal it); on Linux a port
// whose old connections linger may be bound again (SO_REUSEADDR). Port 0 lets the kernel choose. An address that is no
// IP address is Errc::unsupported, as is every unix socket on Windows (Python has no AF_UNIX there).
[[nodiscard]] Expected<NativeSocket> open_listener(const Endpoint& address, const ListenOptions& options = {}) noexcept;

// No delay for small segments (TCP_NODELAY). Quietly does nothing on a socket that is not TCP. The reactor sees to the
// accepted sockets: Linux hands the option down from the listener, at no system call per connection; Windows is told.
void set_nodelay(NativeSocket socket) noexcept;

// The next Reactor::close() or close_socket() resets the connection (RST) instead of ending it (FIN), and drops what is
// unsent: the peer can tell a cut from an end. Without effect on unix sockets, which know no reset of their own making.
void set_linger_zero(NativeSocket socket) noexcept;

// Non-blocking, and not inherited by programs that this one starts. (Windows cannot be asked whether a socket blocks.)
[[nodiscard]] Error set_nonblocking_cloexec(NativeSocket socket) noexcept;  // code ok on success

// For a socket that no reactor holds. Only drops this process's handle: no shutdown, so that a listener lives on in
// others.
void close_socket(NativeSocket socket) noexcept;

[[nodiscard]] bool is_listening(NativeSocket socket) noexcept;

// A second handle of the same socket, close-on-exec. Errc::exhausted when descriptors are short.
[[nodiscard]] Expected<NativeSocket> duplicate_socket(NativeSocket socket) noexcept;

// Tests only, for the calling thread only: lets the simulated reactor answer for its made-up sockets.
class SocketOverride {
 public:
  [[nodiscard]] virtual bool owns(NativeSocket socket) const noexcept = 0;
  virtual void set_linger_zero(NativeSocket socket) noexcept = 0;
  virtual void close(NativeSocket socket) noexcept = 0;
  [[nodiscard]] virtual bool is_listening(NativeSocket socket) const noexcept = 0;
  [[nodiscard]] virtual Expected<NativeSocket> duplicate(NativeSocket socket) noexcept = 0;

 protected:
  ~SocketOverride() = default;
};
void override_sockets_for_tests(SocketOverride* sockets) noexcept;

}  // namespace pyre::platform
