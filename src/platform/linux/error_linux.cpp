#include <cerrno>
#include <system_error>

#include "platform/error.h"

namespace pyre::platform {

Errc errc_from_os(std::int32_t os_error) noexcept {
  switch (os_error) {
    case 0:
      return Errc::ok;

    // The connection is gone, whoever ended it. The network's own refusals (ICMP) are among them: on an established
    // connection they are as final for us.
    case ECONNRESET:
    case ECONNABORTED:
    case ECONNREFUSED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
    case ENETRESET:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
      return Errc::reset;

    case ETIMEDOUT:
      return Errc::timed_out;

    case ECANCELED:
      return Errc::cancelled;

    // Something is short just now. ENOSPC: /proc/sys/fs/epoll/max_user_watches.
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case ENOSPC:
      return Errc::exhausted;

    // The call makes no sense for this kind of object: sendfile() from a file that cannot be mapped says EINVAL.
    case EINVAL:
    case ENOSYS:
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
    case EAFNOSUPPORT:
      return Errc::unsupported;

    default:
      return Errc::other;
  }
}

std::string os_error_text(std::int32_t os_error) { return std::system_category().message(os_error); }

}  // namespace pyre::platform
