#include "platform/log_sink.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <string_view>

namespace pyre::platform {
namespace {

constexpr std::size_t kAtomicBytes = PIPE_BUF;   // 4096 on Linux; POSIX promises at least 512
constexpr std::size_t kFileBytes = 1024 * 1024;  // one write(2) to a file
static_assert(PIPE_BUF <= 64 * 1024);

std::atomic<std::uint32_t> generation{0};

// As many whole lines as fit into one atomic write; a line that is longer is cut.
std::size_t atomic_piece(ConstBytes bytes) noexcept {
  if (bytes.size() <= kAtomicBytes) return bytes.size();
  const std::string_view window(reinterpret_cast<const char*>(bytes.data()), kAtomicBytes);
  const std::size_t end = window.rfind('\n');
  return end == std::string_view::npos ? kAtomicBytes : end + 1;
}

}  // namespace

LogSink::LogSink(NativeFile file) noexcept : file_(file) {
  struct stat info {};
  if (::fstat(file, &info) != 0) return;  // write() will tell
  if (S_ISREG(info.st_mode)) {
    kind_ = Kind::file;
  } else if (S_ISSOCK(info.st_mode)) {
    kind_ = Kind::socket;  // e.g. a service's stdout is the journal's unix socket
  }
}

LogSink::Written LogSink::write(ConstBytes bytes, std::chrono::milliseconds patience) noexcept {
  Written written;
  const TimePoint until = Clock::now() + patience;
  bool said_writable = false;
  while (written.bytes < bytes.size()) {
    ConstBytes rest = bytes.subspan(written.bytes);
    if (kind_ == Kind::file) {
      rest = rest.first(std::min(rest.size(), kFileBytes));
    } else {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now());
      pollfd ready{};
      ready.fd = file_;
      ready.events = POLLOUT;
      const int count = ::poll(&ready, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000)));
      if (count < 0 && errno != EINTR) {
        written.os_error = errno;
        return written;
      }
      if (count <= 0) {
        if (Clock::now() < until) continue;
        written.blocked = true;
        return written;
      }
      // POLLERR and POLLHUP: the write says why. POLLNVAL: it says EBADF.
      rest = rest.first(atomic_piece(rest));
    }
    const ssize_t count = kind_ == Kind::socket ? ::send(file_, rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
                                                : ::write(file_, rest.data(), rest.size());
    if (count > 0) {
      written.bytes += static_cast<std::size_t>(count);
      said_writable = false;
      continue;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && kind_ != Kind::file && !said_writable) {
      said_writable = true;  // somebody else was faster; poll once more, but never spin
      continue;
    }
    if (count == 0 || errno == EAGAIN || errno == EWOULDBLOCK) {
      written.blocked = true;
    } else {
      written.os_error = errno;
    }
    return written;
  }
  return written;
}

std::uint32_t fork_generation() noexcept {
  // Registered once; the child handler runs in fork(), also in the one of os.fork().
  static const bool registered =
      pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); }) == 0;
  static_cast<void>(registered);
  return generation.load(std::memory_order_relaxed);
}

}  // namespace pyre::platform
