// Range (RFC 9110 14): which parts of a representation a request asks for.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace pyre::http {

struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;  // never 0
  [[nodiscard]] std::uint64_t last() const noexcept { return first + count - 1; }
};

class RangeSet {
 public:
  // Parts of one answer: a PDF reader asks for two or three at once; each is a send of its own.
  static constexpr std::size_t kMaxRanges = 16;
  // Ranges in a field, before those that overlap are joined. Apache's killer of 2011 sent 1,300.
  static constexpr std::size_t kMaxAsked = 64;

  enum class Verdict : std::uint8_t {
    whole,          // 200: the field asks for nothing we know, is malformed, or asks for too much
    partial,        // 206
    unsatisfiable,  // 416
  };
  // Of a representation of `size` bytes. A field that has more ranges than the above, or that asks for more bytes in
  // sum than there are, is an attack or a mistake: it is not followed (RFC 9110 14.2).
  [[nodiscard]] Verdict parse(std::string_view field, std::uint64_t size) noexcept;

  // After Verdict::partial: in the order of the field, or by position if some of them overlapped and were joined.
  [[nodiscard]] std::span<const ByteRange> ranges() const noexcept { return {ranges_.data(), count_}; }

 private:
  void join_overlapping() noexcept;

  std::array<ByteRange, kMaxAsked> ranges_;
  std::size_t count_ = 0;
};

}  // namespace pyre::http
