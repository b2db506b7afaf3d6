// Files: the few calls that the server needs, on native handles. All may block: call them on a FilePool thread.
#pragma once

#include <cstdint>

#include "platform/expected.h"
#include "platform/native.h"
#include "platform/op.h"

namespace pyre::platform {

struct FileInfo {
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;  // since the Unix epoch
  std::uint64_t id = 0;          // the inode: another file of the same name has another one
  bool regular = false;          // neither directory, device, fifo nor socket
  bool directory = false;
};

// Do names follow Windows' rules: backslashes, streams behind a colon, devices by name, blanks and dots that vanish?
#ifdef _WIN32
inline constexpr bool windows_file_names = true;
#else
inline constexpr bool windows_file_names = false;
#endif

// Read-only, close-on-exec, and O_NONBLOCK so that opening a fifo does not hang. `path` is UTF-8, NUL-terminated.
[[nodiscard]] Expected<NativeFile> open_file(const char* path) noexcept;
[[nodiscard]] Expected<FileInfo> stat_file(NativeFile file) noexcept;
[[nodiscard]] Expected<NativeFile> duplicate_file(NativeFile file) noexcept;
void close_file(NativeFile file) noexcept;
// Reads from `offset` until `into` is full or the file ends; the count says which. Blocking, and the file's own
// position is not used.
[[nodiscard]] Expected<std::uint32_t> read_at(NativeFile file, std::uint64_t offset, MutableBytes into) noexcept;
// Blocking: pulls the range into the page cache. Errc::eof at the end of the file.
[[nodiscard]] Error read_ahead(NativeFile file, std::uint64_t offset, std::uint32_t count) noexcept;
// Is at least the first page of the range in the page cache? Never blocks (preadv2 RWF_NOWAIT); true where that cannot
// be told.
[[nodiscard]] bool is_cached(NativeFile file, std::uint64_t offset) noexcept;

}  // namespace pyre::platform
