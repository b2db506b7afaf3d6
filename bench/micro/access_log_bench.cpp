// What AccessLog::record() costs on the loop's thread, in nanoseconds a line. Build target access_log_bench, release
// preset:
//   taskset -c 0 build/release/bin/access_log_bench
// Ticks of 64 lines with a flush each, as under load. `dropped` must be 0, or the figure is that of dropping.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>
#include <vector>

#include "http/access_log.h"
#include "unit/http_aux/head_builder.h"

namespace {

using pyre::http::AccessLog;
using pyre::http::HeaderName;
using std::chrono::steady_clock;

void measure(const char* name, AccessLog::Format format, const char* peer, const char* target) {
  const auto head = pyre::http::testing::make_head(
      "GET", target,
      {{HeaderName::host, "localhost:8000"},
       {HeaderName::accept, "*/*"},
       {HeaderName::user_agent, "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}});
  pyre::http::ConnectionInfo info;
  if (!pyre::platform::Endpoint::parse(peer, info.peer)) return;
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  std::vector<double> rounds;
  std::uint64_t dropped = 0;
  for (int round = 0; round < 15; ++round) {
    AccessLog log(null, format);
    steady_clock::duration spent{};
    constexpr int ticks = 400;
    constexpr int lines = 64;
    for (int tick = 0; tick < ticks; ++tick) {
      const auto start = steady_clock::now();
      for (int i = 0; i < lines; ++i) log.record({&head, &info, nullptr, 200, 13, static_cast<unsigned>(i)}, tick);
      log.flush();
      spent += steady_clock::now() - start;
      if (tick % 20 == 19) std::this_thread::sleep_for(std::chrono::milliseconds(5));  // the requests in between
    }
    rounds.push_back(std::chrono::duration<double, std::nano>(spent).count() / (ticks * lines));
    dropped += log.dropped();
  }
  std::sort(rounds.begin(), rounds.end());
  std::printf("%-28s median %6.1f ns  min %6.1f  max %6.1f  dropped %llu\n", name, rounds[rounds.size() / 2],
              rounds.front(), rounds.back(), static_cast<unsigned long long>(dropped));
  ::close(null);
}

}  // namespace

int main() {
  using Format = AccessLog::Format;
  measure("text, short target", Format::text, "127.0.0.1:54321", "/");
  measure("text, usual target", Format::text, "127.0.0.1:54321", "/api/v1/users/1234/orders?page=2&sort=date");
  measure("text, escapes", Format::text, "127.0.0.1:54321", "/\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82");
  measure("text, IPv6", Format::text, "[2001:db8::1]:54321", "/");
  measure("json, usual target", Format::json, "127.0.0.1:54321", "/api/v1/users/1234/orders?page=2&sort=date");
  return 0;
}
