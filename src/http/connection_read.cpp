// The reading half of a connection: from received bytes to exchanges and their bodies.
#include <cassert>
#include <cstring>
#include <utility>

#include "http/connection.h"
#include "http/overflow.h"
#include "http/server_core.h"
#include "platform/clock.h"
#include "platform/memory.h"

namespace pyre::http {
namespace {

// Pieces of this size and more that end a receive buffer are not copied: the exchange keeps the buffer. Below it
// copying is cheaper than taking 64 KiB out of the pool's cache-warm rotation.
constexpr std::size_t kKeepLeaseBytes = 16 * 1024;
// As long as no more buffers than that are lent. Bodies that their apps are slow to read must not starve other
// connections' reading.
constexpr std::uint32_t kKeepLeaseBelow = 64;

}  // namespace

void Connection::on_data(platform::Lease& data) noexcept {
  if (session_ != nullptr) return session_->on_data(data);
  core_.stats.bytes_in += data.size();
  if (state_.reading() == Reading::closed)
    discard(data.size());
  else if (kept_ != nullptr)
    keep(data.bytes());  // the parser was stopped while this read was under way
  else if (core_.overflow == nullptr || !offer(data.bytes())) [[likely]]
    consume(data.bytes(), &data);
  settle();
}

void Connection::on_end() noexcept {
  if (session_ != nullptr) return session_->on_end();
  peer_ended_ = true;
  if (state_.writing() == Writing::lingering) return close_stream(false);
  settle();
}

void Connection::discard(std::size_t bytes) noexcept {
  if (bytes == 0) return;
  dropped_input_ = true;
  discarded_ += static_cast<std::uint32_t>(bytes);
  if (state_.writing() == Writing::lingering && discarded_ > core_.options.limits.linger_bytes) close_stream(false);
}

bool Connection::may_parse(bool input_is_empty) const noexcept {
  const Limits& limits = core_.options.limits;
  switch (state_.reading()) {
    case Reading::idle:
      return !upgrade_awaited_ && offered_ == nullptr && waiting_count_ < limits.pipelined_heads &&
             waiting_bytes_ < limits.pipelined_bytes;
    case Reading::head:
    case Reading::drain:
      return true;
    case Reading::body:
      // The body of a request that waits for its turn stays where it is: only one body per connection is ever held.
      // With an empty input all that can come out is the end of the message.
      return reading_body_ == front_ && (input_is_empty || front_->body_size_ <= limits.body_high_water);
    case Reading::closed:
      return false;
  }
  return false;
}

// `bytes` lie in `lease`, or in kept_. What cannot be parsed now is kept.
void Connection::consume(std::span<const std::byte> bytes, platform::Lease* lease) noexcept {
  while (may_parse(bytes.empty())) {
    if (state_.reading() == Reading::idle) {
      if (bytes.empty()) break;
      if (!take_exchange()) return die(false);
      parser_.begin(parsing_->request_);
    }
    const RequestParser::Step step = parser_.parse(bytes);
    bytes = bytes.subspan(step.used);
    switch (step.event) {
      case RequestParser::Event::head:
        on_head();
        continue;
      case RequestParser::Event::body:
        on_body_bytes(step.body, bytes.empty() ? lease : nullptr);
        continue;
      case RequestParser::Event::message_complete:
        on_message_complete();
        continue;
      case RequestParser::Event::error:
        ++core_.stats.bad_requests;
        if (!bytes.empty()) dropped_input_ = true;
        refuse({step.status, step.reason});
        return;
      case RequestParser::Event::need_more:
        break;
    }
    if (state_.reading() == Reading::idle) {
      if (parser_.at_start()) {  // only empty lines so far: an idle connection holds no exchange
        parsing_->drop(Exchange::Holder::connection);
        parsing_ = nullptr;
      } else {
        state_.head_began();
      }
    }
    break;
  }
  if (state_.reading() == Reading::closed) {
    discard(bytes.size());
    drop_kept();
  } else {
    keep(bytes);
  }
}

// The loop is behind: another thread may parse this, if it is all there is to do here. Until it is back nothing else
// happens on this connection but its end.
bool Connection::offer(std::span<const std::byte> bytes) noexcept {
  if (state_.reading() != Reading::idle || !core_.overflow->is_behind(bytes.size())) return false;
  // Skipped empty lines count, so a parser that has seen some goes on itself.
  if (front_ != nullptr || waiting_first_ != nullptr || upgrade_awaited_ || !parser_.is_fresh()) return false;
  offered_ = core_.overflow->offer(*this, bytes);
  if (offered_ == nullptr) return false;
  kept_ = offered_->bytes;
  kept_at_ = 0;
  kept_size_ = offered_->size;
  return true;
}

void Connection::take_head(HeadBatch::Item* parsed) noexcept {
  assert(offered_ != nullptr && state_.reading() == Reading::idle && front_ == nullptr);
  offered_ = nullptr;
  if (parsed != nullptr) {
    if (!take_exchange()) return die(false);
    std::swap(parsing_->request_, parsed->head);
    kept_at_ = parsed->used;
    on_head();
  }
  consume_kept();
  // Nothing but empty lines came: it is idle still, as those are that a drain closes.
  if (core_.draining && state_.reading() == Reading::idle) return drain();
  settle();
}

bool Connection::take_exchange() noexcept {
  parsing_ = core_.exchanges.take();
  if (parsing_ == nullptr) return false;
  parsing_->info_ = info_;
  InfoPool::share(*info_);
  return true;
}

void Connection::on_head() noexcept {
  Exchange& exchange = *parsing_;
  parsing_ = nullptr;
  served_ = true;
  ++core_.stats.requests_total;
  const ServerOptions& options = core_.options;
  if (options.access_log != nullptr) exchange.head_at_ = platform::now();
  if (!options.trusted_proxies.empty())
    apply_forwarded(exchange.request_, info_->peer, options.trusted_proxies, exchange.forwarded_);
  if (!exchange.request_.keep_alive || core_.draining) state_.make_last();
  upgrade_awaited_ = exchange.request_.upgrade;

  const bool has_body = exchange.request_.has_body();
  exchange.body_complete_ = !has_body;
  state_.head_ended(has_body);
  if (has_body) {
    reading_body_ = &exchange;
    body_spent_ms_ = 0;
  }
  if (state_.writing() == Writing::idle && waiting_first_ == nullptr && !output_is_full())
    return begin_response(exchange);
  if (waiting_last_ == nullptr)
    waiting_first_ = &exchange;
  else
    waiting_last_->next_ = &exchange;
  waiting_last_ = &exchange;
  ++waiting_count_;
  waiting_bytes_ += static_cast<std::uint32_t>(exchange.request_.bytes.size());
}

void Connection::on_body_bytes(std::span<const std::byte> piece, platform::Lease* lease) noexcept {
  if (state_.reading() == Reading::drain) {
    discarded_ += static_cast<std::uint32_t>(piece.size());
    if (discarded_ > core_.options.limits.drain_bytes) finish();
    return;
  }
  Exchange& exchange = *reading_body_;
  const bool keep_lease =
      lease != nullptr && piece.size() >= kKeepLeaseBytes && core_.loop.buffers().lent() < kKeepLeaseBelow;
  if (keep_lease ? !exchange.body_.append_lease(core_.bodies, *lease, piece)
                 : !exchange.body_.append(core_.bodies, piece))
    return die(true);
  exchange.body_size_ += piece.size();
  exchange.body_began_ = true;
  body_to_tell_ = true;
  if (wait_ != Wait::body) return;
  read_deadline_ = core_.loop.now() + core_.options.timeouts.body;
  if (body_is_too_slow()) time_out_reading();
}

void Connection::on_message_complete() noexcept {
  const bool unwanted = state_.reading() == Reading::drain;
  state_.body_ended();
  if (unwanted) {
    if (state_.reading() == Reading::closed) finish();
    return;
  }
  reading_body_->body_complete_ = true;
  reading_body_ = nullptr;
  body_to_tell_ = true;
}

// The rest stays in a block of its own size: a receive buffer has 64 KiB, and there are few of them.
void Connection::keep(std::span<const std::byte> rest) noexcept {
  if (rest.empty()) return drop_kept();
  if (kept_ != nullptr && rest.data() >= kept_ && rest.data() < kept_ + kept_size_) {
    kept_at_ = kept_size_ - static_cast<std::uint32_t>(rest.size());
    return;
  }
  const std::size_t old = kept_ == nullptr ? 0 : kept_size_ - kept_at_;
  auto* memory = static_cast<std::byte*>(platform::allocate(old + rest.size()));
  if (memory == nullptr) return die(true);
  if (old != 0) std::memcpy(memory, kept_ + kept_at_, old);
  std::memcpy(memory + old, rest.data(), rest.size());
  drop_kept();
  kept_ = memory;
  kept_size_ = static_cast<std::uint32_t>(old + rest.size());
}

void Connection::drop_kept() noexcept {
  if (offered_ != nullptr)
    std::exchange(offered_, nullptr)->connection = nullptr;  // somebody may be reading it
  else
    platform::deallocate(kept_);
  kept_ = nullptr;
  kept_at_ = kept_size_ = 0;
}

void Connection::consume_kept() noexcept {
  if (kept_ == nullptr)
    consume({}, nullptr);
  else
    consume({kept_ + kept_at_, kept_size_ - kept_at_}, nullptr);
}

void Connection::want_body(Exchange& exchange) noexcept {
  if (!exchange.request_.expect_continue || exchange.continue_sent_ || exchange.body_began_ || exchange.body_complete_)
    return;
  exchange.continue_sent_ = true;
  // Behind a head that was sent a 100 has no place, and that head told the client as much: either way it is its turn.
  if (exchange.started_ && !exchange.head_held_) return settle();
  if (!emit(nullptr, "HTTP/1.1 100 Continue\r\n\r\n", {}, {}, {})) {
    (void)out_of_memory();
    return;
  }
  output_added();
  settle();
}

void Connection::body_was_read(Exchange& exchange) noexcept {
  if (reading_body_ != &exchange || (kept_ == nullptr && !body_paused_)) return;
  if (exchange.body_size_ > core_.options.limits.body_low_water) return;
  body_paused_ = false;
  core_.loop.defer(work_);  // parses what was kept, and reads on: not from inside the application's call
}

// At most one call per event and exchange: on_request() for a new one, on_body() for one that waits for its body.
void Connection::tell_application() noexcept {
  if (front_ == nullptr) return;
  Exchange& exchange = *front_;
  if (!exchange.announced_) {
    exchange.announced_ = true;
    exchange.hold(Exchange::Holder::application);
    body_to_tell_ = false;
    core_.handler.on_request(exchange);
    if (exchange.peer_finished_) core_.handler.on_disconnect(exchange, false);
    return;
  }
  if (!body_to_tell_) return;
  body_to_tell_ = false;
  if (!exchange.body_awaited_ || !exchange.held_by(Exchange::Holder::application)) return;
  exchange.body_awaited_ = false;
  core_.handler.on_body(exchange);
}

// The peer's FIN, once all before it is parsed.
void Connection::handle_end() noexcept {
  end_handled_ = true;
  switch (state_.reading()) {
    case Reading::head:
      refuse({400, "connection closed inside a request head"});
      break;
    case Reading::body:
      if (reading_body_ == front_ && front_->complete_) {
        give_body_up();
        break;
      }
      if (reading_body_ == front_) return die(false);  // the request can never be complete
      drop_last_waiting();
      state_.stop_reading();
      break;
    case Reading::idle:
    case Reading::drain:
    case Reading::closed:
      state_.stop_reading();
      break;
  }
  for (Exchange* waiting = waiting_first_; waiting != nullptr; waiting = waiting->next_) waiting->peer_finished_ = true;
  if (front_ != nullptr && !front_->peer_finished_) {
    front_->peer_finished_ = true;
    if (front_->announced_ && !front_->complete_ && front_->held_by(Exchange::Holder::application))
      core_.handler.on_disconnect(*front_, false);
  }
  if (state_.writing() == Writing::idle && waiting_first_ == nullptr && refused_ == nullptr) finish();
}

// Answers in our own name instead of the application's, after the requests before it, and closes.
void Connection::refuse(Refusal refusal) noexcept {
  Exchange* refused = parsing_;
  parsing_ = nullptr;
  if (refused == nullptr && state_.reading() == Reading::drain) return finish();  // it has its answer
  if (refused == nullptr && reading_body_ != nullptr) {
    refused = reading_body_;
    if (refused == front_ && refused->complete_) return give_body_up();
    if (refused->started_) return die(true);
    reading_body_ = nullptr;
    lose(*refused);
    front_ = nullptr;
    state_.response_ended();
  }
  drop_kept();
  state_.stop_reading();
  refused_ = refused;
  refusal_ = refusal;
  next_turn();
}

// The application is done with the request, and the last of its answer is still in the encoder.
void Connection::give_body_up() noexcept {
  reading_body_ = nullptr;
  front_->clear_body();
  drop_kept();
  dropped_input_ = true;
  state_.stop_reading();
}

bool Connection::wants_to_read() noexcept {
  const Limits& limits = core_.options.limits;
  if (state_.reading() == Reading::body && reading_body_ == front_) {
    if (front_->body_size_ > limits.body_high_water)
      body_paused_ = true;
    else if (front_->body_size_ <= limits.body_low_water)
      body_paused_ = false;
  } else {
    body_paused_ = false;
  }
  if (peer_ended_) return false;
  switch (state_.reading()) {
    case Reading::idle:
      // Behind an upgrade one buffer is read and kept: reading shows a reset.
      return kept_ == nullptr && (upgrade_awaited_ || may_parse(false));
    case Reading::head:
    case Reading::drain:
      return kept_ == nullptr;
    case Reading::body:
      return kept_ == nullptr && reading_body_ == front_ && !body_paused_;
    case Reading::closed:  // to see the end, and to keep what comes from being answered by a reset
      return state_.writing() != Writing::gone && discarded_ <= limits.linger_bytes;
  }
  return false;
}

void Connection::update_reading() noexcept {
  const bool wanted = wants_to_read();
  if (wanted != stream_.reading()) stream_.set_reading(wanted);
}

}  // namespace pyre::http
