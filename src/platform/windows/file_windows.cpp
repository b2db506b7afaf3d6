#include <windows.h>

#include <algorithm>
#include <cwchar>
#include <memory>
#include <new>

#include "platform/error.h"
#include "platform/file.h"

namespace pyre::platform {
namespace {

constexpr std::int64_t kTicksTo1970 = 116'444'736'000'000'000;  // 100 ns each, since 1601
constexpr std::size_t kMaxPath = 32'767;                        // UTF-16 units, the kernel's limit

Error last_error() noexcept { return error_from_os(static_cast<std::int32_t>(::GetLastError())); }

using Text = std::unique_ptr<wchar_t[]>;

// UTF-8 to UTF-16, whatever the process's code page is. Bytes that are not UTF-8 name no file.
Text widen(const char* path) noexcept {
  const int size = ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, nullptr, 0);
  if (size <= 0) return nullptr;
  Text text(new (std::nothrow) wchar_t[static_cast<std::size_t>(size)]);
  if (text == nullptr) {
    ::SetLastError(ERROR_NOT_ENOUGH_MEMORY);
  } else {
    ::MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, text.get(), size);
  }
  return text;
}

// Paths of MAX_PATH (260) and more need the prefix that switches Win32's own parsing off, so they are made absolute and
// given backslashes first. Shorter ones stay as they are: with the prefix, "." and "/" would be names.
Text lengthened(Text path) noexcept {
  if (std::wcsncmp(path.get(), L"\\\\?\\", 4) == 0 || std::wcsncmp(path.get(), L"\\\\.\\", 4) == 0) return path;
  const DWORD needed = ::GetFullPathNameW(path.get(), 0, nullptr, nullptr);  // with the terminating zero
  if (needed == 0 || needed < MAX_PATH) return path;
  if (needed > kMaxPath - 8) {
    ::SetLastError(ERROR_FILENAME_EXCED_RANGE);
    return nullptr;
  }
  constexpr std::size_t kRoom = 8;  // "\\?\UNC\" less the "\\" it replaces
  Text text(new (std::nothrow) wchar_t[needed + kRoom]);
  if (text == nullptr) {
    ::SetLastError(ERROR_NOT_ENOUGH_MEMORY);
    return nullptr;
  }
  const DWORD size = ::GetFullPathNameW(path.get(), needed, text.get() + kRoom, nullptr);
  if (size == 0 || size >= needed) return nullptr;
  const bool network = std::wcsncmp(text.get() + kRoom, L"\\\\", 2) == 0;
  const wchar_t* const prefix = network ? L"\\\\?\\UNC\\" : L"\\\\?\\";
  const std::size_t prefix_size = std::wcslen(prefix);
  const std::size_t from = kRoom + (network ? 2 : 0);
  wchar_t* const start = text.get() + from - prefix_size;
  std::wmemcpy(start, prefix, prefix_size);
  std::wmemmove(text.get(), start, size + kRoom + 1 - (from - prefix_size));
  return text;
}

OVERLAPPED at(std::uint64_t offset) noexcept {
  OVERLAPPED where{};
  where.Offset = static_cast<DWORD>(offset);
  where.OffsetHigh = static_cast<DWORD>(offset >> 32);
  return where;
}

// One read. 0 bytes at the end of the file.
bool read_some(HANDLE file, std::uint64_t offset, std::byte* into, std::size_t size, DWORD& count) noexcept {
  OVERLAPPED where = at(offset);
  count = 0;
  return ::ReadFile(file, into, static_cast<DWORD>(size), &count, &where) != 0 || ::GetLastError() == ERROR_HANDLE_EOF;
}

}  // namespace

Expected<NativeFile> open_file(const char* path) noexcept {
  Text text = widen(path);
  if (text != nullptr) text = lengthened(std::move(text));
  if (text == nullptr) return last_error();
  // Others may go on writing, renaming and deleting it, as they may on Linux. BACKUP_SEMANTICS opens folders, too, so
  // that "is no regular file" is told by stat_file() everywhere. Not inherited by default.
  const HANDLE file =
      ::CreateFileW(text.get(), FILE_GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                    OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (file == INVALID_HANDLE_VALUE) return last_error();
  return NativeFile{file};
}

Expected<FileInfo> stat_file(NativeFile file) noexcept {
  const DWORD type = ::GetFileType(file);
  FileInfo info;
  if (type != FILE_TYPE_DISK) {  // NUL, COM1 and other devices can be opened by any path that ends with their names
    if (type == FILE_TYPE_UNKNOWN && ::GetLastError() != ERROR_SUCCESS) return last_error();
    return info;
  }
  BY_HANDLE_FILE_INFORMATION found{};
  if (::GetFileInformationByHandle(file, &found) == 0) return last_error();
  info.size = (std::uint64_t{found.nFileSizeHigh} << 32) | found.nFileSizeLow;
  const auto ticks = static_cast<std::int64_t>((std::uint64_t{found.ftLastWriteTime.dwHighDateTime} << 32) |
                                               found.ftLastWriteTime.dwLowDateTime);
  info.modified_ns = (ticks - kTicksTo1970) * 100;
  info.id = (std::uint64_t{found.nFileIndexHigh} << 32) | found.nFileIndexLow;
  info.directory = (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  info.regular = !info.directory;
  return info;
}

Expected<NativeFile> duplicate_file(NativeFile file) noexcept {
  // INVALID_HANDLE_VALUE is also the name of "this process", which can be duplicated very well.
  if (file == no_file) return error_from_os(ERROR_INVALID_HANDLE);
  HANDLE copy = nullptr;
  const HANDLE self = ::GetCurrentProcess();
  if (::DuplicateHandle(self, file, self, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS) == 0) return last_error();
  return NativeFile{copy};
}

void close_file(NativeFile file) noexcept { static_cast<void>(::CloseHandle(file)); }

Expected<std::uint32_t> read_at(NativeFile file, std::uint64_t offset, MutableBytes into) noexcept {
  const std::size_t wanted = std::min<std::size_t>(into.size(), 1U << 30);
  std::size_t done = 0;
  while (done < wanted) {
    DWORD count = 0;
    if (!read_some(file, offset + done, into.data() + done, wanted - done, count)) return last_error();
    if (count == 0) break;
    done += count;
  }
  return static_cast<std::uint32_t>(done);
}

Error read_ahead(NativeFile file, std::uint64_t offset, std::uint32_t count) noexcept {
  // Into a scratch buffer that is small enough for a thread's stack and the nearest cache; the cache manager keeps it.
  std::byte scratch[16 * 1024];
  std::uint64_t done = 0;
  while (done < count) {
    DWORD got = 0;
    if (!read_some(file, offset + done, scratch, std::min<std::size_t>(sizeof scratch, count - done), got))
      return last_error();
    if (got == 0) return {Errc::eof, 0};
    done += got;
  }
  return {Errc::ok, 0};
}

// Windows cannot tell. It need not: TransmitFile reads in the kernel's own threads, so no disk holds the loop.
bool is_cached(NativeFile, std::uint64_t) noexcept { return true; }

}  // namespace pyre::platform
