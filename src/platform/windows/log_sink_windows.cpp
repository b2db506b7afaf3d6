#include "platform/log_sink.h"

#include <windows.h>

#include <algorithm>
#include <string_view>

namespace pyre::platform {
namespace {

constexpr std::size_t kPieceBytes = 4096;        // what CreatePipe() holds by default; lines are kept whole
constexpr std::size_t kFileBytes = 1024 * 1024;  // one WriteFile to a file
constexpr DWORD kInsistMs = 20;                  // between the cancellations of a write whose time is over

std::size_t piece_of(ConstBytes bytes) noexcept {
  if (bytes.size() <= kPieceBytes) return bytes.size();
  const std::string_view window(reinterpret_cast<const char*>(bytes.data()), kPieceBytes);
  const std::size_t end = window.rfind('\n');
  return end == std::string_view::npos ? kPieceBytes : end + 1;
}

// Ends this thread's blocking write when the time is over. A pipe can be asked for its room, but the answer is 0 also
// when a reader waits in ReadFile(), so it is no use; nor can the mode of a pipe that others share be changed.
class Watch {
 public:
  explicit Watch(std::chrono::milliseconds patience) noexcept {
    const HANDLE process = ::GetCurrentProcess();
    if (::DuplicateHandle(process, ::GetCurrentThread(), process, &thread_, THREAD_TERMINATE, FALSE, 0) == 0) return;
    const auto due = static_cast<DWORD>(std::clamp<std::int64_t>(patience.count(), 0, 60'000));
    // It insists, since the first cancellation may come between two writes.
    ::CreateTimerQueueTimer(&timer_, nullptr, &Watch::cancel, thread_, due, kInsistMs, WT_EXECUTEDEFAULT);
  }
  ~Watch() {
    // Waits for a callback that runs: no later call of this thread may be cancelled.
    if (timer_ != nullptr) ::DeleteTimerQueueTimer(nullptr, timer_, INVALID_HANDLE_VALUE);
    if (thread_ != nullptr) ::CloseHandle(thread_);
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  static void CALLBACK cancel(void* thread, BOOLEAN) { ::CancelSynchronousIo(thread); }
  HANDLE thread_ = nullptr;
  HANDLE timer_ = nullptr;
};

}  // namespace

LogSink::LogSink(NativeFile file) noexcept : file_(file) {
  kind_ = ::GetFileType(file) == FILE_TYPE_DISK ? Kind::file : Kind::stream;
}

LogSink::Written LogSink::write(ConstBytes bytes, std::chrono::milliseconds patience) noexcept {
  Written written;
  const auto write_piece = [&](std::size_t size) {
    DWORD count = 0;
    const bool done = ::WriteFile(file_, bytes.data() + written.bytes, static_cast<DWORD>(size), &count, nullptr) != 0;
    if (!done) written.os_error = static_cast<std::int32_t>(::GetLastError());
    written.bytes += count;
    return done && count > 0;
  };
  if (kind_ == Kind::file) {
    while (written.bytes < bytes.size() && write_piece(std::min(bytes.size() - written.bytes, kFileBytes))) {
    }
    return written;
  }
  const TimePoint until = Clock::now() + patience;
  const Watch watch(patience);
  while (written.bytes < bytes.size()) {
    if (write_piece(piece_of(bytes.subspan(written.bytes)))) {
      if (Clock::now() < until || written.bytes == bytes.size()) continue;
      written.blocked = true;
      return written;
    }
    if (written.os_error == ERROR_OPERATION_ABORTED || written.os_error == 0) {
      written.os_error = 0;
      written.blocked = true;
    }
    return written;
  }
  return written;
}

// There is no fork().
std::uint32_t fork_generation() noexcept { return 0; }

}  // namespace pyre::platform
