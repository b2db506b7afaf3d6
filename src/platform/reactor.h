// Reactor: the one interface over the kernel's I/O. Completion-shaped: an operation is started, and later it is done.
//
// Contract (each rule has a test in tests/conformance, which runs against every backend):
//  1. One thread, one reactor. Only wake() may be called from another thread.
//  2. `done` is called exactly once per started op, only from poll() or run_ready(), on the reactor's thread, never
//  from inside the call
//     that started it. An op whose work succeeded at once is still reported through poll() (the ready queue).
//  3. recv: ok with bytes > 0, or eof, or an error; never ok with 0 bytes. Bytes that came before a reset are delivered
//     before it. At most one recv, and at most one send or send_file, is in flight on a socket.
//  4. send: all bytes, or an error. There are no partial sends above this line.
//  5. After close(s, closed) no op may be started on `s`; those in flight end `cancelled`, or with their real result if
//  that
//     won the race; `closed.done` is last, and after it `s` is gone. close() is the only cancellation: to pause reading
//     or accepting, do not start the next op.
//  6. poll() handles a bounded number of events and completions and returns how many callbacks it ran. What is left
//  over is
//     announced by has_ready(). It never blocks past `until`, nor when has_ready() is true on entry.
//  7. wake() makes a current or the next poll() return at once. N wakes may cost one event. It never blocks.
//     A poll() that may have waited calls what after_wait() was given before any callback: deadlines that callbacks set
//     are then not counted from before the wait.
//  8. No memory is held for a socket that waits to read: the buffer comes from the BufferSource when bytes are there.
//  9. Errc is for decisions, os_error for logs. Nothing above src/platform looks at errno.
#pragma once

#include <cstddef>
#include <memory>

#include "platform/expected.h"
#include "platform/op.h"

namespace pyre::platform {

// Opaque; made by attach(), gone after its close op is done.
class Socket {
 public:
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

 protected:
  Socket() noexcept = default;
  ~Socket() = default;
};

struct ReactorStats {
  std::uint64_t polls = 0;           // calls of epoll_wait / GetQueuedCompletionStatusEx
  std::uint64_t events = 0;          // kernel events handled
  std::uint64_t completions = 0;     // Op::done calls
  std::uint64_t control_calls = 0;   // epoll_ctl calls: 1 per socket for attach, 0 per request in steady state
  std::uint64_t wakes = 0;           // wake() calls that reached the kernel
  std::uint64_t slow_callbacks = 0;  // debug builds: callbacks that took more than 1 ms
};

class Reactor {
 public:
  virtual ~Reactor() = default;
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Takes over a non-blocking socket, once in its life. On an error the caller still owns it.
  [[nodiscard]] virtual Expected<Socket*> attach(NativeSocket socket) noexcept = 0;
  // One peer per op; several may be posted on one listener. Errc::exhausted means EMFILE and the like: wait, then post
  // again.
  virtual void accept(Socket& listener, AcceptOp& op) noexcept = 0;
  virtual void recv(Socket& socket, RecvOp& op) noexcept = 0;
  virtual void send(Socket& socket, SendOp& op) noexcept = 0;
  virtual void send_file(Socket& socket, SendFileOp& op) noexcept = 0;
  // FIN. Only when no send is in flight.
  virtual void finish_sending(Socket& socket) noexcept = 0;
  virtual void close(Socket& socket, Op& closed) noexcept = 0;
  virtual void wake() noexcept = 0;
  // The only caller of Op::done. `until` in the past (or TimePoint::min()) does not wait; TimePoint::max() waits for
  // ever.
  virtual std::size_t poll(TimePoint until) noexcept = 0;

  // Reports the operations that are already finished, at most as many as one poll() does, and asks the kernel for
  // nothing: for a send that fitted at once, whose completion should not cost another trip through the loop. Never
  // blocks; returns how many callbacks it ran. Not a substitute for poll(): parked work and new events wait for that.
  virtual std::size_t run_ready() noexcept { return has_ready() ? poll(TimePoint::min()) : 0; }

  // True if poll() would run a callback without a new kernel event.
  [[nodiscard]] virtual bool has_ready() const noexcept = 0;
  // A handle that another event loop can watch for reading: readable when poll() has something to do (a kernel event, a
  // wake, or the armed alarm). no_socket where the system has no such thing. Ops left on the ready queue do NOT make it
  // readable: ask has_ready().
  [[nodiscard]] virtual NativeSocket pollable_handle() const noexcept = 0;
  // Makes pollable_handle() readable, and poll() return, at `when` at the latest. TimePoint::max() disarms. One alarm.
  virtual void arm_alarm(TimePoint when) noexcept = 0;
  // In a fork()ed child: makes every call a no-op and never touches the parent's kernel objects again.
  virtual void abandon_after_fork() noexcept = 0;
  [[nodiscard]] virtual const ReactorStats& stats() const noexcept = 0;

  using AfterWait = void (*)(void* context) noexcept;
  void after_wait(AfterWait function, void* context) noexcept {
    after_wait_ = function;
    after_wait_context_ = context;
  }

 protected:
  Reactor() noexcept = default;
  void tell_after_wait() const noexcept {
    if (after_wait_ != nullptr) after_wait_(after_wait_context_);
  }

 private:
  AfterWait after_wait_ = nullptr;
  void* after_wait_context_ = nullptr;
};

struct ReactorOptions {
  std::uint32_t events_per_poll = 256;  // kernel events taken by one poll: fairness
  std::uint32_t reads_per_socket = 16;  // recv completions on one socket in one poll
};

// The system's native backend: epoll on Linux, a completion port on Windows. An error if the kernel refuses.
[[nodiscard]] Expected<std::unique_ptr<Reactor>> make_reactor(BufferSource& buffers,
                                                              const ReactorOptions& options = {}) noexcept;

}  // namespace pyre::platform
