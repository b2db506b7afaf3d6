#include "net/output_queue.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "net/poison.h"
#include "platform/memory.h"

namespace pyre::net {

// Copied bytes. Several pieces may point into one block (a head, a borrowed body, the next head), hence the count.
struct BlockPool::Block {
  Block* next = nullptr;
  std::uint32_t references = 1;
  std::uint32_t used = 0;
  std::byte bytes[kBlockBytes];
};

// One run of bytes, one cache line: into a block, borrowed, or of a file.
struct BlockPool::Piece {
  enum class Kind : std::uint8_t { copied, borrowed, file };
  Piece* next = nullptr;
  std::uint64_t size = 0;           // what is left of it
  const std::byte* data = nullptr;  // copied, borrowed
  std::uint64_t offset = 0;         // file: where the rest begins; borrowed: bytes that stay alive until the release
  Block* block = nullptr;           // copied
  Borrowed owner;                   // borrowed, file
  platform::NativeFile file = platform::no_file;
  Kind kind = Kind::copied;
};

BlockPool::~BlockPool() {
  assert(blocks_in_use_ == 0 && pieces_in_use_ == 0);
  while (free_blocks_ != nullptr) {
    Block* block = free_blocks_;
    free_blocks_ = block->next;
    unpoison(block->bytes, kBlockBytes);
    platform::destroy(block);
  }
  while (free_pieces_ != nullptr) {
    Piece* piece = free_pieces_;
    free_pieces_ = piece->next;
    platform::destroy(piece);
  }
}

BlockPool::Block* BlockPool::take_block() noexcept {
  Block* block = free_blocks_;
  if (block != nullptr) {
    free_blocks_ = block->next;
    --idle_blocks_;
    unpoison(block->bytes, kBlockBytes);
    block->next = nullptr;
    block->references = 1;
    block->used = 0;
  } else {
    if (allocations_left_ == 0) return nullptr;
    if (allocations_left_ != UINT32_MAX) --allocations_left_;
    void* memory = platform::allocate(sizeof(Block));
    if (memory == nullptr) return nullptr;
    block = ::new (memory) Block;  // not Block{}: that would clear 16 KiB
  }
  ++blocks_in_use_;
  return block;
}

void BlockPool::release(Block* block) noexcept {
  if (--block->references != 0) return;
  --blocks_in_use_;
  if (idle_blocks_ >= kKeep) {
    platform::destroy(block);
    return;
  }
  block->next = free_blocks_;
  free_blocks_ = block;
  ++idle_blocks_;
  poison(block->bytes, kBlockBytes);
}

bool BlockPool::has_piece() noexcept {
  if (free_pieces_ != nullptr) return true;
  if (allocations_left_ == 0) return false;
  if (allocations_left_ != UINT32_MAX) --allocations_left_;
  free_pieces_ = platform::create<Piece>();
  if (free_pieces_ == nullptr) return false;
  ++idle_pieces_;
  return true;
}

BlockPool::Piece* BlockPool::take_piece() noexcept {
  if (!has_piece()) return nullptr;
  Piece* piece = free_pieces_;
  free_pieces_ = piece->next;
  --idle_pieces_;
  ++pieces_in_use_;
  piece->next = nullptr;
  return piece;
}

void BlockPool::give_back(Piece* piece) noexcept {
  --pieces_in_use_;
  if (idle_pieces_ >= kKeepPieces) {
    platform::destroy(piece);
    return;
  }
  piece->next = free_pieces_;
  free_pieces_ = piece;
  ++idle_pieces_;
}

OutputQueue::~OutputQueue() {
  clear();
  drop_open_block();
}

std::span<std::byte> OutputQueue::reserve(std::uint32_t size) noexcept {
  assert(size <= BlockPool::kBlockBytes);
  if (!blocks_->has_piece()) return {};
  if (open_ == nullptr || BlockPool::kBlockBytes - open_->used < std::max(size, 1U)) {
    Block* block = blocks_->take_block();
    if (block == nullptr) return {};
    drop_open_block();
    open_ = block;
    memory_ += BlockPool::kBlockBytes;
  }
  return {open_->bytes + open_->used, BlockPool::kBlockBytes - open_->used};
}

void OutputQueue::commit(std::uint32_t used) noexcept {
  assert(open_ != nullptr && used <= BlockPool::kBlockBytes - open_->used);
  if (used == 0) {
    if (head_ == nullptr) drop_open_block();
    return;
  }
  const std::byte* data = open_->bytes + open_->used;
  open_->used += used;
  if (tail_ != nullptr && tail_->block == open_ && tail_->data + tail_->size == data) {
    tail_->size += used;
  } else {
    Piece* piece = blocks_->take_piece();  // there is one: reserve() saw to it
    assert(piece != nullptr);
    piece->kind = Piece::Kind::copied;
    piece->data = data;
    piece->size = used;
    piece->block = open_;
    ++open_->references;
    push(piece);
  }
  size_ += used;
}

bool OutputQueue::append(platform::ConstBytes bytes) noexcept {
  Piece* const old_tail = tail_;
  const std::uint64_t old_tail_size = old_tail == nullptr ? 0 : old_tail->size;
  const std::uint64_t old_size = size_;
  while (!bytes.empty()) {
    const std::span<std::byte> room = reserve(1);
    if (room.empty()) {
      // All or nothing: what was appended so far goes again. The open block is given up rather than wound back.
      Piece* piece = old_tail == nullptr ? head_ : old_tail->next;
      if (old_tail == nullptr) {
        head_ = nullptr;
      } else {
        old_tail->next = nullptr;
        old_tail->size = old_tail_size;
      }
      tail_ = old_tail;
      size_ = old_size;
      while (piece != nullptr) {
        Piece* next = piece->next;
        drop(piece);
        piece = next;
      }
      drop_open_block();
      return false;
    }
    const std::size_t count = std::min(room.size(), bytes.size());
    std::memcpy(room.data(), bytes.data(), count);
    commit(static_cast<std::uint32_t>(count));
    bytes = bytes.subspan(count);
  }
  return true;
}

bool OutputQueue::append_borrowed(platform::ConstBytes bytes, Borrowed owner) noexcept {
  if (bytes.empty()) {
    if (owner.release != nullptr) owner.release(owner.owner);
    return true;
  }
  Piece* piece = blocks_->take_piece();
  if (piece == nullptr) return false;
  piece->kind = Piece::Kind::borrowed;
  piece->data = bytes.data();
  piece->size = piece->offset = bytes.size();
  piece->block = nullptr;
  piece->owner = owner;
  push(piece);
  size_ += bytes.size();
  memory_ += bytes.size();
  return true;
}

bool OutputQueue::append_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count,
                              Borrowed owner) noexcept {
  if (count == 0) {
    if (owner.release != nullptr) owner.release(owner.owner);
    return true;
  }
  Piece* piece = blocks_->take_piece();
  if (piece == nullptr) return false;
  piece->kind = Piece::Kind::file;
  piece->file = file;
  piece->offset = offset;
  piece->size = count;
  piece->block = nullptr;
  piece->owner = owner;
  push(piece);
  size_ += count;
  return true;
}

bool OutputQueue::front_is_file() const noexcept { return head_ != nullptr && head_->kind == Piece::Kind::file; }

std::size_t OutputQueue::gather(std::span<platform::ConstBytes> out, std::uint64_t max_bytes) const noexcept {
  std::size_t count = 0;
  for (const Piece* piece = head_; piece != nullptr && count < out.size() && max_bytes != 0; piece = piece->next) {
    if (piece->kind == Piece::Kind::file) break;
    const std::uint64_t size = std::min(piece->size, max_bytes);
    out[count++] = {piece->data, static_cast<std::size_t>(size)};
    max_bytes -= size;
  }
  return count;
}

bool OutputQueue::front_fits(std::size_t pieces) const noexcept {
  for (const Piece* piece = head_; piece != nullptr && piece->kind != Piece::Kind::file; piece = piece->next) {
    if (pieces-- == 0) return false;
  }
  return true;
}

bool OutputQueue::has_more_files_than(std::uint32_t count) const noexcept {
  for (const Piece* piece = head_; piece != nullptr; piece = piece->next) {
    if (piece->kind == Piece::Kind::file && count-- == 0) return true;
  }
  return false;
}

OutputQueue::FileRange OutputQueue::front_file() const noexcept {
  assert(front_is_file());
  return {head_->file, head_->offset, head_->size};
}

OutputQueue::HeadedFile OutputQueue::front_headed_file() const noexcept {
  if (head_ == nullptr || head_->kind == Piece::Kind::file) return {};
  const Piece* file = head_->next;
  if (file == nullptr || file->kind != Piece::Kind::file) return {};
  return {{head_->data, static_cast<std::size_t>(head_->size)}, {file->file, file->offset, file->size}};
}

void OutputQueue::consume(std::uint64_t bytes) noexcept {
  assert(bytes <= size_);
  while (bytes != 0 && head_ != nullptr) {
    Piece* piece = head_;
    if (bytes >= piece->size) {
      bytes -= piece->size;
      pop();
      continue;
    }
    piece->size -= bytes;
    size_ -= bytes;
    if (piece->kind == Piece::Kind::file) {
      piece->offset += bytes;
    } else {
      piece->data += bytes;
    }
    return;
  }
}

void OutputQueue::clear() noexcept {
  while (head_ != nullptr) pop();
}

void OutputQueue::push(Piece* piece) noexcept {
  (tail_ == nullptr ? head_ : tail_->next) = piece;
  tail_ = piece;
}

void OutputQueue::pop() noexcept {
  Piece* piece = head_;
  head_ = piece->next;
  size_ -= piece->size;
  if (head_ == nullptr) {
    tail_ = nullptr;
    drop_open_block();
  }
  drop(piece);
}

void OutputQueue::drop(Piece* piece) noexcept {
  Borrowed owner;
  if (piece->kind == Piece::Kind::copied) {
    release_block(piece->block);
  } else {
    owner = piece->owner;
    if (piece->kind == Piece::Kind::borrowed) memory_ -= piece->offset;
  }
  blocks_->give_back(piece);
  if (owner.release != nullptr) owner.release(owner.owner);
}

void OutputQueue::release_block(Block* block) noexcept {
  if (block->references == 1) memory_ -= BlockPool::kBlockBytes;
  blocks_->release(block);
}

void OutputQueue::drop_open_block() noexcept {
  if (open_ == nullptr) return;
  Block* block = open_;
  open_ = nullptr;
  release_block(block);
}

}  // namespace pyre::net
