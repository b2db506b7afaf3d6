// Wakeup: how a native thread makes the event loop of another thread look up, without that loop's cooperation and
// without a lock of its language (the GIL): a handle that becomes readable.
//
// Two kinds, for the two ways in which event loops wait. `event` is the system's lightest readable object (an eventfd),
// for loops that watch handles (asyncio's selector loop, uvloop). `socket_pair` is a connected pair of stream sockets,
// for loops that can only receive (Proactor): whoever drives such a loop keeps a receive outstanding on the far end.
#pragma once

#include <cstdint>
#include <memory>

#include "platform/expected.h"
#include "platform/native.h"

namespace pyre::platform {

class Wakeup {
 public:
  enum class Kind : std::uint8_t { event, socket_pair };
  // Errc::unsupported where the system has no such kind.
  [[nodiscard]] static Expected<std::unique_ptr<Wakeup>> make(Kind kind) noexcept;
  virtual ~Wakeup() = default;
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  // Any thread. Never blocks; what cannot be written need not be, since the handle is readable then.
  virtual void wake() noexcept = 0;
  // The receiver: takes what wake() wrote, so that the handle is not readable any more. Only for `event`: the far end
  // of a socket pair is read by its owner.
  virtual void clear() noexcept = 0;
  // Readable after wake(). Ours; for a socket pair until take_handle().
  [[nodiscard]] virtual NativeSocket handle() const noexcept = 0;
  // The far end of a socket pair, non-blocking: the caller closes it. no_socket for `event`.
  [[nodiscard]] virtual NativeSocket take_handle() noexcept = 0;

 protected:
  Wakeup() noexcept = default;
};

}  // namespace pyre::platform
