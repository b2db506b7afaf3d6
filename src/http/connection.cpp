// A connection's life: accept, turns, time-outs, and the ways it ends.
#include "http/connection.h"

#include <algorithm>
#include <cassert>

#include "http/coded_body.h"
#include "http/server_core.h"
#include "platform/memory.h"
#include "platform/socket.h"

namespace pyre::http {

using platform::TimePoint;

namespace {

// What a client that connected just before the end has for its first request: a few round trips across an ocean.
constexpr Timeouts::ms kDrainGrace{1000};

}  // namespace

Connection::Connection(ServerCore& core, SharedInfo& info) noexcept
    : core_(core), stream_(core.loop, *this), parser_(core.options.limits), info_(&info) {}

Connection::~Connection() { core_.infos.drop(*info_); }

bool Connection::accept(ServerCore& core, platform::NativeSocket socket, const platform::Endpoint& peer,
                        std::uint32_t listener) noexcept {
  SharedInfo* info = core.infos.take();
  if (info == nullptr) {
    platform::close_socket(socket);
    return false;
  }
  info->peer = peer;
  info->local = platform::Endpoint::local_of(socket);
  info->listener = listener;
  auto* connection = platform::create<Connection>(core, *info);
  if (connection == nullptr || connection->stream_.open(socket) != platform::Errc::ok) {
    if (connection == nullptr)
      core.infos.drop(*info);
    else
      platform::destroy(connection);
    platform::close_socket(socket);
    return false;
  }
  core.add(*connection);
  if (core.draining)
    connection->drain();  // accepted in the last moment
  else
    connection->settle();
  return true;
}

// ---- turns

void Connection::begin_response(Exchange& exchange) noexcept {
  state_.response_began();
  front_ = &exchange;
  exchange.connection_ = this;
  closing_ = false;
  ++core_.stats.requests_active;
}

void Connection::retire(Exchange& exchange) noexcept {
  exchange.complete_ = true;
  exchange.connection_ = nullptr;
  --core_.stats.requests_active;
  core_.log(exchange);
}

// The response's last byte is queued.
void Connection::complete(Exchange& exchange) noexcept {
  retire(exchange);
  if (kept_ == nullptr) core_.loop.cancel(work_);  // it was for the head, most of the time
  state_.response_ended();
  front_ = nullptr;
  if (exchange.request_.upgrade) upgrade_awaited_ = false;  // it was answered as any other
  if (reading_body_ == &exchange) {
    reading_body_ = nullptr;
    exchange.clear_body();
    if (!closing_ && !core_.draining && can_drain(exchange)) {
      discarded_ = 0;
      state_.body_is_unwanted();
      if (kept_ != nullptr) core_.loop.defer(work_);
    } else {
      dropped_input_ = true;
      state_.stop_reading();
    }
  }
  if (closing_ || core_.draining) {
    drop_waiting();
    state_.stop_reading();
  }
  exchange.drop(Exchange::Holder::connection);
  next_turn();
  settle();
}

void Connection::next_turn() noexcept {
  if (state_.writing() != Writing::idle) return;
  if (waiting_first_ != nullptr) {
    if (output_is_full()) return;  // nobody reads our answers: make no more of them
    Exchange& next = *waiting_first_;
    waiting_first_ = next.next_;
    if (waiting_first_ == nullptr) waiting_last_ = nullptr;
    next.next_ = nullptr;
    --waiting_count_;
    waiting_bytes_ -= static_cast<std::uint32_t>(next.request_.bytes.size());
    begin_response(next);
    const bool room = waiting_count_ <= core_.options.limits.pipelined_heads / 2;
    if (kept_ != nullptr && (room || reading_body_ == &next)) core_.loop.defer(work_);
    return;
  }
  if (refused_ != nullptr || refusal_) {
    emit_refusal();
  } else if (state_.reading() == Reading::closed) {
    finish();
  } else if (kept_ != nullptr) {
    core_.loop.defer(work_);
  }
}

void Connection::drop_last_waiting() noexcept {
  Exchange* last = waiting_last_;
  if (last == nullptr) return;
  if (reading_body_ == last) reading_body_ = nullptr;
  if (waiting_first_ == last) {
    waiting_first_ = waiting_last_ = nullptr;
  } else {
    waiting_last_ = waiting_first_;
    while (waiting_last_->next_ != last) waiting_last_ = waiting_last_->next_;
    waiting_last_->next_ = nullptr;
  }
  --waiting_count_;
  waiting_bytes_ -= static_cast<std::uint32_t>(last->request_.bytes.size());
  dropped_input_ = true;
  last->drop(Exchange::Holder::connection);
}

// What was received and has not begun will not be served.
void Connection::drop_waiting() noexcept {
  while (waiting_first_ != nullptr) {
    Exchange* exchange = waiting_first_;
    waiting_first_ = exchange->next_;
    exchange->next_ = nullptr;
    if (reading_body_ == exchange) reading_body_ = nullptr;
    exchange->drop(Exchange::Holder::connection);
    dropped_input_ = true;
  }
  waiting_last_ = nullptr;
  waiting_count_ = 0;
  waiting_bytes_ = 0;
  if (parsing_ != nullptr) {
    parsing_->drop(Exchange::Holder::connection);
    parsing_ = nullptr;
    dropped_input_ = true;
  }
  if (refused_ != nullptr) {
    refused_->drop(Exchange::Holder::connection);
    refused_ = nullptr;
  }
  refusal_ = Refusal{};
  if (kept_ != nullptr) dropped_input_ = true;
  drop_kept();
}

// ---- the ways to end

void Connection::finish() noexcept {
  if (state_.ending()) return;
  if (state_.reading() == Reading::drain) dropped_input_ = true;  // the rest of that body is on its way
  drop_waiting();
  reading_body_ = nullptr;
  discarded_ = 0;
  state_.finish();
  stream_.finish_sending();
  if (stream_.output().empty()) output_is_empty();
}

// FIN goes out now. If bytes of the peer's were lying unread when the socket is closed, the kernel would send a reset,
// and that may destroy what the peer has not read yet of our answer: so wait for its end. A draining server need not
// wait when nothing was dropped.
void Connection::output_is_empty() noexcept {
  if (peer_ended_ || (core_.draining && !dropped_input_)) return close_stream(false);
  state_.linger();
}

void Connection::cut(Exchange& exchange) noexcept {
  exchange.head_held_ = false;
  retire(exchange);
  if (exchange.coded_ != nullptr) exchange.coded_->connection_lost();
  if (reading_body_ == &exchange) reading_body_ = nullptr;
  front_ = nullptr;
  state_.response_ended();
  exchange.drop(Exchange::Holder::connection);
  die(true);
}

// The exchange at the front goes on without a connection.
void Connection::lose(Exchange& exchange) noexcept {
  --core_.stats.requests_active;
  exchange.dead_ = !exchange.complete_;
  exchange.connection_ = nullptr;
  exchange.head_held_ = false;
  exchange.clear_body();
  if (exchange.coded_ != nullptr) exchange.coded_->connection_lost();
  if (exchange.started_) core_.log(exchange);  // a response that its client did not see to the end is one, too
  if (exchange.announced_ && !exchange.complete_ && exchange.held_by(Exchange::Holder::application))
    core_.handler.on_disconnect(exchange, true);
}

void Connection::die(bool abort) noexcept {
  if (state_.writing() == Writing::gone) return;
  if (front_ != nullptr) {
    Exchange& exchange = *front_;
    front_ = nullptr;
    lose(exchange);
    exchange.drop(Exchange::Holder::connection);
  }
  close_stream(abort);
}

void Connection::close_stream(bool abort) noexcept {
  if (state_.writing() == Writing::gone) return;
  assert(front_ == nullptr);
  drop_waiting();
  reading_body_ = nullptr;
  state_.go();
  core_.loop.cancel(work_);
  core_.loop.timers().clear(clock_);
  stream_.close(abort);
}

void Connection::drain() noexcept {
  if (session_ != nullptr) return session_->drain();
  if (state_.ending()) return;
  state_.make_last();
  if (front_ == nullptr && waiting_first_ == nullptr && refused_ == nullptr) {
    if (offered_ != nullptr) return settle();  // a request that is arriving is still answered
    if (state_.reading() == Reading::idle && !served_) {
      // Accepted a moment ago: its first request may be on its way, and nothing has told the client that we end.
      settle();
      read_deadline_ = std::min(read_deadline_, core_.loop.now() + kDrainGrace);
      return arm_clock();
    }
    if (state_.reading() == Reading::idle && stream_.output().empty())
      close_stream(false);
    else if (state_.reading() != Reading::head)  // a request that is arriving is still answered
      finish();
  } else if (front_ == nullptr) {
    finish();
  } else if (state_.reading() != Reading::body || reading_body_ != front_) {
    drop_waiting();
    state_.stop_reading();
  }  // else its body is still read to the end; nothing waits behind it, and what is kept is part of it
  settle();
}

void Connection::abort() noexcept {
  if (session_ != nullptr) return session_->abort();
  die(true);
}

Outcome Connection::switch_protocol(Exchange& exchange, std::string_view head, ProtocolSession& session) noexcept {
  if (!exchange.request_.upgrade || !exchange.body_complete_) return Outcome::no_upgrade;
  if (!emit(nullptr, head, {}, {}, {})) return out_of_memory();
  assert(front_ == &exchange && waiting_first_ == nullptr);  // nothing behind an upgrade is parsed
  exchange.status_ = 101;
  retire(exchange);
  front_ = nullptr;
  exchange.drop(Exchange::Holder::connection);
  core_.loop.cancel(work_);
  core_.loop.timers().clear(clock_);
  std::byte* const leftover = kept_;
  const std::span<const std::byte> bytes(kept_ + kept_at_, kept_size_ - kept_at_);
  kept_ = nullptr;
  kept_at_ = kept_size_ = 0;
  stream_.request_flush();
  session_ = &session;
  session.taken_over(stream_, bytes);
  platform::deallocate(leftover);
  if (core_.draining) session.drain();
  return Outcome::ok;
}

void Connection::on_error(platform::Result result) noexcept {
  if (session_ != nullptr) return session_->on_error(result);
  // Not a FIN: a body that only the end of the connection ends would look complete (a file that turned out shorter).
  die(true);
}

void Connection::on_sent() noexcept {
  if (session_ != nullptr) return session_->on_sent();
  const std::uint64_t progress = stream_.progress();
  core_.stats.bytes_out += progress - counted_out_;
  counted_out_ = progress;
  const std::uint64_t queued = stream_.output().size();
  if (queued == 0) {
    write_deadline_ = TimePoint::max();
    if (state_.writing() == Writing::finishing) output_is_empty();
  } else {
    write_deadline_ = core_.loop.now() + core_.options.timeouts.write;
    write_mark_ = progress;
  }
  if (front_ == nullptr)
    next_turn();
  else if (queued <= core_.options.limits.output_low_water) {
    if (front_->coded_ != nullptr) front_->coded_->go_on();
    tell_if_drained(*front_);
  }
  settle();
}

void Connection::on_closed() noexcept {
  if (session_ != nullptr) session_->on_closed();
  die(false);  // on a stream that was closed by a session
  core_.stats.bytes_out += stream_.progress() - counted_out_;
  ServerCore& core = core_;
  core.remove(*this);
  platform::destroy(this);
  if (core.on_removed != nullptr) core.on_removed(core.removed_context);
}

// ---- time

Connection::Wait Connection::waits_for() const noexcept {
  if (state_.writing() == Writing::lingering) return Wait::linger;
  if (state_.ending()) return Wait::nobody;
  switch (state_.reading()) {
    case Reading::head:
      return Wait::head;
    case Reading::drain:
      return Wait::body;
    case Reading::body:
      if (reading_body_ != front_ || body_paused_ || kept_ != nullptr) return Wait::nobody;
      // Until the app asks for the body and a 100 goes out, the peer waits for us.
      if (front_->request_.expect_continue && !front_->continue_sent_ && !front_->body_began_) return Wait::nobody;
      return Wait::body;
    case Reading::idle:
      if (front_ != nullptr || waiting_first_ != nullptr || offered_ != nullptr || !stream_.output().empty())
        return Wait::nobody;
      return served_ ? Wait::keep_alive : Wait::head;
    case Reading::closed:
      return Wait::nobody;
  }
  return Wait::nobody;
}

void Connection::update_clock() noexcept {
  const Wait now_waits = waits_for();
  if (now_waits != wait_) {
    const TimePoint now = core_.loop.now();
    const Timeouts& timeouts = core_.options.timeouts;
    if (wait_ == Wait::body)
      body_spent_ms_ += static_cast<std::uint32_t>(std::chrono::duration_cast<Timeouts::ms>(now - body_since_).count());
    wait_ = now_waits;
    switch (wait_) {
      case Wait::nobody:
        read_deadline_ = TimePoint::max();
        break;
      case Wait::head:
        read_deadline_ = now + timeouts.header;
        break;
      case Wait::body:
        body_since_ = now;
        read_deadline_ = now + timeouts.body;
        break;
      case Wait::keep_alive:
        read_deadline_ = now + timeouts.keep_alive;
        break;
      case Wait::linger:
        read_deadline_ = now + timeouts.linger;
        break;
    }
  }
  arm_clock();
}

void Connection::arm_clock() noexcept {
  const TimePoint deadline = std::min(read_deadline_, write_deadline_);
  if (deadline == clock_.deadline()) return;
  if (deadline == TimePoint::max())
    core_.loop.timers().clear(clock_);
  else
    core_.loop.timers().set(clock_, deadline);
}

// Fewer bytes than the minimum rate gives for the time that we have spent reading; not judged before the grace is over.
bool Connection::body_is_too_slow() noexcept {
  const Timeouts& timeouts = core_.options.timeouts;
  if (timeouts.body_min_rate == 0) return false;
  const auto since = std::chrono::duration_cast<Timeouts::ms>(core_.loop.now() - body_since_).count();
  const std::uint64_t spent = body_spent_ms_ + static_cast<std::uint64_t>(since);
  if (spent <= static_cast<std::uint64_t>(timeouts.body.count())) return false;
  return parser_.body_received() < spent * timeouts.body_min_rate / 1000;
}

void Connection::time_out_reading() noexcept {
  ServerStats& stats = core_.stats;
  read_deadline_ = TimePoint::max();
  switch (wait_) {
    case Wait::nobody:
      break;
    case Wait::head:
      ++stats.timeouts_header;
      if (state_.reading() == Reading::head)
        refuse({408, "no complete request head in time"});
      else
        close_stream(false);  // not a byte: nothing to answer
      break;
    case Wait::body:
      ++stats.timeouts_body;
      if (state_.reading() == Reading::drain)
        finish();  // the answer may still be on its way
      else
        refuse({408, "no complete request body in time"});
      break;
    case Wait::keep_alive:
      ++stats.timeouts_keep_alive;
      close_stream(false);
      break;
    case Wait::linger:
      close_stream(false);
      break;
  }
}

void Connection::time_out_writing() noexcept {
  const std::uint64_t progress = stream_.progress();
  if (progress != write_mark_) {  // some bytes of a large send were taken
    write_mark_ = progress;
    write_deadline_ = core_.loop.now() + core_.options.timeouts.write;
    return;
  }
  ++core_.stats.timeouts_write;
  die(true);
}

void Connection::run_clock(net::Timer& timer) noexcept {
  Connection& self = static_cast<Clock&>(timer).connection;
  const TimePoint now = self.core_.loop.now();
  if (self.write_deadline_ <= now) self.time_out_writing();
  if (self.state_.writing() != Writing::gone && self.read_deadline_ <= now) self.time_out_reading();
  self.settle();
}

void Connection::run_work(net::Deferred& work) noexcept {
  Connection& self = static_cast<Work&>(work).connection;
  self.flush_held_head();
  if (self.state_.reading() != Reading::closed) self.consume_kept();
  self.settle();
}

void Connection::settle() noexcept {
  if (state_.writing() == Writing::gone || session_ != nullptr) return;
  tell_application();
  if (peer_ended_ && !end_handled_ && kept_ == nullptr) handle_end();
  if (state_.writing() == Writing::gone) return;
  update_reading();
  update_clock();
}

}  // namespace pyre::http
