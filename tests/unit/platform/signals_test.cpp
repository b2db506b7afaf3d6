#include "platform/signals.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <thread>

namespace pyre::platform {
namespace {

bool blocked(int number) {
  sigset_t mask;
  ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
  return ::sigismember(&mask, number) == 1;
}

TEST(Signals, a_native_thread_takes_none_but_its_own_faults) {
  std::thread([] {
    block_all_signals();
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD, SIGPIPE})
      EXPECT_TRUE(blocked(number)) << number;
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) EXPECT_FALSE(blocked(number)) << number;
  }).join();
}

TEST(Signals, a_thread_inherits_the_blocked_mask_and_the_starter_gets_his_back) {
  ASSERT_FALSE(blocked(SIGTERM));
  std::thread thread;
  bool inherited = false;
  {
    const SignalsBlocked scope;
    EXPECT_TRUE(blocked(SIGTERM));
    thread = std::thread([&] { inherited = blocked(SIGTERM); });
  }
  thread.join();
  EXPECT_TRUE(inherited);
  EXPECT_FALSE(blocked(SIGTERM));
}

}  // namespace
}  // namespace pyre::platform
