// What needs descriptors, signals and forks.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "support/files.h"
#include "unit/http_aux/access_log_lines.h"

namespace pyre::http {
namespace {

using namespace std::chrono_literals;
using test::Pipe;
using Format = AccessLog::Format;

TEST(AccessLogLinux, LinesOfManyWritersDoNotMixInAPipe) {
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

TEST(AccessLogLinux, GoesOnWhenAReaderThatWasGoneIsBack) {
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

TEST(AccessLogLinux, AFullDiskDropsLinesAndCountsThem) {
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

TEST(AccessLogLinux, AFileGetsEverythingInLargeWrites) {
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

TEST(AccessLogLinux, WritesToASocketAsWell) {
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

TEST(AccessLogLinux, LeavesTheDescriptorsFlagsAlone) {
  Pipe pipe;
  const int before = ::fcntl(pipe.writer(), F_GETFL);
  AccessLog log(pipe.writer(), Format::json);
  Lines lines;
  lines.record(log, 1);
  log.flush();
  EXPECT_TRUE(pipe.read_until("\n").starts_with("{\"time\":\"20"));
  EXPECT_EQ(::fcntl(pipe.writer(), F_GETFL), before);
}

TEST(AccessLogLinux, DoesNothingInAForkedChild) {
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

TEST(AccessLogLinux, ItsThreadTakesNoSignals) {
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
TEST(AccessLogLinux, ABusyLoopDoesNotWakeTheWriterForEachTick) {
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
