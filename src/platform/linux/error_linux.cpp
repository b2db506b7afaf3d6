#include <cerrno>

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

Error error_from_os(std::int32_t os_error) noexcept { return {errc_from_os(os_error), os_error}; }

Result result_from_os(std::int32_t os_error, std::uint32_t bytes) noexcept {
  return {errc_from_os(os_error), bytes, os_error};
}

const char* errc_name(Errc code) noexcept {
  switch (code) {
    case Errc::ok:
      return "ok";
    case Errc::eof:
      return "eof";
    case Errc::cancelled:
      return "cancelled";
    case Errc::reset:
      return "reset";
    case Errc::timed_out:
      return "timed_out";
    case Errc::exhausted:
      return "exhausted";
    case Errc::unsupported:
      return "unsupported";
    case Errc::other:
      return "other";
  }
  return "?";
}

}  // namespace pyre::platform
