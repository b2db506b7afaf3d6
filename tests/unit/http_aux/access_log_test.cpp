#include "http/access_log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "support/files.h"
#include "unit/http_aux/access_log_lines.h"

namespace pyre::http {
namespace {

using namespace std::chrono_literals;
using test::Pipe;
using Format = AccessLog::Format;

TEST(AccessLog, ALineBecomesVisibleWithoutAnythingElseHappening) {
  Pipe pipe;
  Lines lines;
  AccessLog log(pipe.writer(), Format::text);
  for (std::uint64_t i = 0; i < 3; ++i) {  // the second time the writer sleeps
    lines.record(log, i);
    log.flush();
    EXPECT_EQ(pipe.read_until("\n"), lines.line(i));
    EXPECT_TRUE(eventually([&] { return log.written() == i + 1; }));
    std::this_thread::sleep_for(i * 80ms);
  }
  EXPECT_EQ(log.dropped(), 0U);
}

TEST(AccessLog, TheDestructorWritesWhatIsThere) {
  Pipe pipe;
  Lines lines;
  std::string expected;
  {
    AccessLog log(pipe.writer(), Format::text);
    for (std::uint64_t i = 0; i < 100; ++i) {
      lines.record(log, i);
      expected += lines.line(i);
    }
    // No flush: the last tick of a loop that ends may not have one.
  }
  EXPECT_EQ(pipe.read_until(lines.line(99)), expected);
}

TEST(AccessLog, EveryLineArrivesOnceAndInOrderWhileTheLoopRuns) {
  Pipe pipe;
  Lines lines(50);
  constexpr std::uint64_t count = 50'000;
  std::string all;
  std::atomic<bool> over{false};
  {
    AccessLog log(pipe.writer(), Format::text);
    std::thread reader([&] { all = pipe.read_until(lines.line(count - 1)); });
    for (std::uint64_t i = 0; i < count; ++i) {
      lines.record(log, i);
      if (i % 64 == 63) {
        log.flush();
        // A ring that is never full: this is about order.
        while (i > log.written() + 4000) std::this_thread::sleep_for(1ms);
      }
    }
    log.flush();
    reader.join();
    EXPECT_EQ(log.dropped(), 0U);
  }
  std::string expected;
  for (std::uint64_t i = 0; i < count; ++i) expected += lines.line(i);
  EXPECT_TRUE(all == expected);
}

TEST(AccessLog, LinesOfSeveralLoopsAreWholeAndEachLoopsAreInOrder) {
  constexpr std::uint64_t kLines = 20'000;  // each loop's ring goes round twice
  constexpr std::uint32_t kSources = 3;
  Pipe pipe;
  std::string all;
  {
    AccessLog log(pipe.writer(), Format::text, kSources);
    std::thread reader([&] {
      for (std::uint64_t lines = 0; lines < kLines * kSources;) {
        const std::string some = pipe.read_until("\n");
        lines += static_cast<std::uint64_t>(std::count(some.begin(), some.end(), '\n'));
        all += some;
      }
    });
    std::vector<std::thread> loops;
    for (std::uint32_t source = 0; source < kSources; ++source) {
      loops.emplace_back([&log, source] {
        Lines lines(50);
        for (std::uint64_t i = 0; i < kLines; ++i) {
          lines.record(log, i * kSources + source, source);
          if (i % 64 != 63) continue;
          log.flush(source);
          while (i * kSources > log.written() + 8000) std::this_thread::sleep_for(1ms);  // rings that are never full
        }
        log.flush(source);
      });
    }
    for (std::thread& loop : loops) loop.join();
    reader.join();
    EXPECT_EQ(log.dropped(), 0U);
  }
  Lines lines(50);
  std::uint64_t next[kSources] = {0, 0, 0};
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find('\n', at) + 1;
    const std::string line = all.substr(at, end - at);
    at = end;
    bool known = false;
    for (std::uint32_t source = 0; source < kSources && !known; ++source) {
      if (next[source] == kLines || line != lines.line(next[source] * kSources + source)) continue;
      ++next[source];
      known = true;
    }
    ASSERT_TRUE(known) << line;
  }
  for (const std::uint64_t count : next) EXPECT_EQ(count, kLines);
}

TEST(AccessLog, ABlockedPipeCostsLinesNotTime) {
  Pipe pipe;
  Lines lines(100);
  AccessLog log(pipe.writer(), Format::text);
  const std::uint64_t recorded = lines.fill(log);  // returns: record() does not wait
  for (std::uint64_t i = 0; i < 1000; ++i) lines.record(log, 0);
  const std::uint64_t lost = log.dropped();
  EXPECT_GE(lost, 1000U);

  // Somebody reads again: everything that was kept, then a line that says what was lost, then new lines.
  const std::string loss = "access log: " + std::to_string(lost) + " lines were dropped";
  std::string all = pipe.read_until("did not take them\n");
  EXPECT_NE(all.find(loss), std::string::npos) << all.substr(all.size() - 200);
  EXPECT_TRUE(all.starts_with(lines.line(0) + lines.line(1)));
  const auto kept = static_cast<std::uint64_t>(std::count(all.begin(), all.end(), '\n')) - 1;
  EXPECT_EQ(kept, recorded - 1) << "the last one of the first round was the first to be dropped";
  EXPECT_TRUE(eventually([&] { return log.written() == kept; }));
  lines.record(log, 7);
  log.flush();
  EXPECT_EQ(pipe.read_until("\n"), lines.line(7));
  EXPECT_EQ(log.dropped(), lost) << "told once, counted once";
}

TEST(AccessLog, TheDestructorGivesUpOnABlockedPipe) {
  Pipe pipe;
  Lines lines;
  {
    AccessLog log(pipe.writer(), Format::text);
    lines.fill(log);
  }
  SUCCEED() << "it came back";
}

TEST(AccessLog, ALogThatIsNoneOnlyLosesLines) {
  Lines lines;
  AccessLog log(platform::no_file, Format::text);
  lines.fill(log);
  EXPECT_EQ(log.written(), 0U);
}

}  // namespace
}  // namespace pyre::http
