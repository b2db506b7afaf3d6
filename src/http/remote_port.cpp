#include "http/remote_port.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

#include "net/loop.h"
#include "platform/memory.h"

namespace pyre::http {

namespace {

constexpr std::size_t kKeepBytes = 256 * 1024;  // what an idle batch may keep of copied bytes
constexpr std::size_t kKeepEntries = 4096;
constexpr std::uint32_t kPieceBytes = 64 * 1024;

// What a side takes back of the batches that the other is done with: a few for the next ticks.
template <typename Batch>
Batch* take_returned(std::atomic<Batch*>& returned, Batch*& idle, std::uint32_t keep) noexcept {
  if (idle == nullptr) {
    idle = returned.exchange(nullptr, std::memory_order_acquire);
    Batch* last = idle;
    for (std::uint32_t i = 1; last != nullptr && i < keep; ++i) last = last->next_idle;
    if (last != nullptr) {
      Batch* surplus = std::exchange(last->next_idle, nullptr);
      while (surplus != nullptr) delete std::exchange(surplus, surplus->next_idle);
    }
  }
  if (idle == nullptr) return nullptr;
  return std::exchange(idle, idle->next_idle);
}

template <typename Batch>
void give_back_batch(std::atomic<Batch*>& returned, Batch& batch) noexcept {
  Batch* first = returned.load(std::memory_order_relaxed);
  do {
    batch.next_idle = first;
  } while (!returned.compare_exchange_weak(first, &batch, std::memory_order_release, std::memory_order_relaxed));
}

template <typename Batch>
void delete_all(Batch* batch) noexcept {
  while (batch != nullptr) delete std::exchange(batch, batch->next_idle);
}

}  // namespace

struct RemotePort::CommandBatch : net::Letter {
  explicit CommandBatch(RemotePort& p) noexcept
      : Letter([](Letter& letter) noexcept {
          auto& self = static_cast<CommandBatch&>(letter);
          self.port.run(self);
        }),
        port(p) {}
  RemotePort& port;
  CommandBatch* next_idle = nullptr;
  std::vector<Command> commands;
  std::vector<std::byte> bytes;
  std::vector<ResponseHead> heads;  // the first `heads_used`; the others are there for their memory
  std::uint32_t heads_used = 0;
};

struct RemotePort::EventBatch : net::Letter {
  explicit EventBatch(RemotePort& p) noexcept
      : Letter([](Letter& letter) noexcept {
          auto& self = static_cast<EventBatch&>(letter);
          self.port.apply(self);
        }),
        port(p) {}
  RemotePort& port;
  EventBatch* next_idle = nullptr;
  std::vector<Event> events;
  std::vector<void*> objects;
  std::vector<RemoteExchange*> retired;  // mirrors that no event after this one can mean
};

// A wake-up that says nothing. There is one of it, since clients who come and go can ask for many while the application
// hangs.
struct RemotePort::Nudge : net::Letter {
  Nudge() noexcept
      : Letter([](Letter& letter) noexcept {
          // Not a store: what the application looks at next must not be older than this.
          static_cast<Nudge&>(letter).posted.exchange(false, std::memory_order_acq_rel);
        }) {}
  std::atomic<bool> posted{false};
};

RemotePort::RemotePort(net::Loop& loop, net::Mailbox& inbox, Application& application, const Limits& limits,
                       ReleaseInfo release_info) noexcept
    : loop_(loop),
      inbox_(inbox),
      application_(application),
      limits_(limits),
      release_info_(release_info),
      nudge_(std::make_unique<Nudge>()) {}

RemotePort::~RemotePort() {
  assert(in_use_ == 0 && refused_ == nullptr);
  while (free_ != nullptr) destroy(std::exchange(free_, free_->next_));
  delete out_;
  delete in_;
  delete_all(idle_commands_);
  delete_all(idle_events_);
  delete_all(returned_commands_.load(std::memory_order_acquire));
  delete_all(returned_events_.load(std::memory_order_acquire));
}

// ---- the application's thread

RemotePort::CommandBatch& RemotePort::out() noexcept {
  if (out_ == nullptr) {
    out_ = take_returned(returned_commands_, idle_commands_, kKeepBatches);
    // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): nothing works without
    if (out_ == nullptr) out_ = new CommandBatch(*this);
    application_.on_commands();
  }
  return *out_;
}

void RemotePort::post(const Command& command) noexcept { out().commands.push_back(command); }

void RemotePort::post(Command command, std::span<const std::byte> bytes) noexcept {
  CommandBatch& batch = out();
  command.offset = batch.bytes.size();
  batch.bytes.insert(batch.bytes.end(), bytes.begin(), bytes.end());
  batch.commands.push_back(command);
}

void RemotePort::post(Command command, ResponseHead& head) noexcept {
  CommandBatch& batch = out();
  if (batch.heads_used == batch.heads.size()) batch.heads.emplace_back().set_limit(limits_.header_block_out);
  command.head = batch.heads_used++;
  std::swap(batch.heads[command.head], head);
  batch.commands.push_back(command);
}

void RemotePort::flush() noexcept {
  if (out_ != nullptr) loop_.mailbox().post(*std::exchange(out_, nullptr));
}

void RemotePort::run_commands_here() noexcept {
  while (out_ != nullptr) run(*std::exchange(out_, nullptr));
}

void RemotePort::apply(EventBatch& batch) noexcept {
  std::uint64_t requests = 0;
  for (const Event& event : batch.events) {
    RemoteExchange& remote = *event.exchange;
    if (event.kind == Event::Kind::request) {
      ++requests;
      remote.begin(event.complete, event.queued);
      application_.on_request(remote);
      continue;
    }
    if (!remote.attached_) {
      platform::deallocate(event.piece);
      continue;
    }
    switch (event.kind) {
      case Event::Kind::request:
        break;
      case Event::Kind::body:
        remote.add_body(event.piece, event.complete);
        break;
      case Event::Kind::drained:
        remote.drained(event.position, event.queued);
        break;
      case Event::Kind::finished:
        remote.peer_finished_ = true;
        break;
      case Event::Kind::dead:
        // After its last byte was posted the response is complete to the application, whatever becomes of it.
        if (!remote.complete_) remote.dead_ = true;
        remote.drop_body();
        break;
    }
    application_.on_change(remote);
  }
  if (requests != 0) taken_.store(taken_.load(std::memory_order_relaxed) + requests, std::memory_order_relaxed);
  batch.events.clear();
  if (batch.events.capacity() > kKeepEntries) std::vector<Event>().swap(batch.events);
  for (void* object : batch.objects) application_.on_object(object);
  batch.objects.clear();
  if (batch.objects.capacity() > kKeepEntries) std::vector<void*>().swap(batch.objects);
  for (RemoteExchange* remote : batch.retired) destroy(remote);
  batch.retired.clear();
  give_back_batch(returned_events_, batch);
}

// ---- the loop's thread: commands

void RemotePort::run(CommandBatch& batch) noexcept {
  for (const Command& command : batch.commands) run(command, batch);
  batch.commands.clear();
  if (batch.commands.capacity() > kKeepEntries) std::vector<Command>().swap(batch.commands);
  batch.bytes.clear();
  if (batch.bytes.capacity() > kKeepBytes) std::vector<std::byte>().swap(batch.bytes);
  for (std::uint32_t i = 0; i < batch.heads_used; ++i) batch.heads[i].reset();
  batch.heads_used = 0;
  give_back_batch(returned_commands_, batch);
}

void RemotePort::run(const Command& command, CommandBatch& batch) noexcept {
  RemoteExchange& remote = *command.exchange;
  Exchange& exchange = *remote.exchange_;
  switch (command.kind) {
    case Command::Kind::start:
      std::swap(exchange.response_head(), batch.heads[command.head]);
      (void)exchange.start(command.flag);
      break;
    case Command::Kind::write: {
      const std::byte* data = command.data != nullptr ? command.data : batch.bytes.data() + command.offset;
      const Outcome outcome =
          exchange.write({data, static_cast<std::size_t>(command.size)}, command.owner, command.flag);
      if (outcome != Outcome::ok && command.owner.release != nullptr) command.owner.release(command.owner.owner);
      break;
    }
    case Command::Kind::write_file: {
      const Outcome outcome =
          exchange.write_file(command.file, command.offset, command.size, command.owner, command.flag);
      if (outcome != Outcome::ok) command.owner.release(command.owner.owner);
      break;
    }
    case Command::Kind::end_trailers:
      std::swap(exchange.response_head(), batch.heads[command.head]);
      (void)exchange.end_trailers();
      break;
    case Command::Kind::informational:
      (void)exchange.send_informational(
          command.status,
          {reinterpret_cast<const char*>(batch.bytes.data() + command.offset), static_cast<std::size_t>(command.size)});
      break;
    case Command::Kind::fail:
      exchange.fail(command.status);
      break;
    case Command::Kind::want_body:
      exchange.want_body();
      break;
    case Command::Kind::body_was_read:
      remote.body_out_ -= command.size;
      remote.pieces_out_ -= command.head;
      request_pump(remote);
      break;
    case Command::Kind::tell_when_drained:
      if (exchange.should_wait()) {
        remote.drain_asked_ = true;
        remote.asked_position_ = command.size;
      } else {
        Event& event = add_event(Event::Kind::drained, remote);
        event.position = command.size;
        event.queued = exchange.output_queued();
      }
      break;
    case Command::Kind::release:
      remote.exchange_ = nullptr;
      exchange.app = nullptr;
      exchange.release();
      give_back(remote);
      break;
  }
}

// ---- the loop's thread: events

RemotePort::EventBatch& RemotePort::in() noexcept {
  if (in_ == nullptr) {
    in_ = take_returned(returned_events_, idle_events_, kKeepBatches);
    // NOLINTNEXTLINE(bugprone-unhandled-exception-at-new): nothing works without
    if (in_ == nullptr) in_ = new EventBatch(*this);
  }
  return *in_;
}

Event& RemotePort::add_event(Event::Kind kind, RemoteExchange& remote) noexcept {
  return in().events.emplace_back(Event{.kind = kind, .exchange = &remote});
}

// How many requests the application has not looked at yet. Its count is read only when ours could matter: it is written
// on another core.
bool RemotePort::is_full() noexcept {
  const std::uint64_t limit = std::uint64_t{limits_.connections} + kSpare;
  if (announced_ - taken_seen_ < limit) return false;
  taken_seen_ = taken_.load(std::memory_order_relaxed);
  return announced_ - taken_seen_ >= limit;
}

void RemotePort::on_request(Exchange& exchange) noexcept {
  RemoteExchange* remote = nullptr;
  if (!is_full()) {
    remote = free_;
    if (remote != nullptr) {
      free_ = remote->next_;
      --idle_;
    } else if (void* memory = platform::allocate(sizeof(RemoteExchange)); memory != nullptr) {
      remote = ::new (memory) RemoteExchange(*this);
      remote->head_.set_limit(limits_.header_block_out);
    }
  }
  exchange.app = remote;
  if (remote == nullptr) {
    exchange.app_next = refused_;
    refused_ = &exchange;
    return;
  }
  ++in_use_;
  ++announced_;
  remote->exchange_ = &exchange;
  remote->body_out_ = 0;
  remote->pieces_out_ = 0;
  remote->drain_asked_ = false;
  Event& event = add_event(Event::Kind::request, *remote);
  event.complete = remote->body_end_told_ = exchange.body_complete() && exchange.body_available() == 0;
  event.queued = exchange.output_queued();
  if (!event.complete) request_pump(*remote);
}

void RemotePort::on_body(Exchange& exchange) noexcept {
  if (exchange.app != nullptr) request_pump(*static_cast<RemoteExchange*>(exchange.app));
}

void RemotePort::on_drained(Exchange& exchange) noexcept {
  auto* remote = static_cast<RemoteExchange*>(exchange.app);
  if (remote == nullptr || !remote->drain_asked_) return;
  remote->drain_asked_ = false;
  Event& event = add_event(Event::Kind::drained, *remote);
  event.position = remote->asked_position_;
  event.queued = exchange.output_queued();
}

void RemotePort::on_disconnect(Exchange& exchange, bool dead) noexcept {
  auto* remote = static_cast<RemoteExchange*>(exchange.app);
  if (remote == nullptr) return;
  // A FIN may be told before the last of the body: receive() looks at it only when the body is delivered.
  (void)add_event(dead ? Event::Kind::dead : Event::Kind::finished, *remote);
}

void RemotePort::on_connection_info_released(ConnectionInfo& info) noexcept { release_info_(info); }

void RemotePort::hand_over(void* object) noexcept { in().objects.push_back(object); }

void RemotePort::request_pump(RemoteExchange& remote) noexcept {
  if (remote.to_pump_) return;
  remote.to_pump_ = true;
  to_pump_.push_back(&remote);
}

// Not from inside the handler's functions: reading acts on the connection.
void RemotePort::pump(RemoteExchange& remote) noexcept {
  if (remote.exchange_ == nullptr) return;
  Exchange& exchange = *remote.exchange_;
  while (exchange.body_available() > 0 && remote.body_out_ <= limits_.body_high_water &&
         remote.pieces_out_ < kMaxPieces) {
    const auto size = static_cast<std::uint32_t>(std::min<std::uint64_t>(exchange.body_available(), kPieceBytes));
    BodyPiece* piece = BodyPiece::make(size);
    if (piece == nullptr) {
      exchange.fail(500);
      (void)add_event(Event::Kind::dead, remote);  // nobody else tells who waits for the body
      return;
    }
    exchange.read_body({piece->bytes(), size});
    remote.body_out_ += size;
    ++remote.pieces_out_;
    Event& event = add_event(Event::Kind::body, remote);
    event.piece = piece;
    event.complete = remote.body_end_told_ = exchange.body_complete() && exchange.body_available() == 0;
  }
  if (!remote.body_end_told_ && exchange.body_complete() && exchange.body_available() == 0) {
    remote.body_end_told_ = true;
    add_event(Event::Kind::body, remote).complete = true;
  }
}

void RemotePort::refuse_surplus() noexcept {
  while (refused_ != nullptr) {
    AppExchange& exchange = *std::exchange(refused_, refused_->app_next);
    exchange.app_next = nullptr;
    ++refused_count_;
    exchange.fail(503);
    exchange.release();
  }
}

void RemotePort::end_tick(bool wake) noexcept {
  refuse_surplus();
  for (std::size_t i = 0; i < to_pump_.size(); ++i) {
    to_pump_[i]->to_pump_ = false;
    pump(*to_pump_[i]);
  }
  to_pump_.clear();
  if (in_ != nullptr)
    inbox_.post(*std::exchange(in_, nullptr));
  else if (wake && !nudge_->posted.exchange(true, std::memory_order_acq_rel))
    inbox_.post(*nudge_);
}

void RemotePort::give_back(RemoteExchange& remote) noexcept {
  --in_use_;
  if (idle_ >= kKeepExchanges && !remote.to_pump_) {
    // Not freed here: an event that the application has not seen yet may mean it. That one is in this letter or an
    // earlier one.
    in().retired.push_back(&remote);
    return;
  }
  remote.next_ = free_;
  free_ = &remote;
  ++idle_;
}

void RemotePort::destroy(RemoteExchange* remote) noexcept {
  remote->~RemoteExchange();
  platform::deallocate(remote);
}

}  // namespace pyre::http
