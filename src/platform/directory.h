// Directory: a folder whose files are given to strangers. A name leads to what lies below it, or nowhere: what would
// lead out, by a symbolic link or any other way, is an error. All functions may block, except where they say so.
#pragma once

#include <memory>

#include "platform/expected.h"
#include "platform/native.h"

namespace pyre::platform {

class Directory {
 public:
  // `path` is UTF-8, NUL-terminated. What it names now is meant from now on, also if it is renamed.
  [[nodiscard]] static Expected<std::unique_ptr<Directory>> open(const char* path) noexcept;
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  // Read-only and as open_file() does it; folders, too. `name` is UTF-8: segments with one '/' between them, none of
  // them empty, "." or ".."; "" is the directory itself. Any thread.
  [[nodiscard]] Expected<NativeFile> open_beneath(const char* name) const noexcept;
  // Never blocks: the system remembers that this name leads nowhere. False: it does not know, or there is something.
  [[nodiscard]] bool is_known_missing(const char* name) const noexcept;
  // From now on as on a kernel without openat2(), where that makes a difference.
  void pretend_old_kernel_for_tests() noexcept { old_kernel_ = true; }

 private:
  struct Root;
  explicit Directory(std::unique_ptr<Root> root) noexcept;

  std::unique_ptr<Root> root_;
  bool old_kernel_ = false;
};

}  // namespace pyre::platform
