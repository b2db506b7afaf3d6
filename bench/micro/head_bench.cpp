// What a request head costs the thread that parses it, and what it costs a loop's thread to have it parsed elsewhere:
// the constants of Overflow (src/http/overflow.h). Build target head_bench, release preset:
//   build/release/bin/head_bench
// Nanoseconds of the thread's own CPU time for each head, medians. In every column each field of the result is looked
// at, as a server does. "Copied": bytes into the batch, the result taken out, the memory freed, and nobody else
// involved. "Given away": the same with a thread of the Offload that parses, so with submitting, waking it, its mail,
// and cache lines that were another processor's; what is to be compared with "parsed here". The loop is busy meanwhile,
// and not asleep. "Until parsed": microseconds from submitting until a batch of 16 is parsed.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "http/head_batch.h"
#include "http/request_parser.h"
#include "net/loop.h"
#include "net/offload.h"

namespace {

using namespace pyre::http;

double thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// `function` does 16 heads; what it returns is time that does not count.
template <typename Function>
double median_ns(int repeat, Function function) {
  std::vector<double> rounds;
  for (int round = 0; round < repeat; ++round) {
    const double began = thread_cpu_ns();
    const double waited = function();
    rounds.push_back((thread_cpu_ns() - began - waited) / pyre::http::HeadBatch::kItems);
  }
  return median(std::move(rounds));
}

// As a browser's: some fields of usual length, and cookies until it has the size.
std::string head_of_size(std::size_t size) {
  std::string head = "GET /articles/2024/overview?page=3 HTTP/1.1\r\nHost: www.example.com\r\n";
  if (size > 300)
    head +=
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
        "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.5\r\n";
  while (head.size() + 6 < size) {
    const std::size_t left = size - head.size() - 6;
    head += "Cookie: " + std::string(std::min<std::size_t>(left, 900), 'c') + "\r\n";
  }
  return head + "\r\n";
}

std::uint64_t sum = 0;  // so that nothing is left out
void look_at(const RequestHead& head) {
  for (const HeaderField& field : head.fields)
    sum += static_cast<std::uint64_t>(head.name(field).front()) + static_cast<std::uint64_t>(head.value(field).back());
}

}  // namespace

int main() {
  Limits limits;
  limits.header_fields = 1000;
  auto loop = std::move(pyre::net::Loop::create().value());
  pyre::net::Offload& offload = pyre::net::Offload::of_process();
  std::printf("| bytes | parsed here | copied | given away | until parsed, us |\n|---:|---:|---:|---:|---:|\n");
  for (const std::size_t size : {100U, 200U, 1000U, 2000U, 4000U, 8000U, 32000U}) {
    const std::string text = head_of_size(size);
    const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
    constexpr int kRounds = 300;
    bool whole = true;
    bool is_home = false;
    // The heads of as many exchanges, which take turns: what is parsed is not in the first cache from the last time.
    std::vector<RequestHead> heads(std::size_t{4} * HeadBatch::kItems);
    std::size_t turn = 0;
    const auto next_head = [&]() -> RequestHead& { return heads[turn++ % heads.size()]; };
    RequestParser parser(limits);
    const double here = median_ns(kRounds, [&] {
      for (std::uint32_t i = 0; i < HeadBatch::kItems; ++i) {
        RequestHead& head = next_head();
        parser.begin(head);
        whole &= parser.parse(bytes).event == RequestParser::Event::head;
        look_at(head);
      }
      return 0.0;
    });
    // The batch never looks at the connection; it only must not be null.
    auto& connection = reinterpret_cast<Connection&>(limits);
    HeadBatch batch(
        limits,
        [](pyre::net::Offload::Task& task) noexcept {
          *static_cast<bool*>(static_cast<HeadBatch&>(task).owner) = true;
        },
        &is_home);
    const auto add_all = [&] {
      while (!batch.full()) whole &= batch.add(connection, bytes) != nullptr;
    };
    const auto take_all = [&] {
      for (HeadBatch::Item& item : batch.items()) {
        RequestHead& head = next_head();
        std::swap(item.head, head);
        look_at(head);
        item.connection = nullptr;
      }
      batch.clear();
    };
    const double copied = median_ns(kRounds, [&] {
      add_all();
      take_all();
      return 0.0;
    });
    const double empty_tick = median_ns(kRounds, [&] {
      loop->run_once(pyre::platform::TimePoint{});
      return 0.0;
    });
    std::vector<double> trips;
    const double away = median_ns(kRounds, [&] {
      add_all();
      is_home = false;
      const std::uint64_t before = offload.stats().finished;
      if (!offload.submit(*loop, batch)) return 0.0;
      const double cpu = thread_cpu_ns();
      const double began = now_us();
      while (offload.stats().finished == before) std::this_thread::yield();
      trips.push_back(now_us() - began);
      const double waited = thread_cpu_ns() - cpu;
      while (!is_home) loop->run_once(pyre::platform::TimePoint{});
      for (const HeadBatch::Item& item : batch.items()) whole &= item.complete;
      take_all();
      return waited;
    });
    if (!whole || trips.empty()) return 1;
    std::printf("| %zu | %.0f | %.0f | %.0f | %.0f |\n", text.size(), here, copied, away - empty_tick,
                median(std::move(trips)));
    std::fflush(stdout);
  }
  return sum == 0 ? 1 : 0;
}
