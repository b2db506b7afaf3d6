// BufferPool: receive buffers of one size, lent late and given back soon; the loop's thread only. A handful of buffers
// serve thousands of connections, because a buffer is held only while its bytes are being looked at.
#pragma once

#include <cstdint>

#include "platform/lease.h"

namespace pyre::net {

class BufferPool final : public platform::BufferSource {
 public:
  static constexpr std::uint32_t kBufferBytes = 64 * 1024;  // one read empties a default socket buffer's usual fill

  // At most `limit` buffers are out at a time (lend() then gives an empty lease); `keep` idle ones are kept for reuse.
  explicit BufferPool(std::uint32_t limit = 1024, std::uint32_t keep = 8) noexcept;
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  [[nodiscard]] platform::Lease lend() noexcept override;
  [[nodiscard]] std::uint32_t lent() const noexcept { return lent_; }
  [[nodiscard]] std::uint32_t idle() const noexcept { return idle_; }

 private:
  void take_back(std::byte* data, std::uint32_t capacity) noexcept override;
  std::uint32_t limit_;
  std::uint32_t keep_;
  std::uint32_t lent_ = 0;
  std::uint32_t idle_ = 0;
  std::byte* free_ = nullptr;  // idle buffers, threaded through their first bytes
};

}  // namespace pyre::net
