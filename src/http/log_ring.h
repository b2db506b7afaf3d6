// LogRing: a bounded ring of bytes between one producer (a loop's thread) and one consumer (a writer thread).
// Lock-free. A record is contiguous: the producer formats it in place, without knowing its length beforehand but a
// bound of it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>

namespace pyre::http {

class LogRing {
 public:
  // `capacity` is a power of two. valid() is false if there is no memory: then nothing fits.
  explicit LogRing(std::size_t capacity) noexcept
      : memory_(new(std::nothrow) char[capacity]), capacity_(memory_ ? capacity : 0) {}
  LogRing(const LogRing&) = delete;
  LogRing& operator=(const LogRing&) = delete;
  [[nodiscard]] bool valid() const noexcept { return memory_ != nullptr; }
  [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

  // ---- the producer
  // Room for `bound` bytes in one piece, or null: the ring is too full.
  [[nodiscard]] char* reserve(std::size_t bound) noexcept {
    const std::size_t at = index(write_at_);
    const std::size_t to_end = capacity_ - at;
    const std::size_t skipped = bound <= to_end ? 0 : to_end;  // the piece before the end stays unused
    if (bound > capacity_) return nullptr;
    if (write_at_ + skipped + bound - seen_read_at_ > capacity_) {
      seen_read_at_ = read_at_.load(std::memory_order_acquire);
      if (write_at_ + skipped + bound - seen_read_at_ > capacity_) return nullptr;
    }
    if (skipped != 0) {
      // Only one end is outstanding at a time: that there is room beyond the wrap means that the consumer has left the
      // round before.
      end_of_round_.store(write_at_, std::memory_order_relaxed);
      write_at_ += skipped;
    }
    return memory_.get() + index(write_at_);
  }
  // The first `size` (<= bound) bytes of what reserve() gave are a record now.
  void commit(std::size_t size) noexcept {
    write_at_ += size;
    written_at_.store(write_at_, std::memory_order_release);
  }
  // commit()s are visible to a consumer that announced with a seq_cst store, before this, that it is going to sleep.
  void publish() noexcept { written_at_.store(write_at_, std::memory_order_seq_cst); }
  // Grows with every record: tells whether there is anything new.
  [[nodiscard]] std::uint64_t position() const noexcept { return write_at_; }
  [[nodiscard]] std::size_t used() const noexcept { return write_at_ - read_at_.load(std::memory_order_relaxed); }

  // ---- the consumer
  // The oldest bytes in one piece (whole records, unless consume() split one); empty if there are none.
  [[nodiscard]] std::string_view readable() noexcept {
    const std::uint64_t written_at = written_at_.load(std::memory_order_seq_cst);
    std::uint64_t read_at = read_at_.load(std::memory_order_relaxed);
    if (read_at == written_at) return {};
    if (round(read_at) == round(written_at)) return {memory_.get() + index(read_at), written_at - read_at};
    // The producer has gone on to the next round. Where this one ends: at what it skipped, or at the very end if it
    // fitted exactly.
    const std::uint64_t next_round = (round(read_at) + 1) * capacity_;
    std::uint64_t end = end_of_round_.load(std::memory_order_relaxed);
    if (round(end) != round(read_at)) end = next_round;
    if (read_at < end) return {memory_.get() + index(read_at), end - read_at};
    read_at = next_round;
    read_at_.store(read_at, std::memory_order_release);
    return {memory_.get(), written_at - read_at};
  }
  void consume(std::size_t size) noexcept {
    read_at_.store(read_at_.load(std::memory_order_relaxed) + size, std::memory_order_release);
  }
  [[nodiscard]] bool empty() const noexcept {
    return written_at_.load(std::memory_order_seq_cst) == read_at_.load(std::memory_order_relaxed);
  }

 private:
  [[nodiscard]] std::size_t index(std::uint64_t position) const noexcept { return position & (capacity_ - 1); }
  [[nodiscard]] std::uint64_t round(std::uint64_t position) const noexcept { return position / capacity_; }

  // Positions only grow; they wrap after 2^64 bytes. Each side's own on its own cache line.
  std::unique_ptr<char[]> memory_;
  std::size_t capacity_;
  alignas(64) std::uint64_t write_at_ = 0;  // the producer's
  std::uint64_t seen_read_at_ = 0;
  std::atomic<std::uint64_t> written_at_{0};  // the producer writes, the consumer reads
  std::atomic<std::uint64_t> end_of_round_{~std::uint64_t{0}};
  alignas(64) std::atomic<std::uint64_t> read_at_{0};  // the consumer writes, the producer reads
};

}  // namespace pyre::http
