#include "platform/cpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

namespace pyre::platform {
namespace {

TEST(Cpus, are_at_least_one_and_not_more_than_the_machine_has) {
  EXPECT_GE(usable_cpus(), 1U);
  EXPECT_LE(usable_cpus(), std::max(std::thread::hardware_concurrency(), 1U));
}

}  // namespace
}  // namespace pyre::platform
