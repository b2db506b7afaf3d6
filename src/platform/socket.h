// Socket helpers: the handful of calls on a native socket that are no I/O. They may be used before attach(); of the
// options, also after it. Reading, writing and closing an attached socket is the Reactor's alone.
#pragma once

#include "platform/expected.h"
#include "platform/native.h"

namespace pyre::platform {

// No delay for small segments (TCP_NODELAY). Quietly does nothing on a socket that is not TCP. The reactor sets it on a
// listener at its first accept(), and Linux hands it down to the accepted sockets: no system call per connection.
void set_nodelay(NativeSocket socket) noexcept;

// The next Reactor::close() or close_socket() resets the connection (RST) instead of ending it (FIN), and drops what is
// unsent: the peer can tell a cut from an end. Without effect on unix sockets, which know no reset of their own making.
void set_linger_zero(NativeSocket socket) noexcept;

// Non-blocking, and not inherited by programs that this one starts.
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
