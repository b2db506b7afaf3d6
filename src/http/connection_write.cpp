// The writing half of a connection: from what the application says to bytes in the output queue.
#include <cstring>

#include "http/coded_body.h"
#include "http/connection.h"
#include "http/server_core.h"

namespace pyre::http {
namespace {

// Body pieces up to this size are copied behind the head or the chunk's size: one piece for the kernel instead of
// three, and no reference to keep. Copying 4 KiB costs about as much as one more iovec and its release.
constexpr std::size_t kCopyBytes = 4096;

char* put(char* out, std::string_view text) noexcept {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

void release(net::Borrowed owner) noexcept {
  if (owner.release != nullptr) owner.release(owner.owner);
}

std::string_view end_of_chunk(bool has_data, bool last, bool trailers_follow) noexcept {
  if (has_data) {
    if (!last) return "\r\n";
    return trailers_follow ? "\r\n0\r\n" : "\r\n0\r\n\r\n";
  }
  if (!last) return {};
  return trailers_follow ? "0\r\n" : "0\r\n\r\n";
}

}  // namespace

struct Connection::HeadText {
  static constexpr std::size_t kMaxParts = 10;
  std::string_view parts[kMaxParts];
  std::size_t count = 0;
  std::size_t size = 0;
  BodyFraming framing;
  bool close = false;
  char status[24];
  char digits[kMaxDecimal];

  void add(std::string_view part) noexcept {
    parts[count++] = part;
    size += part.size();
  }
  void add_common(ServerCore& core, std::uint16_t with_status, std::string_view fields, bool has_server,
                  bool has_date) noexcept {
    add(status_line(with_status, status));
    add(fields);
    add(core.options.default_fields);
    if (!has_server) add(core.server_line);
    if (core.options.date_header && !has_date) add(core.dates.line(core.loop.wall_second()));
  }
  void add_length(std::uint64_t length) noexcept {
    add("content-length: ");
    add(decimal(length, digits));
    add("\r\n");
  }
};

bool Connection::will_close(const Exchange& exchange, BodyFraming::Kind kind, bool last) const noexcept {
  if (!exchange.request_.keep_alive || exchange.head_.wants_close() || kind == BodyFraming::Kind::close_delimited)
    return true;
  if (core_.draining) return true;
  // After its FIN the peer sends nothing more, so this is the last answer if nothing waits behind it.
  if (peer_ended_ && waiting_first_ == nullptr && refused_ == nullptr && kept_ == nullptr) return true;
  if (exchange.body_complete_) return false;
  if (state_.reading() == Reading::closed) return true;  // of its body no more is read: see give_body_up()
  // RFC 9110 10.1.1: without a 100 the client may leave the body out or send it: what comes next cannot be told apart.
  if (exchange.request_.expect_continue && !exchange.continue_sent_ && !exchange.body_began_) return true;
  return last && !can_drain(exchange);  // an early answer
}

bool Connection::can_drain(const Exchange& exchange) const noexcept {
  const RequestHead& request = exchange.request_;
  if (request.chunked) return true;  // until the limit is over
  const std::uint64_t received =
      reading_body_ == &exchange && state_.reading() == Reading::body ? parser_.body_received() : 0;
  return request.content_length - received <= core_.options.limits.drain_bytes;
}

void Connection::plan_head(const Exchange& exchange, bool last, std::uint64_t total, HeadText& text) noexcept {
  const ResponseHead& head = exchange.head_;
  BodyFacts facts;
  facts.head_request = exchange.request_.is_head();
  facts.minor_version = exchange.request_.minor_version;
  facts.status = head.status();
  facts.app_length_set = head.has_content_length();
  facts.app_length = head.content_length();
  facts.total_known = last;
  facts.total = exchange.coding_told_ ? 0 : total;  // of a GET's body, which would be coded, nobody knows it
  facts.trailers_follow = exchange.trailers_follow_;
  text.framing = choose_framing(facts);
  text.close = will_close(exchange, text.framing.kind, last);

  text.add_common(core_, head.status(), head.fields(), head.has_server(), head.has_date());
  if (text.framing.field == BodyFraming::Field::content_length)
    text.add_length(text.framing.length);
  else if (text.framing.field == BodyFraming::Field::chunked)
    text.add("transfer-encoding: chunked\r\n");
  if (text.close)
    text.add("connection: close\r\n\r\n");
  else if (facts.minor_version == 0)
    text.add("connection: keep-alive\r\n\r\n");
  else
    text.add("\r\n");
}

void Connection::commit_head(Exchange& exchange, const HeadText& text) noexcept {
  exchange.head_held_ = false;
  exchange.framing_ = text.framing.kind;
  exchange.body_left_ = text.framing.length;
  closing_ = text.close;
}

bool Connection::emit_head(const HeadText& head) noexcept {
  net::OutputQueue& output = stream_.output();
  for (std::size_t i = 0; i < head.count; ++i)
    if (!head.parts[i].empty() && !output.append(std::as_bytes(std::span(head.parts[i])))) return false;
  return true;
}

bool Connection::emit(const HeadText* head, std::string_view prefix, std::span<const std::byte> piece,
                      net::Borrowed owner, std::string_view suffix) noexcept {
  net::OutputQueue& output = stream_.output();
  const bool copied = piece.size() <= kCopyBytes;
  std::size_t size = prefix.size() + (copied ? piece.size() + suffix.size() : 0);
  if (head != nullptr) {
    if (size + head->size <= net::BlockPool::kBlockBytes) {
      size += head->size;
    } else {
      if (!emit_head(*head)) return false;
      head = nullptr;
    }
  }
  if (size != 0) {
    const std::span<std::byte> space = output.reserve(static_cast<std::uint32_t>(size));
    if (space.size() < size) return false;
    char* out = reinterpret_cast<char*>(space.data());
    if (head != nullptr)
      for (std::size_t i = 0; i < head->count; ++i) out = put(out, head->parts[i]);
    out = put(out, prefix);
    if (copied) {
      if (!piece.empty()) std::memcpy(out, piece.data(), piece.size());
      put(out + piece.size(), suffix);
    }
    output.commit(static_cast<std::uint32_t>(size));
  }
  if (copied) {
    release(owner);
    return true;
  }
  if (owner.release != nullptr ? !output.append_borrowed(piece, owner) : !output.append(piece)) return false;
  // From here on the piece is the queue's, which will release it: a failure must not look as if it were still the
  // caller's.
  if (!suffix.empty() && !output.append(std::as_bytes(std::span(suffix)))) die(true);
  return true;
}

Outcome Connection::start(Exchange& exchange) noexcept {
  exchange.started_ = true;
  exchange.head_held_ = true;
  exchange.status_ = exchange.head_.status();
  core_.loop.defer(work_);  // writes the head if no body came by then
  return Outcome::ok;
}

// Too long: nothing happened. Too short: the connection is cut.
Outcome Connection::check_length(Exchange& exchange, const HeadText* head, std::uint64_t size, bool last) noexcept {
  const BodyFraming::Kind kind = head != nullptr ? head->framing.kind : exchange.framing_;
  if (kind != BodyFraming::Kind::length) return Outcome::ok;
  const std::uint64_t left = head != nullptr ? head->framing.length : exchange.body_left_;
  if (size > left) return Outcome::body_too_long;
  if (!last || size == left) return Outcome::ok;
  cut(exchange);
  return Outcome::body_too_short;
}

Outcome Connection::write(Exchange& exchange, std::span<const std::byte> piece, net::Borrowed owner,
                          bool last) noexcept {
  HeadText text;
  const HeadText* head = nullptr;
  if (exchange.head_held_) {
    plan_head(exchange, last, piece.size(), text);
    head = &text;
  }
  if (const Outcome outcome = check_length(exchange, head, piece.size(), last); outcome != Outcome::ok) return outcome;
  if (piece.empty() && !last) {  // says nothing; the head goes on waiting for the first piece
    release(owner);
    return Outcome::ok;
  }

  const BodyFraming::Kind kind = head != nullptr ? text.framing.kind : exchange.framing_;
  bool written = true;
  if (kind == BodyFraming::Kind::none) {
    written = head == nullptr || emit(head, {}, {}, {}, {});
    if (written) release(owner);
  } else if (kind == BodyFraming::Kind::chunked) {
    char scratch[kMaxChunkHeader];
    const std::string_view prefix = piece.empty() ? std::string_view{} : chunk_header(piece.size(), scratch);
    written = emit(head, prefix, piece, owner, end_of_chunk(!piece.empty(), last, exchange.trailers_follow_));
  } else {
    written = emit(head, {}, piece, owner, {});
  }
  if (!written) return out_of_memory();
  if (exchange.connection_ == nullptr) return Outcome::ok;
  if (head != nullptr) commit_head(exchange, text);
  return after_piece(exchange, piece.size(), last);
}

Outcome Connection::write_file(Exchange& exchange, platform::NativeFile file, std::uint64_t offset, std::uint64_t count,
                               net::Borrowed owner, bool last) noexcept {
  if (count == 0) return write(exchange, {}, owner, last);
  HeadText text;
  const HeadText* head = nullptr;
  if (exchange.head_held_) {
    plan_head(exchange, last, count, text);
    head = &text;
  }
  if (const Outcome outcome = check_length(exchange, head, count, last); outcome != Outcome::ok) return outcome;

  const BodyFraming::Kind kind = head != nullptr ? text.framing.kind : exchange.framing_;
  const bool chunked = kind == BodyFraming::Kind::chunked;
  char scratch[kMaxChunkHeader];
  const std::string_view prefix = chunked ? chunk_header(count, scratch) : std::string_view{};
  const std::string_view suffix = chunked ? end_of_chunk(true, last, exchange.trailers_follow_) : std::string_view{};
  net::OutputQueue& output = stream_.output();
  bool written = emit(head, prefix, {}, {}, {});
  if (kind == BodyFraming::Kind::none) {
    if (written) release(owner);
  } else {
    written = written && output.append_file(file, offset, count, owner);
    if (written && !suffix.empty() && !output.append(std::as_bytes(std::span(suffix)))) die(true);
  }
  if (!written) return out_of_memory();
  if (exchange.connection_ == nullptr) return Outcome::ok;
  if (head != nullptr) commit_head(exchange, text);
  return after_piece(exchange, count, last);
}

Outcome Connection::after_piece(Exchange& exchange, std::uint64_t size, bool last) noexcept {
  if (exchange.framing_ == BodyFraming::Kind::length) exchange.body_left_ -= size;
  if (exchange.framing_ != BodyFraming::Kind::none) exchange.body_sent_ += size;
  output_added();
  if (!last) {
    update_clock();
    return Outcome::ok;
  }
  exchange.body_ended_ = true;
  if (exchange.trailers_follow_) {
    exchange.head_.reset();  // trailers are gathered in its memory
    update_clock();
    return Outcome::ok;
  }
  complete(exchange);
  return Outcome::ok;
}

Outcome Connection::end_trailers(Exchange& exchange) noexcept {
  if (exchange.framing_ == BodyFraming::Kind::chunked) {
    const std::string_view fields = exchange.head_.fields();
    net::OutputQueue& output = stream_.output();
    if ((!fields.empty() && !output.append(std::as_bytes(std::span(fields)))) || !emit(nullptr, "\r\n", {}, {}, {}))
      return out_of_memory();
    output_added();
  }
  complete(exchange);
  return Outcome::ok;
}

Outcome Connection::send_informational(Exchange& exchange, std::uint16_t status, std::string_view fields) noexcept {
  // RFC 9110 15.2: HTTP/1.0 has no 1xx. 101 is not ours to send: it would switch protocols.
  if (exchange.request_.minor_version == 0 || status < 100 || status > 199 || status == 101) return Outcome::ok;
  HeadText text;
  text.add(status_line(status, text.status));
  text.add(fields);
  text.add("\r\n");
  if (!emit(&text, {}, {}, {}, {})) return out_of_memory();
  if (status == 100) exchange.continue_sent_ = true;
  output_added();
  settle();
  return Outcome::ok;
}

void Connection::fail(Exchange& exchange, std::uint16_t status) noexcept {
  if (exchange.started_) return cut(exchange);
  const std::string_view reason = reason_phrase(status);
  exchange.head_.start(status);
  (void)exchange.head_.add("content-type", "text/plain; charset=utf-8");
  exchange.trailers_follow_ = false;
  exchange.started_ = exchange.head_held_ = true;
  exchange.status_ = status;
  (void)write(exchange, std::as_bytes(std::span(reason)), {}, true);
}

void Connection::flush_held_head() noexcept {
  if (front_ == nullptr || !front_->head_held_) return;
  if (front_->coded_ != nullptr) {
    if (front_->coded_->brings_head()) return;
  } else if (core_.options.compression != nullptr && !front_->head_.has_content_length() &&
             CodedBody::take_over(*front_, 0, false)) {
    // (With a length it may be a file that is being opened: those are sent by the kernel, as they are.)
    (void)front_->coded_->become_stream();
  }
  HeadText text;
  plan_head(*front_, false, 0, text);
  if (!emit(&text, {}, {}, {}, {})) {
    (void)out_of_memory();
    return;
  }
  commit_head(*front_, text);
  output_added();
}

void Connection::emit_refusal() noexcept {
  Exchange* exchange = refused_;
  refused_ = nullptr;
  const std::string_view body = reason_phrase(refusal_.status);
  const bool bodyless = exchange != nullptr && exchange->request_.method_size != 0 && exchange->request_.is_head();
  HeadText text;
  text.add_common(core_, refusal_.status, "content-type: text/plain; charset=utf-8\r\n", false, false);
  text.add_length(body.size());
  text.add("connection: close\r\n\r\n");
  const bool written =
      emit(&text, {}, bodyless ? std::span<const std::byte>{} : std::as_bytes(std::span(body)), {}, {});
  if (exchange != nullptr) {
    exchange->status_ = refusal_.status;
    exchange->body_sent_ = bodyless ? 0 : body.size();
    core_.log(*exchange);
    exchange->drop(Exchange::Holder::connection);
  }
  if (!written) return die(true);
  output_added();
  finish();
}

Outcome Connection::out_of_memory() noexcept {
  die(true);
  return Outcome::no_memory;
}

bool Connection::output_is_full() const noexcept {
  const net::OutputQueue& output = stream_.output();
  const Limits& limits = core_.options.limits;
  return output.size() > limits.output_high_water || output.has_more_files_than(limits.output_files);
}

void Connection::tell_if_drained(Exchange& exchange) noexcept {
  const std::uint64_t low = core_.options.limits.output_low_water;
  if (!exchange.drain_awaited_ || stream_.output().size() > low || output_is_full()) return;
  if (exchange.coded_ != nullptr && exchange.coded_->holds_more_than(low, core_.options.limits.output_files)) return;
  exchange.drain_awaited_ = false;
  if (exchange.held_by(Exchange::Holder::application)) core_.handler.on_drained(exchange);
}

void Connection::output_added() noexcept {
  stream_.request_flush();
  if (write_deadline_ != platform::TimePoint::max()) return;
  write_deadline_ = core_.loop.now() + core_.options.timeouts.write;
  write_mark_ = stream_.progress();
}

}  // namespace pyre::http
