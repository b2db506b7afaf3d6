#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "platform/error.h"
#include "platform/file.h"

namespace pyre::platform {

Expected<NativeFile> open_file(const char* path) noexcept {
  for (;;) {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file >= 0) return file;
    if (errno != EINTR) return error_from_os(errno);
  }
}

Expected<FileInfo> stat_file(NativeFile file) noexcept {
  struct stat status {};
  if (::fstat(file, &status) != 0) return error_from_os(errno);
  FileInfo info;
  info.size = static_cast<std::uint64_t>(std::max<off_t>(status.st_size, 0));
  constexpr std::int64_t kLastSecond =
      9'000'000'000;  // nanoseconds end in the year 2262, some file systems' times later
  const auto seconds = std::clamp<std::int64_t>(status.st_mtim.tv_sec, -kLastSecond, kLastSecond);
  info.modified_ns = seconds * 1'000'000'000 + status.st_mtim.tv_nsec;
  info.id = status.st_ino;
  info.regular = S_ISREG(status.st_mode);
  info.directory = S_ISDIR(status.st_mode);
  return info;
}

Expected<NativeFile> duplicate_file(NativeFile file) noexcept {
  const int copy = ::fcntl(file, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return error_from_os(errno);
  return copy;
}

void close_file(NativeFile file) noexcept { static_cast<void>(::close(file)); }

Expected<std::uint32_t> read_at(NativeFile file, std::uint64_t offset, MutableBytes into) noexcept {
  const std::size_t wanted = std::min<std::size_t>(into.size(), 1U << 30);
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t count = ::pread(file, into.data() + done, wanted - done, static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) continue;
      return error_from_os(errno);
    }
    if (count == 0) break;
    done += static_cast<std::size_t>(count);
  }
  return static_cast<std::uint32_t>(done);
}

Error read_ahead(NativeFile file, std::uint64_t offset, std::uint32_t count) noexcept {
  // readahead(2) may return before the pages are there, so the bytes are really read, into a scratch buffer that is
  // small enough for a thread's stack and the nearest cache.
  std::byte scratch[16 * 1024];
  std::uint64_t done = 0;
  static_cast<void>(::posix_fadvise(file, static_cast<off_t>(offset), static_cast<off_t>(count), POSIX_FADV_WILLNEED));
  while (done < count) {
    const std::size_t wanted = std::min<std::size_t>(sizeof scratch, count - done);
    const ssize_t got = ::pread(file, scratch, wanted, static_cast<off_t>(offset + done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return error_from_os(errno);
    }
    if (got == 0) return {Errc::eof, 0};
    done += static_cast<std::uint64_t>(got);
  }
  return {Errc::ok, 0};
}

bool is_cached(NativeFile file, std::uint64_t offset) noexcept {
  std::byte one;
  iovec piece{&one, 1};
  const ssize_t got = ::preadv2(file, &piece, 1, static_cast<off_t>(offset), RWF_NOWAIT);
  // Only EAGAIN says "not there yet". A file system that knows no RWF_NOWAIT (EOPNOTSUPP) cannot tell; the end of the
  // file (0) needs no disk.
  return !(got < 0 && errno == EAGAIN);
}

}  // namespace pyre::platform
