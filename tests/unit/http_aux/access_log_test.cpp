#include "http/access_log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "unit/http_aux/head_builder.h"

namespace pyre::http {
namespace {

using namespace std::chrono_literals;
using Format = AccessLog::Format;

constexpr auto kHangGuard = 30s;

class Pipe {
 public:
  Pipe() { EXPECT_EQ(::pipe2(ends_, O_CLOEXEC), 0); }
  ~Pipe() {
    close_reader();
    ::close(ends_[1]);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  [[nodiscard]] int writer() const { return ends_[1]; }
  void close_reader() {
    if (ends_[0] >= 0) ::close(ends_[0]);
    ends_[0] = -1;
  }
  // Waits for a byte, at most the hang-guard; then takes what is there.
  std::string read_some() {
    pollfd ready{ends_[0], POLLIN, 0};
    if (::poll(&ready, 1, std::chrono::milliseconds(kHangGuard).count()) != 1) return {};
    std::string out(65536, '\0');
    const ssize_t count = ::read(ends_[0], out.data(), out.size());
    out.resize(count < 0 ? 0 : static_cast<std::size_t>(count));
    return out;
  }
  // Until `text` is the last part of what came.
  std::string read_until(std::string_view text) {
    std::string out;
    while (!out.ends_with(text)) {
      const std::string more = read_some();
      if (more.empty()) break;
      out += more;
    }
    return out;
  }

 private:
  int ends_[2] = {-1, -1};
};

class Lines {
 public:
  explicit Lines(std::size_t padding = 0) : head_(testing::make_head("GET", "/" + std::string(padding, 'x'))) {
    EXPECT_TRUE(platform::Endpoint::parse("127.0.0.1:80", info_.peer));
  }
  // The line's number is its body's size.
  void record(AccessLog& log, std::uint64_t number) { log.record({&head_, &info_, nullptr, 200, number, 0}, 1); }
  [[nodiscard]] std::string line(std::uint64_t number) const {
    std::string out;
    AccessLog::format(Format::text, {&head_, &info_, nullptr, 200, number, 0}, 0, out);
    return out;
  }
  // Records until lines are dropped.
  std::uint64_t fill(AccessLog& log) {
    std::uint64_t number = 0;
    while (log.dropped() == 0) {
      record(log, number++);
      log.flush();
    }
    return number;
  }

 private:
  RequestHead head_;
  ConnectionInfo info_;
};

bool eventually(auto condition) {
  const auto until = std::chrono::steady_clock::now() + kHangGuard;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}

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

TEST(AccessLog, LinesOfManyWritersDoNotMixInAPipe) {
  Pipe pipe;
  Lines lines(300);
  const std::string other = "other\n";
  std::atomic<bool> over{false};
  std::string all;
  std::thread reader([&] {
    while (!over || all.find("end\n") == std::string::npos) all += pipe.read_some();
  });
  std::thread neighbour([&] {
    while (!over) {
      EXPECT_EQ(::write(pipe.writer(), other.data(), other.size()), static_cast<ssize_t>(other.size()));
      std::this_thread::sleep_for(100us);
    }
    EXPECT_EQ(::write(pipe.writer(), "end\n", 4), 4);
  });
  {
    AccessLog log(pipe.writer(), Format::text);
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      lines.record(log, 1);
      if (i % 64 == 0) {
        log.flush();
        while (i > log.written() + 1000) std::this_thread::sleep_for(1ms);
      }
    }
  }
  over = true;
  neighbour.join();
  reader.join();
  const std::string ours = lines.line(1);
  std::size_t broken = 0;
  for (std::size_t at = 0; at < all.size();) {
    const std::size_t end = all.find('\n', at) + 1;
    const std::string_view got(all.data() + at, end - at);
    broken += got != ours && got != other && got != "end\n" ? 1 : 0;
    at = end;
  }
  EXPECT_EQ(broken, 0U);
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

TEST(AccessLog, GoesOnWhenAReaderThatWasGoneIsBack) {
  // A pipe whose reader closed: EPIPE, no signal. The same descriptor is then another pipe.
  Pipe broken;
  Pipe whole;
  Lines lines;
  const int fd = ::dup(broken.writer());
  broken.close_reader();
  AccessLog log(fd, Format::text);
  lines.record(log, 1);
  log.flush();
  std::this_thread::sleep_for(100ms);  // most likely it failed by now; if not, the test is only weaker
  EXPECT_EQ(log.written(), 0U);
  ASSERT_EQ(::dup2(whole.writer(), fd), fd);
  EXPECT_EQ(whole.read_until("\n"), lines.line(1));
  EXPECT_TRUE(eventually([&] { return log.written() == 1; }));
  EXPECT_EQ(log.dropped(), 0U);
}

TEST(AccessLog, AFullDiskDropsLinesAndCountsThem) {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (full < 0) GTEST_SKIP() << "no /dev/full here";
  Pipe whole;
  Lines lines(100);
  {
    AccessLog log(full, Format::text);
    lines.fill(log);
    std::this_thread::sleep_for(150ms);  // for the writer to meet ENOSPC, most likely
    EXPECT_EQ(log.written(), 0U);
    ASSERT_EQ(::dup2(whole.writer(), full), full);
    const std::string all = whole.read_until("did not take them\n");
    EXPECT_TRUE(all.starts_with(lines.line(0)));
    EXPECT_NE(all.find("access log: 1 lines were dropped"), std::string::npos);
  }
  ::close(full);
}

TEST(AccessLog, AFileGetsEverythingInLargeWrites) {
  char name[] = "/tmp/pyre_access_log_XXXXXX";
  const int file = ::mkstemp(name);
  ASSERT_GE(file, 0);
  ::unlink(name);
  Lines lines(50);
  std::string expected;
  {
    AccessLog log(file, Format::text);
    for (std::uint64_t i = 0; i < 3000; ++i) {
      lines.record(log, i);
      expected += lines.line(i);
    }
    log.flush();
    EXPECT_TRUE(eventually([&] { return log.written() == 3000; }));
  }
  std::string all(expected.size() + 1, '\0');
  const ssize_t size = ::pread(file, all.data(), all.size(), 0);
  all.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  EXPECT_TRUE(all == expected);
  ::close(file);
}

TEST(AccessLog, WritesToASocketAsWell) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  Lines lines(100);
  {
    AccessLog log(ends[0], Format::text);
    lines.fill(log);  // blocked: nobody reads
    std::string all;
    while (!all.ends_with("did not take them\n")) {
      char piece[4096];
      const ssize_t count = ::recv(ends[1], piece, sizeof piece, 0);
      ASSERT_GT(count, 0);
      all.append(piece, static_cast<std::size_t>(count));
    }
    EXPECT_TRUE(all.starts_with(lines.line(0) + lines.line(1)));
    ::close(ends[1]);
    lines.record(log, 1);  // EPIPE without a signal
    log.flush();
  }
  ::close(ends[0]);
}

TEST(AccessLog, LeavesTheDescriptorsFlagsAlone) {
  Pipe pipe;
  const int before = ::fcntl(pipe.writer(), F_GETFL);
  AccessLog log(pipe.writer(), Format::json);
  Lines lines;
  lines.record(log, 1);
  log.flush();
  EXPECT_TRUE(pipe.read_until("\n").starts_with("{\"time\":\"20"));
  EXPECT_EQ(::fcntl(pipe.writer(), F_GETFL), before);
}

TEST(AccessLog, ADescriptorThatIsNoneOnlyLosesLines) {
  Lines lines;
  AccessLog log(-1, Format::text);
  lines.fill(log);
  EXPECT_EQ(log.written(), 0U);
}

TEST(AccessLog, DoesNothingInAForkedChild) {
  Pipe pipe;
  Lines lines;
  auto log = std::make_unique<AccessLog>(pipe.writer(), Format::text);
  lines.record(*log, 1);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::alarm(20);  // a destructor that waits for a thread that is not there must not hang the test
    lines.record(*log, 2);
    log->flush();
    log.reset();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  lines.record(*log, 3);
  log->flush();
  EXPECT_EQ(pipe.read_until(lines.line(3)), lines.line(1) + lines.line(3));
}

TEST(AccessLog, ItsThreadTakesNoSignals) {
  static std::atomic<bool> elsewhere{false};
  static pthread_t here;
  here = ::pthread_self();
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) {
    if (!::pthread_equal(::pthread_self(), here)) elsewhere = true;
  };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  Pipe pipe;
  AccessLog log(pipe.writer(), Format::text);
  sigset_t one;
  sigset_t mask;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR1);
  // With our own thread closed to it, the kernel would have to give it to the writer.
  ASSERT_EQ(::pthread_sigmask(SIG_BLOCK, &one, &mask), 0);
  ::kill(::getpid(), SIGUSR1);
  Lines lines;
  lines.record(log, 1);
  log.flush();
  EXPECT_EQ(pipe.read_until("\n"), lines.line(1));
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  EXPECT_FALSE(elsewhere);
  ::sigaction(SIGUSR1, &before, nullptr);
}

// What a request pays: no system call per tick while the writer is awake anyway.
TEST(AccessLog, ABusyLoopDoesNotWakeTheWriterForEachTick) {
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  Lines lines;
  {
    AccessLog log(null, Format::text);
    rusage before{};
    ::getrusage(RUSAGE_SELF, &before);
    constexpr long ticks = 20'000;
    for (long i = 0; i < ticks; ++i) {
      lines.record(log, 1);
      log.flush();
    }
    rusage after{};
    ::getrusage(RUSAGE_SELF, &after);
    // The writer's sleeps; one for each tick would be 20,000.
    EXPECT_LT(after.ru_nvcsw - before.ru_nvcsw, ticks / 4);
  }
  ::close(null);
}

}  // namespace
}  // namespace pyre::http
