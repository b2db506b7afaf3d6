// What every system's error table shares. The tables are in linux/error_linux.cpp and windows/error_windows.cpp.
#include "platform/error.h"

namespace pyre::platform {

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
