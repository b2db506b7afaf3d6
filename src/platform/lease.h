// Lease: bytes that a pool lends for a while. Late binding is the point: a reactor asks for one only when a socket has
// something to read, so an idle connection holds none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace pyre::platform {

class Lease;

// One thread, the loop's. The pool outlives its leases.
class BufferSource {
 public:
  // A lease with capacity() > 0 and size() == 0, or an empty one when the pool is at its limit.
  [[nodiscard]] virtual Lease lend() noexcept = 0;
  // Lease's alone.
  virtual void take_back(std::byte* data, std::uint32_t capacity) noexcept = 0;

 protected:
  ~BufferSource() = default;
};

// Move-only; gives the bytes back when it dies.
class Lease {
 public:
  Lease() noexcept = default;
  Lease(BufferSource& source, std::byte* data, std::uint32_t capacity) noexcept
      : source_(&source), data_(data), capacity_(capacity) {}
  Lease(Lease&& other) noexcept
      : source_(std::exchange(other.source_, nullptr)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      reset();
      source_ = std::exchange(other.source_, nullptr);
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      capacity_ = std::exchange(other.capacity_, 0);
    }
    return *this;
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  ~Lease() { reset(); }

  void reset() noexcept {
    if (source_ != nullptr) source_->take_back(data_, capacity_);
    source_ = nullptr;
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  [[nodiscard]] explicit operator bool() const noexcept { return data_ != nullptr; }
  void set_size(std::uint32_t size) noexcept { size_ = size; }

 private:
  BufferSource* source_ = nullptr;
  std::byte* data_ = nullptr;
  std::uint32_t size_ = 0;
  std::uint32_t capacity_ = 0;
};

}  // namespace pyre::platform
