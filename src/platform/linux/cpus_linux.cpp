#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "platform/cpus.h"

namespace pyre::platform {
namespace {

// A tenth of the weight of those that serve (sched(7)): next to a loop that never rests the work still goes on. With 5,
// a third, small requests beside compression waited two to four times as long; with 19 a busy loop would starve it.
constexpr int kNice = 10;
constexpr int kMaxCpus = 8192;  // of the kernel's own configurations the largest

struct CloseFile {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

unsigned in_affinity_mask() noexcept {
  cpu_set_t* set = CPU_ALLOC(kMaxCpus);
  if (set == nullptr) return 1;
  const std::size_t size = CPU_ALLOC_SIZE(kMaxCpus);
  int count = 0;
  if (::sched_getaffinity(0, size, set) == 0) count = CPU_COUNT_S(size, set);
  CPU_FREE(set);
  if (count > 0) return static_cast<unsigned>(count);
  return static_cast<unsigned>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
}

// The numbers that a file begins with; false where there are fewer ("max", no such file).
template <std::size_t Count>
bool read_numbers(const std::string& path, std::array<long long, Count>& numbers) noexcept {
  const File file(std::fopen(path.c_str(), "re"));
  char line[64];
  if (file == nullptr || std::fgets(line, sizeof line, file.get()) == nullptr) return false;
  const char* at = line;
  for (long long& number : numbers) {
    char* end = nullptr;
    number = std::strtoll(at, &end, 10);
    if (end == at) return false;
    at = end;
  }
  return true;
}

void limit_by(unsigned& cpus, long long quota, long long period) noexcept {
  if (quota <= 0 || period <= 0) return;
  cpus = static_cast<unsigned>(std::min<long long>(cpus, std::max<long long>((quota + period - 1) / period, 1)));
}

// `group` and every group above it, since each may have a quota.
void limit_by_groups(unsigned& cpus, const std::string& root, std::string group, bool v2) {
  while (true) {
    const std::string folder = root + group;
    std::array<long long, 2> both{};
    std::array<long long, 1> quota{};
    std::array<long long, 1> period{};
    if (v2) {
      if (read_numbers(folder + "/cpu.max", both)) limit_by(cpus, both[0], both[1]);
    } else if (read_numbers(folder + "/cpu.cfs_quota_us", quota) &&
               read_numbers(folder + "/cpu.cfs_period_us", period)) {
      limit_by(cpus, quota[0], period[0]);
    }
    const std::size_t slash = group.rfind('/');
    if (slash == std::string::npos) return;
    group.resize(slash);
  }
}

// Lines "4:cpu,cpuacct:/group" and "0::/group" (cgroups(7)).
void limit_by_own_groups(unsigned& cpus) {
  const File file(std::fopen("/proc/self/cgroup", "re"));
  if (file == nullptr) return;
  char line[4096];
  while (std::fgets(line, sizeof line, file.get()) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    char* const controllers = std::strchr(line, ':');
    char* const path = controllers == nullptr ? nullptr : std::strchr(controllers + 1, ':');
    if (path == nullptr) continue;
    const std::string names = "," + std::string(controllers + 1, path) + ",";
    std::string group = path + 1;
    if (group == "/") group.clear();
    if (names == ",,")
      limit_by_groups(cpus, "/sys/fs/cgroup", group, true);
    else if (names.find(",cpu,") != std::string::npos)
      limit_by_groups(cpus, "/sys/fs/cgroup/cpu", group, false);
  }
}

}  // namespace

unsigned usable_cpus() noexcept {
  unsigned cpus = in_affinity_mask();
  try {
    limit_by_own_groups(cpus);
  } catch (...) {  // no memory for a path: then without the quota
  }
  return cpus;
}

void lower_thread_priority() noexcept {
  // On Linux a priority is a thread's, whatever POSIX says (setpriority(2), BUGS).
  const auto thread = static_cast<id_t>(::syscall(SYS_gettid));
  (void)::setpriority(PRIO_PROCESS, thread, std::min(::getpriority(PRIO_PROCESS, thread) + kNice, 19));
}

}  // namespace pyre::platform
