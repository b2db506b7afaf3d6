#include "platform/signals.h"

namespace pyre::platform {

// Windows has no signals that land on a thread: Ctrl-C comes on a thread of its own, and faults belong to the thread
// that makes them.
void block_all_signals() noexcept {}

SignalsBlocked::SignalsBlocked() noexcept { before_[0] = 0; }
SignalsBlocked::~SignalsBlocked() = default;

}  // namespace pyre::platform
