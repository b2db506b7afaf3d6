#include "http/coded_body.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "http/connection.h"
#include "http/encoder_pool.h"
#include "http/server_core.h"
#include "platform/file.h"
#include "platform/memory.h"

namespace pyre::http {
namespace {

// Encoded between two looks at whether it is wanted, and read from a file at once.
constexpr std::uint32_t kChunkBytes = 64 * 1024;

void release(net::Borrowed owner) noexcept {
  if (owner.release != nullptr) owner.release(owner.owner);
}

}  // namespace

// Bytes of `owner`, or bytes behind this object, or a part of a file of `owner`.
struct CodedBody::Piece {
  Piece* next = nullptr;
  const std::byte* data = nullptr;
  std::uint64_t size = 0;
  platform::NativeFile file = platform::no_file;
  std::uint64_t offset = 0;
  net::Borrowed owner{};

  [[nodiscard]] static Piece* make(std::size_t copied) noexcept {
    void* memory = platform::allocate(sizeof(Piece) + copied);
    return memory == nullptr ? nullptr : ::new (memory) Piece;
  }
};

CodedBody::CodedBody(Exchange& exchange, Compression::Choice choice) noexcept : exchange_(exchange), choice_(choice) {
  has_length_ = exchange.head_.has_content_length();
  length_left_ = exchange.head_.content_length();
}

CodedBody::~CodedBody() {
  assert(!task_out_);
  exchange_.core_.loop.cancel(work_);
  drop_pieces();
  platform::deallocate(result_);
  give_stream_back();
}

CodedBody* CodedBody::make(Exchange& exchange, Compression::Choice choice) noexcept {
  void* memory = platform::allocate(sizeof(CodedBody));
  return memory == nullptr ? nullptr : ::new (memory) CodedBody(exchange, choice);
}

void CodedBody::destroy(CodedBody* body) noexcept {
  body->~CodedBody();
  platform::deallocate(body);
}

// RFC 9110 9.3.2, 15.4.5: the fields that a GET with 200 would have had. Whether a 304 is for something that would have
// been coded its few fields do not say; a weak tag is right in both cases.
void CodedBody::adapt_head_without_body(Exchange& exchange, std::uint64_t size) noexcept {
  const Compression& compression = *exchange.core_.options.compression;
  ResponseHead& head = exchange.head_;
  const bool not_modified = head.status() == 304;
  if (!not_modified && !compression.fits(exchange.request_, head)) return;
  if (vary_by_coding(head) != FieldError::ok) return;
  const Compression::Choice choice = compression.choose(exchange.request_);
  if (choice.coding == Coding::identity) return;
  if (not_modified)
    (void)weaken_tag(head);
  else if (head.has_content_length() || size >= compression.min_size())
    exchange.coding_told_ = mark_as_coded(head, choice.coding) == FieldError::ok;
}

bool CodedBody::take_over(Exchange& exchange, std::uint64_t size, bool last) noexcept {
  const Compression& compression = *exchange.core_.options.compression;
  ResponseHead& head = exchange.head_;
  if (exchange.taken || exchange.trailers_follow_) return false;
  if (exchange.request_.is_head() || head.status() == 304) {
    adapt_head_without_body(exchange, size);
    return false;
  }
  if (last && size < compression.min_size()) return false;
  if (!compression.fits(exchange.request_, head) || vary_by_coding(head) != FieldError::ok) return false;
  const Compression::Choice choice = compression.choose(exchange.request_);
  if (choice.coding == Coding::identity) return false;
  exchange.coded_ = make(exchange, choice);
  return exchange.coded_ != nullptr;
}

// ---- what the application gives

Outcome CodedBody::check_length(std::uint64_t size, bool last) noexcept {
  if (!has_length_) return Outcome::ok;
  if (size > length_left_) return Outcome::body_too_long;
  if (last && size < length_left_) {
    exchange_.connection_->cut(exchange_);
    return Outcome::body_too_short;
  }
  length_left_ -= size;
  return Outcome::ok;
}

Outcome CodedBody::write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept {
  if (const Outcome outcome = check_length(piece.size(), last); outcome != Outcome::ok) return outcome;
  if (piece.empty()) {
    release(owner);
    return add(nullptr, last);
  }
  const bool copied = owner.release == nullptr;
  Piece* made = Piece::make(copied ? piece.size() : 0);
  if (made == nullptr) return exchange_.connection_->out_of_memory();
  made->size = piece.size();
  made->data = piece.data();
  made->owner = owner;
  if (copied) {
    void* const behind = made + 1;
    std::memcpy(behind, piece.data(), piece.size());
    made->data = static_cast<const std::byte*>(behind);
  }
  return add(made, last);
}

Outcome CodedBody::write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                              bool last) noexcept {
  if (count == 0) return write({}, owner, last);
  if (const Outcome outcome = check_length(count, last); outcome != Outcome::ok) return outcome;
  Piece* made = Piece::make(0);
  if (made == nullptr) return exchange_.connection_->out_of_memory();
  made->size = count;
  made->file = file;
  made->offset = offset;
  made->owner = owner;
  return add(made, last);
}

Outcome CodedBody::add(Piece* piece, bool last) noexcept {
  if (piece != nullptr) {
    (last_ == nullptr ? first_ : last_->next) = piece;
    last_ = piece;
    pending_ += piece->size;
    ++pieces_;
    if (piece->file != platform::no_file) ++files_;
  }
  if (last) {
    ended_ = true;
    exchange_.body_ended_ = true;
    exchange_.complete_ = true;  // for the application; for the connection it is when the last of it is in the output
  }
  exchange_.core_.loop.defer(work_);
  return Outcome::ok;
}

// ---- steps

void CodedBody::run_work(net::Deferred& work) noexcept { static_cast<Work&>(work).body.run(); }

void CodedBody::go_on() noexcept {
  if (pending_ != 0 || ended_) exchange_.core_.loop.defer(work_);
}

// The exchange may be over, and this object gone, when what is called here returns: so it holds a share meanwhile.
void CodedBody::run() noexcept {
  if (task_out_ || exchange_.connection_ == nullptr || (pending_ == 0 && !ended_)) return;
  Exchange& exchange = exchange_;
  exchange.hold(Exchange::Holder::coding);
  if (mode_ == Mode::gathering) decide();
  if (mode_ == Mode::plain) {
    forward();
  } else if (exchange.connection_ != nullptr && (mode_ == Mode::whole || !exchange.connection_->output_is_full())) {
    begin_step();
  }
  if (!task_out_) exchange.drop(Exchange::Holder::coding);
}

void CodedBody::decide() noexcept {
  const std::uint64_t min_size = exchange_.core_.options.compression->min_size();
  if (ended_ && pending_ < min_size)
    mode_ = Mode::plain;
  else if (ended_ && pending_ <= kStepBytes && files_ == 0)
    mode_ = exchange_.core_.steps_out < kMaxStepsOut ? Mode::whole : Mode::plain;
  else
    (void)become_stream();
  if (mode_ == Mode::plain && pending_ >= min_size && encoder_ == nullptr) ++exchange_.core_.stats.coding.no_room;
}

bool CodedBody::become_stream() noexcept {
  ServerCore& core = exchange_.core_;
  mode_ = Mode::plain;
  encoder_ = Encoder::create(choice_.coding, choice_.level);
  if (encoder_ == nullptr || core.stream_memory + encoder_->memory() > kStreamMemory ||
      core.steps_out >= kMaxStepsOut) {
    encoder_.reset();
    return false;
  }
  if (!encoder_->begin(Encoder::kUnknown) || mark_as_coded(exchange_.head_, choice_.coding) != FieldError::ok) {
    encoder_.reset();
    return false;
  }
  core.stream_memory += encoder_->memory();
  ++core.stats.coding.responses;
  mode_ = Mode::stream;
  return true;
}

void CodedBody::give_stream_back() noexcept {
  if (encoder_ == nullptr) return;
  exchange_.core_.stream_memory -= encoder_->memory();
  encoder_.reset();
}

// What is not coded goes on as it came.
void CodedBody::forward() noexcept {
  while (exchange_.connection_ != nullptr && first_ != nullptr && !exchange_.connection_->output_is_full()) {
    Piece* piece = first_;
    first_ = piece->next;
    if (first_ == nullptr) last_ = nullptr;
    pending_ -= piece->size;
    --pieces_;
    if (piece->file != platform::no_file) --files_;
    const bool last = ended_ && first_ == nullptr;
    Connection& connection = *exchange_.connection_;
    const bool copied = piece->owner.release == nullptr;
    // A copy of our own is the output's from now on.
    const net::Borrowed owner = copied ? net::Borrowed{piece, platform::deallocate} : piece->owner;
    const Outcome outcome =
        piece->file == platform::no_file
            ? connection.write(exchange_, {piece->data, piece->size}, owner, last)
            : connection.write_file(exchange_, piece->file, piece->offset, piece->size, owner, last);
    if (outcome != Outcome::ok) release(owner);
    if (!copied) platform::deallocate(piece);
    if (last) ended_ = false;
  }
  if (exchange_.connection_ != nullptr && first_ == nullptr && std::exchange(ended_, false))
    (void)exchange_.connection_->write(exchange_, {}, {}, true);
  tell_if_drained();
}

void CodedBody::begin_step() noexcept {
  ServerCore& core = exchange_.core_;
  step_size_ = std::min<std::uint64_t>(pending_, kStepBytes);
  step_flushes_ = step_size_ == pending_;
  step_ends_ = ended_ && step_flushes_;
  task_out_ = true;
  if (send_step_away()) {
    ++core.stats.coding.offloaded;
    ++core.steps_out;
    return;
  }
  if (files_ != 0) {  // nobody can read it
    task_out_ = false;
    exchange_.connection_->die(true);
    return;
  }
  ++core.stats.coding.inlined;
  core.inline_bytes += static_cast<std::uint32_t>(step_size_);
  encode();
  deliver();
}

bool CodedBody::send_step_away() noexcept {
  ServerCore& core = exchange_.core_;
  if (files_ != 0) {
    net::FilePool* files = core.loop.files();
    return files != nullptr && files->submit(core.loop, file_step_) == platform::Errc::ok;
  }
  if (core.inline_tick != core.loop.stats().ticks) {
    core.inline_tick = core.loop.stats().ticks;
    core.inline_bytes = 0;
  }
  const bool small = step_size_ < core.options.offload_from && !is_slow(choice_.coding, choice_.level) &&
                     core.inline_bytes + step_size_ <= kInlineBytes;
  return !small && net::Offload::submit_to_process(core.loop, step_);
}

void CodedBody::run_step(net::Offload::Task& task) noexcept { static_cast<Step&>(task).body.encode(); }

void CodedBody::run_file_step(net::FilePool::CallRequest& request) noexcept {
  static_cast<FileStep&>(request).body.encode();
}

void CodedBody::end_step(net::Offload::Task& task) noexcept { static_cast<Step&>(task).body.step_is_home(); }

void CodedBody::end_file_step(net::Letter& letter) noexcept { static_cast<FileStep&>(letter).body.step_is_home(); }

void CodedBody::step_is_home() noexcept {
  Exchange& exchange = exchange_;
  --exchange.core_.steps_out;
  deliver();
  exchange.drop(Exchange::Holder::coding);
}

void CodedBody::connection_lost() noexcept {
  unwanted_.store(true, std::memory_order_relaxed);
  exchange_.core_.loop.cancel(work_);
  if (task_out_) return;  // deliver() does it
  drop_pieces();
  give_stream_back();
}

// On any thread: it reads the step's pieces, and writes the result's members.
void CodedBody::encode() noexcept {
  Encoder* encoder = encoder_.get();
  step_failed_ = true;
  result_size_ = 0;
  if (unwanted_.load(std::memory_order_relaxed)) return;
  EncoderPool::Lease with(EncoderPool::of_process());
  if (!with) return;
  if (mode_ == Mode::whole) {
    encoder = with.encoder(choice_);
    if (encoder == nullptr || !encoder->begin(step_size_)) return;
  }
  encode_pieces(*encoder, with.scratch());
  const std::span<const std::byte> bytes = with.scratch().bytes();
  if (step_failed_ || (mode_ == Mode::whole && bytes.size() >= step_size_)) {
    step_failed_ = step_failed_ || mode_ == Mode::whole;
  } else if (!bytes.empty()) {
    result_ = static_cast<std::byte*>(platform::allocate(bytes.size()));
    step_failed_ = result_ == nullptr;
    if (!step_failed_) {
      std::memcpy(result_, bytes.data(), bytes.size());
      result_size_ = bytes.size();
    }
  }
}

void CodedBody::encode_pieces(Encoder& encoder, ByteBuffer& out) noexcept {
  const Encoder::End end = step_ends_ ? Encoder::End::finish : step_flushes_ ? Encoder::End::flush : Encoder::End::open;
  std::uint64_t left = step_size_;
  std::uint64_t done = first_done_;
  for (const Piece* piece = first_; left != 0; piece = piece->next, done = 0) {
    std::uint64_t size = std::min(piece->size - done, left);
    left -= size;
    ByteBuffer read;
    for (; size != 0; done += kChunkBytes) {
      if (unwanted_.load(std::memory_order_relaxed)) return;
      const auto wanted = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, kChunkBytes));
      if (piece->file == platform::no_file) {
        size -= wanted;
        if (!encoder.encode({piece->data + done, wanted}, left == 0 && size == 0 ? end : Encoder::End::open, out))
          return;
        continue;
      }
      const std::span<std::byte> room = read.room(kChunkBytes);
      if (room.empty()) return;
      auto got = platform::read_at(piece->file, piece->offset + done, room.first(wanted));
      if (!got || *got != wanted) return;  // it became shorter
      size -= wanted;
      if (!encoder.encode(room.first(wanted), left == 0 && size == 0 ? end : Encoder::End::open, out)) return;
    }
    if (left == 0) break;
  }
  if (step_size_ == 0 && !encoder.encode({}, end, out)) return;
  step_failed_ = false;
}

// ---- the result, on the loop's thread

void CodedBody::deliver() noexcept {
  task_out_ = false;
  if (exchange_.connection_ == nullptr) {  // nobody wants it any more
    drop_pieces();
    give_stream_back();
    return;
  }
  ServerCore& core = exchange_.core_;
  if (mode_ == Mode::whole && step_failed_) {
    ++core.stats.coding.no_gain;
    mode_ = Mode::plain;
    return forward();
  }
  if (step_failed_) {  // of a stream, of which the client has a part
    exchange_.connection_->die(true);
    return;
  }
  if (mode_ == Mode::whole) {
    if (mark_as_coded(exchange_.head_, choice_.coding) != FieldError::ok) {
      mode_ = Mode::plain;
      platform::deallocate(std::exchange(result_, nullptr));
      return forward();
    }
    ++core.stats.coding.responses;
  }
  core.stats.coding.bytes_in += step_size_;
  core.stats.coding.bytes_out += result_size_;
  consume(step_size_);
  write_result();
  if (exchange_.connection_ == nullptr) return give_stream_back();
  tell_if_drained();
  go_on();
}

void CodedBody::write_result() noexcept {
  if (step_ends_) ended_ = false;
  std::byte* const bytes = std::exchange(result_, nullptr);
  if (bytes == nullptr && !step_ends_) return;
  const net::Borrowed owner = bytes == nullptr ? net::Borrowed{} : net::Borrowed{bytes, platform::deallocate};
  if (exchange_.connection_->write(exchange_, {bytes, result_size_}, owner, step_ends_) != Outcome::ok) release(owner);
}

void CodedBody::consume(std::uint64_t size) noexcept {
  pending_ -= size;
  while (size != 0) {
    Piece* piece = first_;
    const std::uint64_t here = std::min(piece->size - first_done_, size);
    size -= here;
    first_done_ += here;
    if (first_done_ < piece->size) return;
    first_done_ = 0;
    first_ = piece->next;
    if (first_ == nullptr) last_ = nullptr;
    --pieces_;
    if (piece->file != platform::no_file) --files_;
    release(piece->owner);
    platform::deallocate(piece);
  }
}

void CodedBody::drop_pieces() noexcept {
  first_done_ = 0;
  while (first_ != nullptr) {
    Piece* piece = std::exchange(first_, first_->next);
    release(piece->owner);
    platform::deallocate(piece);
  }
  last_ = nullptr;
  pending_ = 0;
  pieces_ = files_ = 0;
  ended_ = false;
}

void CodedBody::tell_if_drained() noexcept {
  if (exchange_.connection_ != nullptr) exchange_.connection_->tell_if_drained(exchange_);
}

}  // namespace pyre::http
