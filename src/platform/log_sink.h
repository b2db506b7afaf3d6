// LogSink: what a log's writer thread needs from the system: writing that waits, but never for ever, to a descriptor
// that is not ours alone (stdout). The description's flags are left as they are: O_NONBLOCK would reach every process
// that shares it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "platform/native.h"
#include "platform/op.h"
#include "platform/signals.h"

namespace pyre::platform {

class LogSink {
 public:
  struct Written {
    std::size_t bytes = 0;      // taken by the kernel, also if it then failed
    bool blocked = false;       // the patience ran out: nobody reads
    std::int32_t os_error = 0;  // e.g. ENOSPC, EPIPE; 0 if none. Trying again later may succeed
  };

  // Does not own `file`.
  explicit LogSink(NativeFile file) noexcept;

  // Waits for at most `patience` in all for a pipe, a terminal or a socket to take bytes. Pipes and terminals are given
  // pieces of at most 4 KiB (PIPE_BUF) that end with a line where one ends: poll() promises that much room, and such
  // writes are atomic, so lines do not mix with those of other processes. Regular files are written in one call; a dead
  // disk may block it.
  [[nodiscard]] Written write(ConstBytes bytes, std::chrono::milliseconds patience) noexcept;

 private:
  enum class Kind : std::uint8_t { file, socket, stream };
  NativeFile file_;
  Kind kind_ = Kind::stream;
};

// A number that is another one in a fork()ed child; no system call. An object whose thread did not come along compares
// it with the one it was made under.
[[nodiscard]] std::uint32_t fork_generation() noexcept;

}  // namespace pyre::platform
