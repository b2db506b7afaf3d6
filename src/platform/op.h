// Operations: the units of work that a Reactor (reactor.h) starts and completes.
//
// An operation is owned by its caller, usually embedded in a connection. From the call that starts it until its
// `done` has run, it must neither move nor be destroyed: the reactor holds its address, and the kernel may hold that of
// the bytes it sends (IOCP does).
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "platform/lease.h"
#include "platform/native.h"

namespace pyre::platform {

using ConstBytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;
using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

// What a caller decides on. The system's own number travels beside it, for logs only.
enum class Errc : std::uint8_t {
  ok,
  eof,          // the peer finished sending (FIN); our side may still send
  cancelled,    // close() was called while the operation was in flight
  reset,        // the connection is gone: RST, EPIPE, aborted
  timed_out,    // the kernel gave the connection up (keep-alive, TCP_USER_TIMEOUT)
  exhausted,    // descriptors, memory or buffers are short; trying later may succeed
  unsupported,  // the system cannot do this at all
  other,
};

struct Result {
  Errc code = Errc::ok;
  std::uint32_t bytes = 0;    // bytes moved; for a send, all of them or the count that was taken before the error
  std::int32_t os_error = 0;  // errno or WSAGetLastError; 0 if none
  [[nodiscard]] constexpr bool ok() const noexcept { return code == Errc::ok; }
};

// One cache line. `done` runs exactly once per start, only inside Reactor::poll(), and may start the same op again.
struct Op {
  using Done = void (*)(Op&, Result) noexcept;
  Done done = nullptr;
  Op* next = nullptr;  // the reactor's ready queue
  bool in_flight = false;
  alignas(8) std::array<std::byte, 40> os{};  // backend's own: how far a send has come, or the parked result
};
static_assert(sizeof(Op) == 64);

// `data` is empty until done; with code ok it holds result.bytes > 0 bytes. Keep it or drop it.
struct RecvOp : Op {
  Lease data;
};

// The array and the bytes it points at stay put until done. Done once ALL bytes are taken, or on an error.
// `progress` counts the bytes taken so far and may be read at any time on the loop's thread (the write timer does).
struct SendOp : Op {
  std::span<const ConstBytes> pieces;
  std::uint64_t progress = 0;
  bool more = false;  // more bytes follow at once (MSG_MORE): do not push a small segment out
};

// Sends `head`, then `count` bytes (at most 512 KiB, so that one file cannot hold the loop) of `file` from `offset`.
// The file's own position is not used. `progress` and the result's bytes count both parts. A file that ends early is
// reported as Errc::eof with the bytes that were sent. The head's bytes stay put until done, and the file stays open.
struct SendFileOp : Op {
  ConstBytes head;  // what stands before the file, usually a response's head: one packet with it (TransmitFile's way)
  NativeFile file = no_file;
  std::uint64_t offset = 0;
  std::uint32_t count = 0;
  std::uint64_t progress = 0;
  bool more = false;
};
inline constexpr std::uint32_t kMaxSendFileBytes = 512 * 1024;

// `peer` is the accepted socket: non-blocking, close-on-exec, and not yet attached to any reactor.
struct AcceptOp : Op {
  NativeSocket peer = no_socket;
  std::uint32_t address_size = 0;
  alignas(8) std::array<std::byte, 288> address{};  // sockaddr_storage, or what AcceptEx wants
};

}  // namespace pyre::platform
