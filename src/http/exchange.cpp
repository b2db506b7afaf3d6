#include "http/exchange.h"

#include "http/coded_body.h"
#include "http/connection.h"
#include "http/server_core.h"

namespace pyre::http {

void Exchange::drop(Holder holder) noexcept {
  holders_ = static_cast<std::uint8_t>(holders_ & ~static_cast<std::uint8_t>(holder));
  if (holders_ != 0) return;
  ServerCore& core = core_;
  core.exchanges.give_back(*this);
  core.exchange_returned();
}

void Exchange::clear_body() noexcept {
  body_.clear(core_.bodies);
  body_size_ = 0;
}

Outcome Exchange::writable() const noexcept {
  if (complete_) return Outcome::already_complete;
  if (dead_ || connection_ == nullptr) return Outcome::dead;
  return Outcome::ok;
}

void Exchange::want_body() noexcept {
  body_awaited_ = true;
  if (connection_ != nullptr) connection_->want_body(*this);
}

void Exchange::read_body(std::span<std::byte> out) noexcept {
  if (out.size() > body_size_) return;  // also when the connection was lost meanwhile: nothing is there any more
  body_.read(core_.bodies, out);
  body_size_ -= out.size();
  body_awaited_ = true;
  if (connection_ != nullptr) connection_->body_was_read(*this);
}

Outcome Exchange::start(bool trailers_follow) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (started_) return Outcome::already_started;
  if (head_.status() < 200 || head_.status() > 999) return Outcome::not_started;
  trailers_follow_ = trailers_follow;
  return connection_->start(*this);
}

Outcome Exchange::write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (!started_) return Outcome::not_started;
  if (body_ended_) return Outcome::already_complete;
  if (coded_ != nullptr || begins_coded(piece.size(), last)) return coded_->write(piece, owner, last);
  return connection_->write(*this, piece, owner, last);
}

bool Exchange::begins_coded(std::uint64_t size, bool last) noexcept {
  if (core_.options.compression == nullptr || !head_held_ || (size == 0 && !last)) return false;
  // A body of another length than was told is the connection's to refuse.
  const std::uint64_t length = head_.content_length();
  if (head_.has_content_length() && !request_.is_head() && (size > length || (last && size != length))) return false;
  return CodedBody::take_over(*this, size, last);
}

Outcome Exchange::write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                             bool last) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (!started_) return Outcome::not_started;
  if (body_ended_) return Outcome::already_complete;
  if (coded_ != nullptr) return coded_->write_file(file, offset, count, owner, last);
  return connection_->write_file(*this, file, offset, count, owner, last);
}

Outcome Exchange::end_trailers() noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (!body_ended_) return Outcome::not_started;
  return connection_->end_trailers(*this);
}

Outcome Exchange::switch_protocol(std::string_view head, ProtocolSession& session) noexcept {
  const Outcome outcome = writable();
  if (outcome != Outcome::ok) return outcome;
  if (started_) return Outcome::already_started;
  return connection_->switch_protocol(*this, head, session);
}

Outcome Exchange::send_informational(std::uint16_t status, std::string_view fields) noexcept {
  if (const Outcome outcome = writable(); outcome != Outcome::ok) return outcome;
  if (started_) return Outcome::already_started;
  return connection_->send_informational(*this, status, fields);
}

void Exchange::fail(std::uint16_t status) noexcept {
  if (writable() == Outcome::ok) connection_->fail(*this, status);
}

bool Exchange::should_wait() noexcept {
  if (connection_ == nullptr || complete_) return false;
  const Limits& limits = core_.options.limits;
  const bool encoding = coded_ != nullptr && coded_->holds_more_than(limits.output_high_water, limits.output_files);
  if (!encoding && !connection_->output_is_full()) return false;
  drain_awaited_ = true;
  return true;
}

std::uint64_t Exchange::output_queued() const noexcept {
  return connection_ == nullptr ? 0 : connection_->output_queued();
}

void Exchange::release() noexcept {
  if (!held_by(Holder::application)) return;
  if (connection_ != nullptr && !complete_) fail(500);
  clear_body();
  drop(Holder::application);
}

}  // namespace pyre::http
