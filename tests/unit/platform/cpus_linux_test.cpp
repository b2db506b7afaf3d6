#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <thread>

#include "platform/cpus.h"

namespace pyre::platform {
namespace {

TEST(CpusLinux, are_those_of_the_affinity_mask) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &before)) continue;
    CPU_SET(cpu, &one);
    break;
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cpus(), 1U);
  ASSERT_EQ(::sched_setaffinity(0, sizeof before, &before), 0);
}

TEST(CpusLinux, a_lower_priority_is_the_calling_threads_alone) {
  const int before = ::getpriority(PRIO_PROCESS, 0);
  int in_thread = 0;
  std::thread([&in_thread] {
    lower_thread_priority();
    in_thread = ::getpriority(PRIO_PROCESS, 0);
  }).join();
  EXPECT_EQ(::getpriority(PRIO_PROCESS, 0), before);
  EXPECT_EQ(in_thread, std::min(before + 10, 19));
}

}  // namespace
}  // namespace pyre::platform
