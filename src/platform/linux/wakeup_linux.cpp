#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

#include "platform/error.h"
#include "platform/wakeup.h"

namespace pyre::platform {
namespace {

class EventWakeup final : public Wakeup {
 public:
  explicit EventWakeup(int fd) noexcept : fd_(fd) {}
  ~EventWakeup() override { static_cast<void>(::close(fd_)); }
  void wake() noexcept override {
    const std::uint64_t one = 1;
    static_cast<void>(!::write(fd_, &one, sizeof one));
  }
  void clear() noexcept override {
    std::uint64_t count = 0;
    static_cast<void>(!::read(fd_, &count, sizeof count));
  }
  [[nodiscard]] NativeSocket handle() const noexcept override { return fd_; }
  [[nodiscard]] NativeSocket take_handle() noexcept override { return no_socket; }

 private:
  int fd_;
};

class PairWakeup final : public Wakeup {
 public:
  PairWakeup(int near, int far) noexcept : near_(near), far_(far) {}
  ~PairWakeup() override {
    static_cast<void>(::close(near_));
    if (far_ != no_socket) static_cast<void>(::close(far_));
  }
  void wake() noexcept override { static_cast<void>(!::send(near_, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT)); }
  void clear() noexcept override {}
  [[nodiscard]] NativeSocket handle() const noexcept override { return far_; }
  [[nodiscard]] NativeSocket take_handle() noexcept override { return std::exchange(far_, no_socket); }

 private:
  int near_;
  int far_;
};

}  // namespace

Expected<std::unique_ptr<Wakeup>> Wakeup::make(Kind kind) noexcept {
  std::unique_ptr<Wakeup> made;
  if (kind == Kind::event) {
    const int fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) return error_from_os(errno);
    made.reset(new (std::nothrow) EventWakeup(fd));
    if (made == nullptr) static_cast<void>(::close(fd));
  } else {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) return error_from_os(errno);
    made.reset(new (std::nothrow) PairWakeup(ends[0], ends[1]));
    if (made == nullptr) {
      static_cast<void>(::close(ends[0]));
      static_cast<void>(::close(ends[1]));
    }
  }
  if (made == nullptr) return Error{Errc::exhausted, ENOMEM};
  return made;
}

}  // namespace pyre::platform
