// What a request head costs the thread that parses it, and what it costs a loop's thread to have it parsed elsewhere:
// the constants of Overflow (src/http/overflow.h). Build target head_bench, release preset:
//   build/release/bin/head_bench
// Nanoseconds of the thread's own CPU time, medians. "Given away" is all that a head costs its loop besides the trip of
// its batch (see offload_bench): bytes copied into the batch, the result taken out, the memory freed.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "http/head_batch.h"
#include "http/request_parser.h"

namespace {

using namespace pyre::http;

double thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

template <typename Function>
double median_ns(int repeat, Function function) {
  constexpr int kRounds = 25;
  std::vector<double> rounds;
  for (int round = 0; round < kRounds; ++round) {
    const double began = thread_cpu_ns();
    for (int i = 0; i < repeat; ++i) function();
    rounds.push_back((thread_cpu_ns() - began) / repeat);
  }
  std::nth_element(rounds.begin(), rounds.begin() + kRounds / 2, rounds.end());
  return rounds[kRounds / 2];
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

}  // namespace

int main() {
  Limits limits;
  limits.header_fields = 1000;
  std::printf("| bytes | parsed here | given away |\n|---:|---:|---:|\n");
  for (const std::size_t size : {100U, 600U, 2000U, 8000U, 32000U}) {
    const std::string text = head_of_size(size);
    const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
    const int repeat = static_cast<int>(4'000'000 / (size + 1000));
    RequestParser parser(limits);
    RequestHead head;
    bool whole = true;
    const double here = median_ns(repeat, [&] {
      parser.begin(head);
      whole &= parser.parse(bytes).event == RequestParser::Event::head;
    });
    // The batch never looks at the connection; it only must not be null.
    auto& connection = reinterpret_cast<Connection&>(limits);
    HeadBatch batch(
        limits, [](pyre::net::Offload::Task&) noexcept {}, nullptr);
    const double away = median_ns(repeat / 16 + 1, [&] {
      while (!batch.full()) whole &= batch.add(connection, bytes) != nullptr;
      for (HeadBatch::Item& item : batch.items()) {
        std::swap(item.head, head);
        item.connection = nullptr;
      }
      batch.clear();
    });
    if (!whole) return 1;
    std::printf("| %zu | %.0f | %.0f |\n", text.size(), here, away / HeadBatch::kItems);
  }
}
