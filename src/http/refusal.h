// Refusal: why a request is not served. Status 0 means that nothing is wrong.
#pragma once

#include <cstdint>

namespace pyre::http {

struct Refusal {
  std::uint16_t status = 0;
  const char* reason = nullptr;  // static text for the log
  [[nodiscard]] constexpr explicit operator bool() const noexcept { return status != 0; }
};

}  // namespace pyre::http
