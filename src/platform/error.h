// Errors: from the system's number to the few codes that decisions are taken on.
//
// There is exactly one table per system (linux/error_linux.cpp, windows/error_windows.cpp), used for every operation:
// tables that are copied per operation drift apart. tests/unit/platform/error_test.cpp spells each table out once more.
#pragma once

#include <cstdint>
#include <string>

#include "platform/expected.h"
#include "platform/op.h"

namespace pyre::platform {

// `os_error` is an errno value; on Windows it is what GetLastError() or WSAGetLastError() says (one number space).
// "Would block", "pending" and EINTR are the reactor's own business and never get here; they map to `other`.
[[nodiscard]] Errc errc_from_os(std::int32_t os_error) noexcept;

// The same, with the number beside it.
[[nodiscard]] Error error_from_os(std::int32_t os_error) noexcept;
[[nodiscard]] Result result_from_os(std::int32_t os_error, std::uint32_t bytes = 0) noexcept;

// Is `os_error` an errno value, as Python's OSError wants one (else it is its `winerror`)?
#ifdef _WIN32
inline constexpr bool os_errors_are_errno = false;
#else
inline constexpr bool os_errors_are_errno = true;
#endif
// The system's words for it, without a final dot or line end; "" if it has none.
[[nodiscard]] std::string os_error_text(std::int32_t os_error);

// "reset", "timed_out": for logs.
[[nodiscard]] const char* errc_name(Errc code) noexcept;

}  // namespace pyre::platform
