// EncoderPool: what encodes whole bodies one after the other, lent to whichever thread has one to encode. An encoder
// costs 0.3 to 1 MB and some 20 us to make, so it is kept; there are as many as ever were at work at the same time,
// which is at most one for each loop and each thread of net::Offload and of the file pools.
//
// Not a thread_local: MinGW frees the memory of those before it calls their destructors.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "http/compression.h"
#include "http/encoder.h"

namespace pyre::http {

class EncoderPool {
  struct Set;

 public:
  // Any thread; given back by its end. At least as long as this lives the pool must.
  class Lease {
   public:
    explicit Lease(EncoderPool& pool) noexcept : pool_(pool), set_(pool.take()) {}
    ~Lease() { pool_.give_back(set_); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    // False: memory is exhausted, and nothing else may be called.
    explicit operator bool() const noexcept { return set_ != nullptr; }
    // Null: memory is exhausted. To be begun with Encoder::begin().
    [[nodiscard]] Encoder* encoder(Compression::Choice choice) noexcept;
    // Empty.
    [[nodiscard]] ByteBuffer& scratch() noexcept;

   private:
    EncoderPool& pool_;
    Set* set_;
  };

  // Never destroyed: threads may be at work when the process ends.
  [[nodiscard]] static EncoderPool& of_process() noexcept;
  // In the child of a fork(): a thread that is not there may have held the lock. What the pool had stays where it is.
  static void abandon_after_fork() noexcept;

  EncoderPool() noexcept = default;
  ~EncoderPool();  // every lease is over
  EncoderPool(const EncoderPool&) = delete;
  EncoderPool& operator=(const EncoderPool&) = delete;

 private:
  static constexpr std::size_t kKeepScratch = 512 * 1024;  // of each

  [[nodiscard]] Set* take() noexcept;
  void give_back(Set* set) noexcept;

  std::mutex mutex_;
  Set* free_ = nullptr;  // the one used last first, whose memory is in a cache
};

}  // namespace pyre::http
