// The processors that this process may use, and the place of a thread among those that want them.
#pragma once

namespace pyre::platform {

// How many threads of this process can run at the same time, at least 1: the affinity mask, and on Linux no more than
// the CPU quota of the process's control group (v2 cpu.max or v1 cpu.cfs_quota_us, of it and of every group above),
// rounded up. Reads files: call it once, when something starts.
[[nodiscard]] unsigned usable_cpus() noexcept;

// For the calling thread: it runs when nobody of normal priority wants the processor, or at least less often (Linux:
// nice +10, a tenth of the weight; Windows: below normal).
void lower_thread_priority() noexcept;

}  // namespace pyre::platform
