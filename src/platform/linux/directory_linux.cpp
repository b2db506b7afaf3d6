#include "platform/directory.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>

#include "platform/error.h"
#include "platform/file.h"

namespace pyre::platform {
namespace {

constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
constexpr int kStep = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
// openat2() says EAGAIN if something was renamed on the way of a "..", in a link's target: then nobody knows whether it
// leads out. An attacker who renames all the time gets an error, not our thread.
constexpr int kTries = 16;
constexpr std::size_t kMaxName = 255;  // NAME_MAX of every usual file system

int open_at(int folder, const char* name, int flags) noexcept {
  for (;;) {
    const int file = ::openat(folder, name, flags);
    if (file >= 0 || errno != EINTR) return file;
  }
}

// Links that stay below the directory are followed, absolute ones and those of /proc are not.
int open_resolved(int root, const char* name) noexcept {
  open_how how{};
  how.flags = static_cast<decltype(how.flags)>(kFlags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  for (int i = 0;; ++i) {
    const long file = ::syscall(SYS_openat2, root, name, &how, sizeof how);
    if (file >= 0) return static_cast<int>(file);
    if ((errno != EAGAIN && errno != EINTR) || i >= kTries) return -1;
  }
}

// The same without openat2() (Linux before 5.6, or a filter that does not know it): step by step, and no link is
// followed, since where it leads could only be found out by doing the kernel's work once more.
int open_stepwise(int root, const char* name) noexcept {
  int folder = root;
  for (;;) {
    const char* const slash = std::strchr(name, '/');
    int next = -1;
    if (slash == nullptr) {
      next = open_at(folder, name, kFlags | O_NOFOLLOW);
    } else if (const auto size = static_cast<std::size_t>(slash - name); size > kMaxName) {
      errno = ENAMETOOLONG;
    } else {
      char segment[kMaxName + 1];
      std::memcpy(segment, name, size);
      segment[size] = '\0';
      next = open_at(folder, segment, kStep);
    }
    const int error = errno;
    if (folder != root) static_cast<void>(::close(folder));
    errno = error;
    if (next < 0 || slash == nullptr) return next;
    folder = next;
    name = slash + 1;
  }
}

}  // namespace

struct Directory::Root {
  explicit Root(int opened) noexcept : file(opened) {}
  ~Root() { close_file(file); }
  Root(const Root&) = delete;
  Root& operator=(const Root&) = delete;
  int file;
};

Directory::Directory(std::unique_ptr<Root> root) noexcept : root_(std::move(root)) {}
Directory::~Directory() = default;

Expected<std::unique_ptr<Directory>> Directory::open(const char* path) noexcept {
  const int file = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return error_from_os(errno);
  std::unique_ptr<Root> root(new (std::nothrow) Root(file));
  if (root == nullptr) {
    close_file(file);
    return error_from_os(ENOMEM);
  }
  std::unique_ptr<Directory> made(new (std::nothrow) Directory(std::move(root)));
  if (made == nullptr) return error_from_os(ENOMEM);
  return made;
}

Expected<NativeFile> Directory::open_beneath(const char* name) const noexcept {
  if (*name == '\0') name = ".";
  int file = -1;
  if (!old_kernel_) {
    file = open_resolved(root_->file, name);
    // EPERM: a container's filter from before openat2() refuses what it does not know. It is no answer of open() for
    // reading, so nothing is lost by trying the other way.
    if (file >= 0 || (errno != ENOSYS && errno != EPERM)) {
      if (file < 0) return error_from_os(errno);
      return file;
    }
  }
  file = open_stepwise(root_->file, name);
  if (file < 0) return error_from_os(errno);
  return file;
}

// RESOLVE_CACHED (Linux 5.12): EAGAIN instead of asking the disk. What leads out (EXDEV) is as good as missing. An
// older kernel says EINVAL, which is no answer.
bool Directory::is_known_missing(const char* name) const noexcept {
  if (old_kernel_ || *name == '\0') return false;
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_CACHED;
  const long file = ::syscall(SYS_openat2, root_->file, name, &how, sizeof how);
  if (file < 0) return errno == ENOENT || errno == ENOTDIR || errno == EXDEV || errno == ENAMETOOLONG;
  static_cast<void>(::close(static_cast<int>(file)));
  return false;
}

}  // namespace pyre::platform
