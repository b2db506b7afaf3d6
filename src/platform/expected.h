// Expected<T>: a value or the reason why there is none. C++20 has no std::expected; this is the little of it we need.
#pragma once

#include <cassert>
#include <optional>
#include <utility>

#include "platform/op.h"

namespace pyre::platform {

struct Error {
  Errc code = Errc::other;
  std::int32_t os_error = 0;
};

template <typename T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) noexcept : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Expected(Error error) noexcept : error_(error) {}         // NOLINT(google-explicit-constructor)
  [[nodiscard]] bool has_value() const noexcept { return value_.has_value(); }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] T& value() noexcept {
    assert(value_);
    return *value_;
  }
  [[nodiscard]] const T& value() const noexcept {
    assert(value_);
    return *value_;
  }
  [[nodiscard]] T& operator*() noexcept { return value(); }
  [[nodiscard]] T* operator->() noexcept { return &value(); }
  [[nodiscard]] Error error() const noexcept { return error_; }

 private:
  std::optional<T> value_;
  Error error_{};
};

}  // namespace pyre::platform
