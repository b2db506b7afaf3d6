// Waiting on a condition variable for as long as it takes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace pyre::platform {

// Returns when `ready()` is true; it is asked with the lock held. As std::condition_variable::wait(lock, ready), which
// is a GLIBCXX_3.4.30 symbol: with it a wheel would not run on RHEL 9.
template <typename Ready>
void wait_until_ready(std::condition_variable& changed, std::unique_lock<std::mutex>& lock, Ready ready) {
  while (!ready()) changed.wait_for(lock, std::chrono::hours(1));
}

}  // namespace pyre::platform
