// What a trip to the Offload and back costs, and what a loop's thread pays to compress a body of some size itself:
// where the two meet is where offloading begins (ServerOptions::kOffloadFrom, EmbeddedHost's kOffloadFrom). Build
// target offload_bench, release preset:
//   build/release/bin/offload_bench
// Microseconds; the thread's own CPU time, and the time until the result was there. Medians of many, with the loop
// asleep meanwhile, as it is when little is to be done, and with 16 under way, as under load.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "http/encoder.h"
#include "net/loop.h"
#include "net/offload.h"

namespace {

using namespace pyre;
using std::chrono::steady_clock;

double thread_cpu_us() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

double now_us() { return std::chrono::duration<double, std::micro>(steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

struct Encode : net::Offload::Task {
  Encode()
      : Task([](net::Offload::Task& task) noexcept { static_cast<Encode&>(task).work(); },
             [](net::Offload::Task& task) noexcept { static_cast<Encode&>(task).is_home = true; }) {}
  void work() {
    if (text.empty()) return;
    out.clear();
    (void)encoder->begin(text.size());
    (void)encoder->encode(std::as_bytes(std::span(text)), http::Encoder::End::finish, out);
  }
  std::string text;
  std::unique_ptr<http::Encoder> encoder;
  http::ByteBuffer out;
  bool is_home = false;
};

std::string json_of_size(std::size_t size) {
  std::string text = "[";
  for (unsigned i = 0; text.size() < size; ++i)
    text += "{\"id\": " + std::to_string(i) + ", \"name\": \"user " + std::to_string(i * 7919 % 1009) +
            "\", \"balance\": " + std::to_string(i * 104729 % 100003) + ".25, \"is_active\": true}, ";
  text.resize(size);
  return text;
}

void measure(net::Loop& loop, http::Coding coding, std::size_t size) {
  constexpr int kRounds = 400;
  constexpr int kAtOnce = 16;
  std::vector<std::unique_ptr<Encode>> tasks;
  for (int i = 0; i < kAtOnce; ++i) {
    tasks.push_back(std::make_unique<Encode>());
    tasks.back()->text = json_of_size(size);
    tasks.back()->encoder = http::Encoder::create(coding, http::level_range(coding).usual);
  }
  std::vector<double> inlined, alone_cpu, alone_time, together_cpu;
  for (int round = 0; round < kRounds; ++round) {
    double cpu = thread_cpu_us();
    tasks[0]->work();
    inlined.push_back(thread_cpu_us() - cpu);

    cpu = thread_cpu_us();
    const double began = now_us();
    tasks[0]->is_home = false;
    if (!net::Offload::of_process().submit(loop, *tasks[0])) return;
    while (!tasks[0]->is_home) loop.run_once(platform::TimePoint::max());
    alone_time.push_back(now_us() - began);
    alone_cpu.push_back(thread_cpu_us() - cpu);

    if (round % kAtOnce != 0) continue;
    cpu = thread_cpu_us();
    for (const auto& task : tasks) {
      task->is_home = false;
      if (!net::Offload::of_process().submit(loop, *task)) return;
    }
    while (!std::all_of(tasks.begin(), tasks.end(), [](const auto& task) { return task->is_home; }))
      loop.run_once(platform::TimePoint::max());
    together_cpu.push_back((thread_cpu_us() - cpu) / kAtOnce);
  }
  std::printf("| %s | %zu | %.1f | %.1f | %.1f | %.1f |\n", size == 0 ? "nothing" : http::text_of(coding).data(), size,
              median(inlined), median(alone_cpu), median(together_cpu), median(alone_time));
}

}  // namespace

int main() {
  auto loop = std::move(net::Loop::create().value());
  std::printf("%u threads\n\n", net::Offload::of_process().stats().threads);
  std::printf(
      "| coding | bytes | CPU inline | CPU of the loop, offloaded | the same, 16 at once | time, offloaded |\n");
  std::printf("|---|---:|---:|---:|---:|---:|\n");
  measure(*loop, http::Coding::gzip, 0);
  for (const http::Coding coding : {http::Coding::gzip, http::Coding::br, http::Coding::zstd})
    for (const std::size_t size : {1024U, 2048U, 4096U, 8192U, 16384U, 65536U}) measure(*loop, coding, size);
}
