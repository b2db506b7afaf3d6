#include "platform/log_sink.h"

#include <windows.h>
// Keep this order.
#include <winternl.h>

#include <algorithm>
#include <string_view>

namespace pyre::platform {
namespace {

constexpr std::size_t kPieceBytes = 4096;        // Python's and cmd's pipes hold as much; lines are kept whole
constexpr std::size_t kFileBytes = 1024 * 1024;  // one WriteFile to a file
constexpr DWORD kLookAgainMs = 5;                // a full pipe; Windows has no way to wait for room in one

std::size_t piece_of(ConstBytes bytes) noexcept {
  if (bytes.size() <= kPieceBytes) return bytes.size();
  const std::string_view window(reinterpret_cast<const char*>(bytes.data()), kPieceBytes);
  const std::size_t end = window.rfind('\n');
  return end == std::string_view::npos ? kPieceBytes : end + 1;
}

// FILE_PIPE_LOCAL_INFORMATION, which only the driver kit's headers have.
struct PipeInformation {
  ULONG type, configuration, most_instances, instances, inbound_quota, read_available, outbound_quota, write_available;
  ULONG state, end;
};
constexpr auto kPipeLocalInformation = static_cast<FILE_INFORMATION_CLASS>(24);

using QueryInformationFile = NTSTATUS(NTAPI*)(HANDLE, PIO_STATUS_BLOCK, PVOID, ULONG, FILE_INFORMATION_CLASS);

QueryInformationFile query_function() noexcept {
  const HMODULE library = ::GetModuleHandleW(L"ntdll.dll");
  if (library == nullptr) return nullptr;
  return reinterpret_cast<QueryInformationFile>(
      reinterpret_cast<void*>(::GetProcAddress(library, "NtQueryInformationFile")));
}

// How many bytes the pipe takes without blocking; `unknown` where the system does not tell.
std::size_t pipe_room(HANDLE pipe, std::size_t unknown) noexcept {
  static const QueryInformationFile query = query_function();
  if (query == nullptr) return unknown;
  PipeInformation information{};
  IO_STATUS_BLOCK status{};
  if (query(pipe, &status, &information, sizeof information, kPipeLocalInformation) < 0) return unknown;
  if (information.outbound_quota == 0) return unknown;  // unbuffered: a write waits for its reader
  return information.write_available;
}

}  // namespace

LogSink::LogSink(NativeFile file) noexcept : file_(file) {
  kind_ = ::GetFileType(file) == FILE_TYPE_DISK ? Kind::file : Kind::stream;
}

LogSink::Written LogSink::write(ConstBytes bytes, std::chrono::milliseconds patience) noexcept {
  Written written;
  const TimePoint until = Clock::now() + patience;
  const bool is_pipe = kind_ == Kind::stream && ::GetFileType(file_) == FILE_TYPE_PIPE;
  while (written.bytes < bytes.size()) {
    ConstBytes rest = bytes.subspan(written.bytes);
    rest = rest.first(kind_ == Kind::file ? std::min(rest.size(), kFileBytes) : piece_of(rest));
    while (is_pipe && pipe_room(file_, rest.size()) < rest.size()) {
      if (Clock::now() >= until) {
        written.blocked = true;
        return written;
      }
      ::Sleep(kLookAgainMs);
    }
    DWORD count = 0;
    if (::WriteFile(file_, rest.data(), static_cast<DWORD>(rest.size()), &count, nullptr) == 0) {
      written.bytes += count;
      written.os_error = static_cast<std::int32_t>(::GetLastError());
      return written;
    }
    written.bytes += count;
    if (count == 0) {
      written.blocked = true;
      return written;
    }
  }
  return written;
}

// There is no fork().
std::uint32_t fork_generation() noexcept { return 0; }

}  // namespace pyre::platform
