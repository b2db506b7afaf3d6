// Signals: native threads take none. Python's handlers must run on the main thread, and a signal that lands elsewhere
// would interrupt a system call for nothing.
#pragma once

namespace pyre::platform {

// Blocks every signal for the calling thread (the faults that the kernel raises for the thread itself, such as SIGSEGV,
// stay fatal). First thing in every native thread.
void block_all_signals() noexcept;

// For the scope that starts a thread: the new one inherits the blocked mask, so that not even its first instructions
// can be interrupted.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  alignas(8) unsigned char before_[128];  // a sigset_t
};

}  // namespace pyre::platform
