#include <pthread.h>
#include <signal.h>

#include <cstring>
#include <initializer_list>

#include "platform/signals.h"

namespace pyre::platform {
namespace {

sigset_t everything_but_faults() noexcept {
  sigset_t set;
  ::sigfillset(&set);
  // A blocked fault kills without running the crash reporter (Python's faulthandler), so these stay open.
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) ::sigdelset(&set, fault);
  return set;
}

}  // namespace

void block_all_signals() noexcept {
  const sigset_t set = everything_but_faults();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

SignalsBlocked::SignalsBlocked() noexcept {
  static_assert(sizeof(sigset_t) <= sizeof before_);
  const sigset_t set = everything_but_faults();
  sigset_t before;
  ::sigemptyset(&before);
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  std::memcpy(before_, &before, sizeof before);
}

SignalsBlocked::~SignalsBlocked() {
  sigset_t before;
  std::memcpy(&before, before_, sizeof before);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace pyre::platform
