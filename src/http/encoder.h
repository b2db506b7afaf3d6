// Encoder: one content coding (RFC 9110 8.4.1) at work on one body: gzip (RFC 1952) by zlib-ng, br (RFC 7932) by
// brotli, zstd (RFC 8878) by zstd. It knows nothing of loops and may move between threads, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "http/accept_encoding.h"

namespace pyre::http {

// Bytes that grow. Memory of platform/memory.h.
class ByteBuffer {
 public:
  ByteBuffer() noexcept = default;
  ~ByteBuffer();
  ByteBuffer(const ByteBuffer&) = delete;
  ByteBuffer& operator=(const ByteBuffer&) = delete;
  // At least `size` (> 0) bytes behind what is there; empty when memory is exhausted.
  [[nodiscard]] std::span<std::byte> room(std::size_t size) noexcept;
  void add(std::size_t written) noexcept { size_ += written; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  void clear() noexcept { size_ = 0; }
  // Gives memory above `keep` back.
  void shrink(std::size_t keep) noexcept;

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

class Encoder {
 public:
  enum class End : std::uint8_t {
    open,    // more follows, and nobody waits for what there is
    flush,   // what was given must be decodable by who has all output up to here
    finish,  // the body is complete
  };
  // The levels are each library's own, and checked: see level_range(). Null: this build has no such coding, or memory
  // is exhausted.
  [[nodiscard]] static std::unique_ptr<Encoder> create(Coding coding, int level) noexcept;
  virtual ~Encoder() = default;
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  // Begins a body. `size`: its length; kUnknown for a stream, whose window is then kept at 128 KiB, so that one that
  // goes on for hours costs about a megabyte. False: memory is exhausted.
  static constexpr std::uint64_t kUnknown = UINT64_MAX;
  [[nodiscard]] virtual bool begin(std::uint64_t size) noexcept = 0;
  // Encodes all of `in` onto the end of `out`. False: memory is exhausted, and the body cannot be gone on with.
  [[nodiscard]] virtual bool encode(std::span<const std::byte> in, End end, ByteBuffer& out) noexcept = 0;
  // About what a stream of this coding holds, in bytes.
  [[nodiscard]] virtual std::size_t memory() const noexcept = 0;

 protected:
  Encoder() noexcept = default;
};

struct LevelRange {
  int lowest = 0;
  int highest = 0;
  int usual = 0;  // what is taken when nobody says
};
// Of gzip, br or zstd.
[[nodiscard]] LevelRange level_range(Coding coding) noexcept;
// Ten times slower than the usual level, and more: never for a loop's thread.
[[nodiscard]] bool is_slow(Coding coding, int level) noexcept;
[[nodiscard]] bool has_encoders() noexcept;  // false: this build has none

}  // namespace pyre::http
