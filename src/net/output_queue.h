// OutputQueue: the bytes that wait to be sent on one stream, in order: copied bytes in pooled blocks, borrowed bytes
// (owned by someone until released), and ranges of files. Empty, it holds no memory. The loop's thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "platform/op.h"

namespace pyre::net {

// Bytes or a file that somebody else owns. `release(owner)` is called exactly once, on the loop's thread, possibly
// without the GIL, when the queue no longer needs it (sent, or discarded). It must not call back into the queue.
struct Borrowed {
  void* owner = nullptr;
  void (*release)(void* owner) noexcept = nullptr;
};

// Blocks for copied bytes, and the small records that list what is queued: one pool per loop (reused LIFO so that they
// stay in cache).
class BlockPool {
 public:
  static constexpr std::uint32_t kBlockBytes = 16 * 1024;  // 16 pipelined small answers, or a head and a small page
  static constexpr std::uint32_t kKeep =
      64;  // idle blocks kept: 1 MiB, the batch limit (64 requests) at one block each
  static constexpr std::uint32_t kKeepPieces = 256;  // idle records kept: 16 KiB, four for each request of a batch
  BlockPool() noexcept = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  [[nodiscard]] std::uint32_t blocks_in_use() const noexcept { return blocks_in_use_; }
  [[nodiscard]] std::uint32_t pieces_in_use() const noexcept { return pieces_in_use_; }
  [[nodiscard]] std::uint32_t idle_blocks() const noexcept { return idle_blocks_; }
  // Tests only: from now on this many allocations succeed, then memory is exhausted. Idle ones do not count.
  void fail_after_for_tests(std::uint32_t allocations) noexcept { allocations_left_ = allocations; }

 private:
  friend class OutputQueue;
  struct Block;
  struct Piece;
  [[nodiscard]] Block* take_block() noexcept;
  void release(Block* block) noexcept;      // one reference less
  [[nodiscard]] bool has_piece() noexcept;  // makes sure that the next take_piece() succeeds
  [[nodiscard]] Piece* take_piece() noexcept;
  void give_back(Piece* piece) noexcept;

  Block* free_blocks_ = nullptr;
  Piece* free_pieces_ = nullptr;
  std::uint32_t idle_blocks_ = 0;
  std::uint32_t idle_pieces_ = 0;
  std::uint32_t blocks_in_use_ = 0;
  std::uint32_t pieces_in_use_ = 0;
  std::uint32_t allocations_left_ = UINT32_MAX;
};

class OutputQueue {
 public:
  explicit OutputQueue(BlockPool& blocks) noexcept : blocks_(&blocks) {}
  ~OutputQueue();  // releases everything
  OutputQueue(const OutputQueue&) = delete;
  OutputQueue& operator=(const OutputQueue&) = delete;

  // At least `size` contiguous writable bytes at the end (size <= kBlockBytes); commit() says how many were used.
  // False-y (empty span) only when memory is exhausted. No other call in between, on this or another queue of the pool.
  [[nodiscard]] std::span<std::byte> reserve(std::uint32_t size) noexcept;
  void commit(std::uint32_t used) noexcept;
  // Copies, over as many blocks as needed. False when memory is exhausted (then nothing was appended).
  [[nodiscard]] bool append(platform::ConstBytes bytes) noexcept;
  // No copy. On false (memory) it is not taken over, and `owner` was not released. An empty piece is released at once.
  [[nodiscard]] bool append_borrowed(platform::ConstBytes bytes, Borrowed owner) noexcept;
  [[nodiscard]] bool append_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count,
                                 Borrowed owner) noexcept;

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }  // bytes queued, files' bytes included
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  // Bytes of memory that stay alive because of this queue (blocks and borrowed bytes; a file's bytes count 0).
  [[nodiscard]] std::uint64_t memory() const noexcept { return memory_; }
  // Each range of a file keeps a descriptor. Counted, not kept as a number, since a stream has no room for one; it
  // looks at few pieces: what is copied is one piece up to the next file.
  [[nodiscard]] bool has_more_files_than(std::uint32_t count) const noexcept;

  struct FileRange {
    platform::NativeFile file;
    std::uint64_t offset;
    std::uint64_t count;
  };
  // What is at the front: memory pieces (up to `out.size()` of them and about `max_bytes`), or a file.
  [[nodiscard]] bool front_is_file() const noexcept;
  // gather() ends at exactly `max_bytes`, cutting the last piece.
  [[nodiscard]] std::size_t gather(std::span<platform::ConstBytes> out, std::uint64_t max_bytes) const noexcept;
  [[nodiscard]] bool front_fits(
      std::size_t pieces) const noexcept;               // the memory at the front is at most so many pieces
  [[nodiscard]] FileRange front_file() const noexcept;  // only if front_is_file()
  // One piece of memory with a file behind it, as a response with a file begins. False-y (no file) if it is not that.
  struct HeadedFile {
    platform::ConstBytes head;
    FileRange range{platform::no_file, 0, 0};
  };
  [[nodiscard]] HeadedFile front_headed_file() const noexcept;
  void consume(std::uint64_t bytes) noexcept;  // took this many from the front
  void clear() noexcept;                       // discards and releases everything

 private:
  using Block = BlockPool::Block;
  using Piece = BlockPool::Piece;

  void push(Piece* piece) noexcept;
  void pop() noexcept;               // gives the front piece back and releases what it holds
  void drop(Piece* piece) noexcept;  // the same for a piece that is linked no more
  void release_block(Block* block) noexcept;
  void drop_open_block() noexcept;

  BlockPool* blocks_;
  std::uint64_t size_ = 0;
  std::uint64_t memory_ = 0;
  Piece* head_ = nullptr;
  Piece* tail_ = nullptr;
  Block* open_ = nullptr;  // where copied bytes go; never held while the queue is empty
};

}  // namespace pyre::net
