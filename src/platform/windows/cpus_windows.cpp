#include <windows.h>

#include <algorithm>
#include <bitset>

#include "platform/cpus.h"

namespace pyre::platform {

unsigned usable_cpus() noexcept {
  DWORD_PTR process = 0;
  DWORD_PTR system = 0;
  if (::GetProcessAffinityMask(::GetCurrentProcess(), &process, &system) != 0 && process != 0)
    return static_cast<unsigned>(std::bitset<sizeof process * 8>(process).count());
  // The mask is empty for a process whose threads are in several processor groups.
  return std::max(static_cast<unsigned>(::GetActiveProcessorCount(ALL_PROCESSOR_GROUPS)), 1U);
}

void lower_thread_priority() noexcept { ::SetThreadPriority(::GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL); }

}  // namespace pyre::platform
