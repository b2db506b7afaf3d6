#include "http/remote_exchange.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "http/exchange.h"
#include "http/remote_port.h"
#include "platform/memory.h"

namespace pyre::http {

namespace {

// Copied into the batch of commands up to here; above it a copy gets memory of its own, which the output then borrows
// instead of copying once more.
constexpr std::size_t kCopyBytes = 4096;

void deallocate(void* memory) noexcept { platform::deallocate(memory); }

}  // namespace

BodyPiece* BodyPiece::make(std::uint32_t size) noexcept {
  void* memory = platform::allocate(sizeof(BodyPiece) + size);
  if (memory == nullptr) return nullptr;
  auto* piece = ::new (memory) BodyPiece;
  piece->size = size;
  return piece;
}

void RemoteExchange::begin(bool body_complete, std::uint64_t queued) noexcept {
  AppExchange::reset();
  received_ = &exchange_->request();
  told_ = &exchange_->forwarded();
  info_ = &exchange_->connection_info();
  body_complete_ = body_complete;
  posted_ = acknowledged_ = asked_ = 0;
  queued_ = queued;
  files_ = 0;
  asking_ = continue_wanted_ = has_piece_ = false;
  attached_ = true;
}

// ---- the request body

void RemoteExchange::add_body(BodyPiece* piece, bool complete) noexcept {
  if (complete) body_complete_ = true;
  if (piece == nullptr) return;
  body_size_ += piece->size;
  (body_last_ == nullptr ? body_first_ : body_last_->next) = piece;
  body_last_ = piece;
}

void RemoteExchange::drop_body() noexcept {
  while (body_first_ != nullptr) platform::deallocate(std::exchange(body_first_, body_first_->next));
  body_last_ = nullptr;
  body_size_ = 0;
}

void RemoteExchange::want_body() noexcept {
  // The loop sends what comes anyway, as far as the window goes: all that it must be told is that a 100 is wanted.
  if (continue_wanted_ || !attached_ || !received_->expect_continue || body_complete_) return;
  continue_wanted_ = true;
  port_.post({.kind = Command::Kind::want_body, .exchange = this});
}

void RemoteExchange::read_body(std::span<std::byte> out) noexcept {
  if (out.empty() || out.size() > body_size_) return;
  const std::uint64_t taken = out.size();
  body_size_ -= taken;
  std::uint32_t freed = 0;
  while (!out.empty()) {
    BodyPiece& piece = *body_first_;
    const std::size_t size = std::min<std::size_t>(out.size(), piece.size - piece.at);
    std::memcpy(out.data(), piece.bytes() + piece.at, size);
    out = out.subspan(size);
    piece.at += static_cast<std::uint32_t>(size);
    if (piece.at < piece.size) continue;
    body_first_ = piece.next;
    if (body_first_ == nullptr) body_last_ = nullptr;
    platform::deallocate(&piece);
    ++freed;
  }
  if (!body_complete_)
    port_.post({.kind = Command::Kind::body_was_read, .exchange = this, .head = freed, .size = taken});
}

// ---- the response

Outcome RemoteExchange::writable() const noexcept {
  if (complete_) return Outcome::already_complete;
  return dead_ || !attached_ ? Outcome::dead : Outcome::ok;
}

Outcome RemoteExchange::start(bool trailers_follow) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (started_) return Outcome::already_started;
  if (head_.status() < 200 || head_.status() > 999) return Outcome::not_started;
  started_ = true;
  trailers_follow_ = trailers_follow;
  // The loop decides again, when it knows whether the first piece is the last; that changes nothing for what is checked
  // here: pieces against the app's own Content-Length, and whether trailers can go.
  BodyFacts facts;
  facts.head_request = received_->is_head();
  facts.minor_version = received_->minor_version;
  facts.status = head_.status();
  facts.app_length_set = head_.has_content_length();
  facts.app_length = head_.content_length();
  facts.trailers_follow = trailers_follow;
  const BodyFraming framing = choose_framing(facts);
  framing_ = framing.kind;
  body_left_ = framing.length;
  port_.post({.kind = Command::Kind::start, .exchange = this, .flag = trailers_follow}, head_);
  return Outcome::ok;
}

// Too long: nothing happened. Too short: the loop is told in a way that makes it cut the connection.
Outcome RemoteExchange::check_piece(std::uint64_t size, bool last) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (!started_) return Outcome::not_started;
  if (body_ended_) return Outcome::already_complete;
  if (framing_ != BodyFraming::Kind::length) return Outcome::ok;
  if (size > body_left_) return Outcome::body_too_long;
  if (!last || size == body_left_) return Outcome::ok;
  complete_ = true;
  port_.post({.kind = Command::Kind::write, .exchange = this, .flag = true});
  return Outcome::body_too_short;
}

// Of a response that has no body on the wire (HEAD, 204, 304) only the first piece and the end mean something: whether
// they are one decides what length the head tells. Nobody waits for the others, so they must not pile up either.
bool RemoteExchange::drop_piece(net::Borrowed owner, bool last) noexcept {
  if (framing_ != BodyFraming::Kind::none || !std::exchange(has_piece_, true)) return false;
  if (owner.release != nullptr) owner.release(owner.owner);
  if (last) port_.post({.kind = Command::Kind::write, .exchange = this, .flag = true});
  after_piece(0, last);
  return true;
}

void RemoteExchange::after_piece(std::uint64_t size, bool last) noexcept {
  if (framing_ == BodyFraming::Kind::length) body_left_ -= size;
  if (framing_ != BodyFraming::Kind::none) posted_ += size;
  if (last) {
    body_ended_ = true;
    if (trailers_follow_)
      head_.reset();  // trailers are gathered in its memory
    else
      complete_ = true;
  }
  ask_when_drained();
}

Outcome RemoteExchange::write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept {
  if (const Outcome outcome = check_piece(piece.size(), last); outcome != Outcome::ok) return outcome;
  if (piece.empty() && !last) {  // says nothing
    if (owner.release != nullptr) owner.release(owner.owner);
    return Outcome::ok;
  }
  if (drop_piece(owner, last)) return Outcome::ok;
  Command command{.kind = Command::Kind::write, .exchange = this, .flag = last, .size = piece.size()};
  if (owner.release == nullptr && piece.size() <= kCopyBytes) {
    port_.post(command, piece);
  } else {
    if (owner.release == nullptr) {
      void* copy = platform::allocate(piece.size());
      if (copy == nullptr) {
        fail(500);
        return Outcome::no_memory;
      }
      std::memcpy(copy, piece.data(), piece.size());
      piece = {static_cast<const std::byte*>(copy), piece.size()};
      owner = {copy, deallocate};
    }
    command.data = piece.data();
    command.owner = owner;
    port_.post(command);
  }
  after_piece(piece.size(), last);
  return Outcome::ok;
}

Outcome RemoteExchange::write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count,
                                   net::Borrowed owner, bool last) noexcept {
  if (count == 0) return write({}, owner, last);
  if (const Outcome outcome = check_piece(count, last); outcome != Outcome::ok) return outcome;
  if (drop_piece(owner, last)) return Outcome::ok;
  ++files_;
  port_.post({.kind = Command::Kind::write_file,
              .exchange = this,
              .flag = last,
              .size = count,
              .offset = offset,
              .owner = owner,
              .file = file});
  after_piece(count, last);
  return Outcome::ok;
}

Outcome RemoteExchange::end_trailers() noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (!body_ended_) return Outcome::not_started;
  complete_ = true;
  port_.post({.kind = Command::Kind::end_trailers, .exchange = this}, head_);
  return Outcome::ok;
}

Outcome RemoteExchange::send_informational(std::uint16_t status, std::string_view fields) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (started_) return Outcome::already_started;
  port_.post({.kind = Command::Kind::informational, .exchange = this, .status = status, .size = fields.size()},
             std::as_bytes(std::span(fields)));
  posted_ += fields.size();
  ask_when_drained();
  return Outcome::ok;
}

void RemoteExchange::fail(std::uint16_t status) noexcept {
  if (writable() != Outcome::ok) return;
  started_ = complete_ = true;
  port_.post({.kind = Command::Kind::fail, .exchange = this, .status = status});
}

bool RemoteExchange::should_wait() noexcept {
  if (writable() != Outcome::ok) return false;
  const Limits& limits = port_.limits();
  return outstanding() > limits.output_high_water || files_ > limits.output_files;
}

// Once enough is posted: early enough for the answer to be back, most of the time, before the app must wait for it.
void RemoteExchange::ask_when_drained() noexcept {
  if (asking_ || complete_) return;
  const Limits& limits = port_.limits();
  if (outstanding() <= limits.output_low_water && files_ <= limits.output_files / 2) return;
  asking_ = true;
  asked_ = posted_;
  files_ = 0;
  port_.post({.kind = Command::Kind::tell_when_drained, .exchange = this, .size = posted_});
}

void RemoteExchange::drained(std::uint64_t position, std::uint64_t queued) noexcept {
  asking_ = false;
  acknowledged_ = position;
  queued_ = queued;
  if (should_wait()) ask_when_drained();
}

void RemoteExchange::release() noexcept {
  if (!attached_) return;
  attached_ = false;
  drop_body();
  port_.post({.kind = Command::Kind::release, .exchange = this});
}

}  // namespace pyre::http
