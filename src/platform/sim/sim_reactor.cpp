#include "platform/sim/sim_reactor.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "platform/clock.h"
#include "platform/endpoint.h"
#include "platform/file.h"

namespace pyre::platform::sim {

struct SimSocket final : Socket {
  std::uint32_t id = 0;
  NativeSocket native = no_socket;
  Peer* peer = nullptr;  // null for a listener
  std::uint32_t backlog = 0;
  bool closing = false;
  bool listener = false;
  bool finished_sending = false;
  RecvOp* recv = nullptr;
  SendOp* send = nullptr;
  SendFileOp* send_file = nullptr;
  bool sending = false;         // a send is in flight, done or not
  Op* finished_send = nullptr;  // and this is it, if it is done and not reported yet
  std::uint64_t send_total = 0;
  std::deque<AcceptOp*> accepts;

  SimSocket() noexcept = default;
  ~SimSocket() = default;
};

namespace {

constinit thread_local SimReactor* installed_ = nullptr;

void require(bool kept, const char* sentence) noexcept {
  if (kept) return;
  std::fprintf(stderr, "SimReactor: contract broken: %s\n", sentence);
  std::abort();
}

std::uint32_t saturate(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, UINT32_MAX));
}

// The number is for logs only, and the same on every system, so that runs can be compared.
Result simulated(Errc code, int number) noexcept { return {code, 0, number}; }

SimSocket& native_socket(Socket& socket) noexcept { return static_cast<SimSocket&>(socket); }

}  // namespace

// --- the peer
// ----------------------------------------------------------------------------------------------------------

void Peer::write(std::string_view bytes) {
  if (!can_write()) return;
  Random& random = reactor_.random_;
  if (random.chance(reactor_.plan_.reset_before_data)) {
    reset();
    return;
  }
  while (!bytes.empty()) {
    std::size_t size = bytes.size();
    if (size > 1 && random.chance(reactor_.plan_.split_write)) size = 1 + random.below(size - 1);
    reactor_.send_segment(*this, Kind::data, std::string(bytes.substr(0, size)), true);
    bytes.remove_prefix(size);
  }
  if (random.chance(reactor_.plan_.reset_after_data)) reset();
}

void Peer::finish() {
  if (done_writing_ || saw_reset_) return;
  done_writing_ = true;
  reactor_.send_segment(*this, Kind::finish, {}, reactor_.random_.chance(reactor_.plan_.finish_alone));
}

void Peer::close() {
  finish();
  deaf_ = true;
  reactor_.schedule_drain(*this);
}

void Peer::reset() {
  if (saw_reset_ || reset_sent_) return;
  done_writing_ = true;
  deaf_ = true;
  sending_.clear();
  reactor_.send_segment(*this, Kind::reset, {}, true);
}

void Peer::stop_reading() { reading_ = false; }

void Peer::resume_reading() {
  reading_ = true;
  reactor_.schedule_drain(*this);
}

void Peer::read_some(std::size_t bytes) { reactor_.drain(*this, bytes); }

// --- the network
// -------------------------------------------------------------------------------------------------------

SimReactor::SimReactor(BufferSource& buffers, const FaultPlan& plan, const ReactorOptions& options)
    : buffers_(buffers),
      plan_(plan),
      options_(options),
      random_(plan.seed ^ 0x5157u),
      now_(std::chrono::hours(1)) {}  // not 0: TimePoint{} means "never" in places

SimReactor::~SimReactor() {
  for (SimSocket* socket : live_) delete socket;
}

NativeSocket SimReactor::add_handle(const Handle& handle) {
  handles_.push_back(handle);
  return kFirstSocket + static_cast<NativeSocket>(handles_.size()) - 1;
}

SimReactor::Handle& SimReactor::handle_of(NativeSocket socket) noexcept {
  require(owns(socket), "a native socket that is not one of this simulation");
  return handles_[static_cast<std::size_t>(socket - kFirstSocket)];
}

Peer& SimReactor::add_peer() {
  const auto id = static_cast<std::uint32_t>(peers_.size());
  peers_.push_back(std::unique_ptr<Peer>(new Peer(*this, id)));
  peers_.back()->last_arrival_ = now_;
  return *peers_.back();
}

NativeSocket SimReactor::listen() {
  Handle handle;
  handle.backlog = static_cast<std::uint32_t>(backlogs_.size());
  backlogs_.emplace_back();
  return add_handle(handle);
}

Peer& SimReactor::connect(NativeSocket listener) {
  const std::uint32_t backlog = handle_of(listener).backlog;
  require(handle_of(listener).peer == nullptr, "connect() wants a listener");
  Peer& peer = add_peer();
  Handle handle;
  handle.state = Handle::State::backlog;
  handle.peer = &peer;
  backlogs_[backlog].push_back(add_handle(handle));
  for (SimSocket* socket : live_) {
    if (socket->peer == nullptr && socket->backlog == backlog) touch(*socket);
  }
  return peer;
}

Peer& SimReactor::pair(NativeSocket& server_end) {
  Peer& peer = add_peer();
  peer.accepted_ = true;
  Handle handle;
  handle.peer = &peer;
  server_end = add_handle(handle);
  return peer;
}

bool SimReactor::idle() const noexcept {
  return !has_ready() && events_.empty() &&
         std::none_of(active_.begin(), active_.end(), [this](const auto& entry) { return can_work(*entry.second); });
}

std::size_t SimReactor::open_sockets() const noexcept {
  return static_cast<std::size_t>(std::count_if(handles_.begin(), handles_.end(), [](const Handle& handle) {
    return handle.state == Handle::State::loose || handle.state == Handle::State::attached;
  }));
}

void SimReactor::send_segment(Peer& peer, Peer::Kind kind, std::string bytes, bool may_be_late) {
  TimePoint when = std::max(now_, peer.last_arrival_);
  if (may_be_late && random_.chance(plan_.delay)) {
    when += std::chrono::microseconds(1 + random_.below(static_cast<std::uint64_t>(plan_.max_delay.count())));
  }
  if (kind == Peer::Kind::reset) peer.reset_sent_ = true;
  peer.last_arrival_ = when;  // a connection's segments stay in order
  peer.on_the_way_.push_back({kind, std::move(bytes)});
  events_.push({when, ++order_, peer.id_, false});
}

void SimReactor::schedule_drain(Peer& peer) {
  if (peer.drain_scheduled_) return;
  peer.drain_scheduled_ = true;
  TimePoint when = now_;
  if (random_.chance(plan_.delay)) {
    when += std::chrono::microseconds(1 + random_.below(static_cast<std::uint64_t>(plan_.max_delay.count())));
  }
  events_.push({when, ++order_, peer.id_, true});
}

// The peer takes bytes from the server's send buffer.
void SimReactor::drain(Peer& peer, std::size_t most) {
  if (peer.deaf_) {
    if (!peer.sending_.empty() && !peer.reset_sent_) send_segment(peer, Peer::Kind::reset, {}, true);
    peer.sending_.clear();
  } else {
    const std::size_t size = std::min(most, peer.sending_.size());
    peer.received_.append(peer.sending_, 0, size);
    peer.sending_.erase(0, size);
    if (peer.sending_.empty() && peer.server_finished_ && !peer.saw_reset_) peer.saw_end_ = true;
  }
  if (peer.socket_ != nullptr) touch(*peer.socket_);
}

void SimReactor::reset_peer(Peer& peer) {
  peer.sending_.clear();
  peer.saw_reset_ = true;
}

// The server closed its end. As TCP does: a FIN behind what is queued, but a reset if bytes were left unread, or come
// later.
void SimReactor::end_server_side(Peer& peer) {
  peer.server_gone_ = true;
  peer.socket_ = nullptr;
  const bool unread = peer.read_position_ < peer.arrived_.size();
  if (peer.linger_zero_ || unread) {
    if (!peer.reset_arrived_) reset_peer(peer);
    return;
  }
  peer.server_finished_ = true;
  schedule_drain(peer);
}

void SimReactor::deliver_due() {
  while (!events_.empty() && events_.top().when <= now_) {
    const Event event = events_.top();
    events_.pop();
    ++stats_.events;
    Peer& peer = *peers_[event.peer];
    if (event.drain) {
      peer.drain_scheduled_ = false;
      if (peer.reading_ || peer.deaf_) drain(peer, SIZE_MAX);
      continue;
    }
    if (peer.on_the_way_.empty()) continue;
    Peer::Segment segment = std::move(peer.on_the_way_.front());
    peer.on_the_way_.pop_front();
    switch (segment.kind) {
      case Peer::Kind::data:
        if (peer.server_gone_) {
          reset_peer(peer);  // bytes for a closed socket
          break;
        }
        peer.arrived_.erase(0, peer.read_position_);
        peer.read_position_ = 0;
        peer.arrived_ += segment.bytes;
        break;
      case Peer::Kind::finish:
        peer.finish_arrived_ = true;
        break;
      case Peer::Kind::reset:
        peer.reset_arrived_ = true;
        peer.sending_.clear();
        break;
    }
    if (peer.socket_ != nullptr) touch(*peer.socket_);
  }
}

// --- SocketOverride
// ----------------------------------------------------------------------------------------------------

bool SimReactor::owns(NativeSocket socket) const noexcept {
  return socket >= kFirstSocket && static_cast<std::size_t>(socket - kFirstSocket) < handles_.size();
}

void SimReactor::set_linger_zero(NativeSocket socket) noexcept {
  const Handle& handle = handle_of(socket);
  require(handle.state != Handle::State::closed, "set_linger_zero() on a closed socket");
  if (handle.peer != nullptr) handle.peer->linger_zero_ = true;
}

void SimReactor::close(NativeSocket socket) noexcept {
  Handle& handle = handle_of(socket);
  require(handle.state == Handle::State::loose, "close_socket() on a socket that is attached or closed");
  handle.state = Handle::State::closed;
  if (handle.peer != nullptr) end_server_side(*handle.peer);
}

bool SimReactor::is_listening(NativeSocket socket) const noexcept {
  return handles_[static_cast<std::size_t>(socket - kFirstSocket)].peer == nullptr;
}

Expected<NativeSocket> SimReactor::duplicate(NativeSocket socket) noexcept {
  Handle copy = handle_of(socket);
  require(copy.peer == nullptr, "duplicate_socket() is simulated for listeners only");
  copy.state = Handle::State::loose;
  copy.socket = nullptr;
  return add_handle(copy);
}

// --- operations
// --------------------------------------------------------------------------------------------------------

Expected<Socket*> SimReactor::attach(NativeSocket native) noexcept {
  if (abandoned_) return Error{Errc::unsupported, 0};
  Handle& handle = handle_of(native);
  require(handle.state == Handle::State::loose, "attach() wants a socket that is neither attached nor closed");
  auto* socket = new (std::nothrow) SimSocket();
  if (socket == nullptr) return Error{Errc::exhausted, 0};
  socket->id = next_socket_id_++;
  socket->native = native;
  socket->peer = handle.peer;
  socket->backlog = handle.backlog;
  handle.state = Handle::State::attached;
  handle.socket = socket;
  if (handle.peer != nullptr) handle.peer->socket_ = socket;
  live_.insert(socket);
  ++stats_.control_calls;
  return static_cast<Socket*>(socket);
}

void SimReactor::start(Op& op, const SimSocket& socket) {
  require(op.done != nullptr, "an op without `done`");
  require(!op.in_flight, "an op was started twice");
  require(live_.contains(const_cast<SimSocket*>(&socket)), "an op on a socket that is gone");
  require(!socket.closing, "an op after close()");
  op.in_flight = true;
}

void SimReactor::accept(Socket& base, AcceptOp& op) noexcept {
  if (abandoned_) return;
  SimSocket& socket = native_socket(base);
  start(op, socket);
  require(socket.peer == nullptr, "accept() on a connection");
  op.peer = no_socket;
  op.address_size = 0;
  socket.accepts.push_back(&op);
  touch(socket);
}

void SimReactor::recv(Socket& base, RecvOp& op) noexcept {
  if (abandoned_) return;
  SimSocket& socket = native_socket(base);
  start(op, socket);
  require(socket.peer != nullptr, "recv() on a listener");
  require(socket.recv == nullptr, "two recvs at once");
  op.data.reset();
  socket.recv = &op;
  touch(socket);
}

void SimReactor::send(Socket& base, SendOp& op) noexcept {
  if (abandoned_) return;
  SimSocket& socket = native_socket(base);
  start(op, socket);
  require(socket.peer != nullptr, "send() on a listener");
  require(!socket.sending, "two sends at once");
  require(!socket.finished_sending, "send() after finish_sending()");
  op.progress = 0;
  socket.send = &op;
  socket.sending = true;
  socket.send_total = 0;
  for (const ConstBytes piece : op.pieces) socket.send_total += piece.size();
  work_send(socket, true);
}

void SimReactor::send_file(Socket& base, SendFileOp& op) noexcept {
  if (abandoned_) return;
  SimSocket& socket = native_socket(base);
  start(op, socket);
  require(socket.peer != nullptr, "send_file() on a listener");
  require(!socket.sending, "two sends at once");
  require(!socket.finished_sending, "send_file() after finish_sending()");
  require(op.count <= kMaxSendFileBytes, "send_file() of more than kMaxSendFileBytes");
  op.progress = 0;
  socket.send_file = &op;
  socket.sending = true;
  socket.send_total = op.head.size() + op.count;
  work_send(socket, true);
}

void SimReactor::finish_sending(Socket& base) noexcept {
  if (abandoned_) return;
  SimSocket& socket = native_socket(base);
  require(live_.contains(&socket) && !socket.closing, "finish_sending() after close()");
  require(!socket.sending, "finish_sending() while a send is in flight");
  socket.finished_sending = true;
  socket.peer->server_finished_ = true;
  schedule_drain(*socket.peer);
}

void SimReactor::close(Socket& base, Op& closed) noexcept {
  if (abandoned_) return;
  SimSocket& socket = native_socket(base);
  start(closed, socket);
  socket.closing = true;
  if (socket.recv != nullptr) finish(*std::exchange(socket.recv, nullptr), {Errc::cancelled, 0, 0}, socket);
  if (socket.send != nullptr) {
    SendOp& op = *std::exchange(socket.send, nullptr);
    finish(op, {Errc::cancelled, saturate(op.progress), 0}, socket);
  }
  if (socket.send_file != nullptr) {
    SendFileOp& op = *std::exchange(socket.send_file, nullptr);
    finish(op, {Errc::cancelled, saturate(op.progress), 0}, socket);
  }
  for (AcceptOp* op : socket.accepts) finish(*op, {Errc::cancelled, 0, 0}, socket);
  socket.accepts.clear();
  finish(closed, {}, socket, true);
  active_.erase(socket.id);
  handle_of(socket.native).state = Handle::State::closed;
  if (socket.peer != nullptr) end_server_side(*socket.peer);
}

void SimReactor::finish(Op& op, Result result, SimSocket& socket, bool closes) {
  ready_.push_back({&op, result, &socket, closes});
}

void SimReactor::report(Op& op, Result result) {
  ++stats_.completions;
  op.in_flight = false;
  op.done(op, result);
}

std::size_t SimReactor::report_ready() {
  std::size_t callbacks = 0;
  for (std::size_t left = ready_.size(); left > 0; --left) {
    if (callbacks > 0 && random_.chance(plan_.delay)) break;  // the rest in the next poll
    auto chosen = ready_.begin();
    if (random_.chance(plan_.reorder)) {
      chosen += static_cast<std::ptrdiff_t>(random_.below(ready_.size()));
      // Within a socket the order stays: its first entry.
      SimSocket* const socket = chosen->socket;
      chosen = std::find_if(ready_.begin(), ready_.end(), [&](const Ready& entry) { return entry.socket == socket; });
    }
    const Ready entry = *chosen;
    ready_.erase(chosen);
    if (entry.closes) {
      live_.erase(entry.socket);
      graveyard_.push_back(entry.socket);
    }
    ++callbacks;
    // A send is over only now, so that a second one before its `done` is found out.
    if (entry.op == entry.socket->finished_send) {
      entry.socket->finished_send = nullptr;
      entry.socket->sending = false;
    }
    report(*entry.op, entry.result);
  }
  return callbacks;
}

void SimReactor::touch(SimSocket& socket) {
  if (!socket.closing) active_.emplace(socket.id, &socket);
}

bool SimReactor::can_work(const SimSocket& socket) const noexcept {
  if (socket.closing) return false;
  if (socket.peer == nullptr) return !socket.accepts.empty() && !backlogs_[socket.backlog].empty();
  const Peer& peer = *socket.peer;
  const bool readable = peer.read_position_ < peer.arrived_.size() || peer.finish_arrived_ || peer.reset_arrived_;
  const bool writable = peer.reset_arrived_ || peer.sending_.size() < plan_.send_buffer_bytes;
  return (socket.recv != nullptr && readable) || ((socket.send != nullptr || socket.send_file != nullptr) && writable);
}

std::size_t SimReactor::work(SimSocket& socket) {
  if (socket.peer == nullptr) {
    work_accept(socket);
    return 0;
  }
  if (socket.send != nullptr || socket.send_file != nullptr) work_send(socket, false);
  return work_recv(socket);
}

std::size_t SimReactor::work_recv(SimSocket& socket) {
  Peer& peer = *socket.peer;
  const std::size_t there = peer.arrived_.size() - peer.read_position_;
  if (socket.recv == nullptr || (there == 0 && !peer.finish_arrived_ && !peer.reset_arrived_)) return 0;
  RecvOp& op = *std::exchange(socket.recv, nullptr);
  Result result;
  if (there > 0) {
    Lease lease = random_.chance(plan_.buffers_exhausted) ? Lease{} : buffers_.lend();
    if (!lease) {
      result = {Errc::exhausted, 0, 0};
    } else {
      std::size_t size = std::min<std::size_t>(there, lease.capacity());
      if (random_.chance(plan_.partial_read)) size = 1 + random_.below(size);
      std::memcpy(lease.data(), peer.arrived_.data() + peer.read_position_, size);
      peer.read_position_ += size;
      lease.set_size(static_cast<std::uint32_t>(size));
      op.data = std::move(lease);
      result = {Errc::ok, static_cast<std::uint32_t>(size), 0};
    }
  } else {
    result = peer.reset_arrived_ ? simulated(Errc::reset, ECONNRESET) : Result{Errc::eof, 0, 0};
  }
  report(op, result);
  return 1;
}

void SimReactor::work_send(SimSocket& socket, bool first_try) {
  Peer& peer = *socket.peer;
  Op* op = socket.send != nullptr ? static_cast<Op*>(socket.send) : socket.send_file;
  std::uint64_t& progress = socket.send != nullptr ? socket.send->progress : socket.send_file->progress;
  Result result;
  bool over = false;
  if (peer.reset_arrived_) {
    result = simulated(Errc::reset, first_try ? EPIPE : ECONNRESET);
    over = true;
  } else {
    const std::size_t used = std::min<std::size_t>(peer.sending_.size(), plan_.send_buffer_bytes);
    std::uint64_t room = std::min<std::uint64_t>(plan_.send_buffer_bytes - used, socket.send_total - progress);
    if (room > 1 && random_.chance(plan_.short_send)) room = 1 + random_.below(room);
    const std::size_t before = peer.sending_.size();
    if (socket.send != nullptr) {
      std::uint64_t skip = progress;
      std::uint64_t wanted = room;
      for (const ConstBytes piece : socket.send->pieces) {
        if (wanted == 0) break;
        if (skip >= piece.size()) {
          skip -= piece.size();
          continue;
        }
        const std::uint64_t size = std::min<std::uint64_t>(piece.size() - skip, wanted);
        peer.sending_.append(reinterpret_cast<const char*>(piece.data()) + skip, size);
        skip = 0;
        wanted -= size;
      }
    } else if (room > 0) {
      const SendFileOp& send = *socket.send_file;
      const std::uint64_t from_head =
          std::min<std::uint64_t>(send.head.size() - std::min(progress, send.head.size()), room);
      if (from_head > 0) peer.sending_.append(reinterpret_cast<const char*>(send.head.data()) + progress, from_head);
      std::string chunk(room - from_head, '\0');
      if (!chunk.empty()) {
        const auto read = read_at(send.file, send.offset + (progress + from_head - send.head.size()),
                                  {reinterpret_cast<std::byte*>(chunk.data()), chunk.size()});
        if (!read) {
          result = {read.error().code, 0, read.error().os_error};
          over = true;
        } else {
          peer.sending_.append(chunk, 0, read.value());
          if (read.value() < chunk.size()) {
            result = {Errc::eof, 0, 0};
            over = true;
          }
        }
      }
    }
    progress += peer.sending_.size() - before;
    if (peer.sending_.size() > before && (peer.reading_ || peer.deaf_)) schedule_drain(peer);
    over = over || progress == socket.send_total;
  }
  if (!over) {
    // Parked. With room left (a short send) the next poll goes on, as after a spurious EPOLLOUT.
    touch(socket);
    return;
  }
  result.bytes = saturate(progress);
  socket.send = nullptr;
  socket.send_file = nullptr;
  socket.finished_send = op;
  finish(*op, result, socket);
}

void SimReactor::work_accept(SimSocket& socket) {
  auto& backlog = backlogs_[socket.backlog];
  while (!socket.accepts.empty() && !backlog.empty()) {
    AcceptOp& op = *socket.accepts.front();
    socket.accepts.pop_front();
    if (random_.chance(plan_.accept_exhausted)) {
      finish(op, simulated(Errc::exhausted, EMFILE), socket);
      continue;
    }
    const NativeSocket native = backlog.front();
    backlog.pop_front();
    Handle& handle = handle_of(native);
    handle.state = Handle::State::loose;
    handle.peer->accepted_ = true;
    Endpoint address;
    address.family = Endpoint::Family::ipv4;
    address.address = {127, 0, 0, 1};
    address.port = static_cast<std::uint16_t>(1024 + handle.peer->id() % 60000);
    op.address_size = address.to_sockaddr(op.address.data(), static_cast<std::uint32_t>(op.address.size()));
    op.peer = native;
    finish(op, {}, socket);
  }
}

// --- one poll
// ----------------------------------------------------------------------------------------------------------

bool SimReactor::has_ready() const noexcept {
  if (abandoned_) return false;
  return !ready_.empty() ||
         std::any_of(active_.begin(), active_.end(), [this](const auto& entry) { return can_work(*entry.second); });
}

std::size_t SimReactor::run_ready() noexcept {
  if (abandoned_ || ready_.empty()) return 0;
  require(!polling_, "run_ready() from inside a callback");
  polling_ = true;
  const std::size_t callbacks = report_ready();
  for (SimSocket* socket : graveyard_) delete socket;
  graveyard_.clear();
  polling_ = false;
  return callbacks;
}

void SimReactor::wake() noexcept {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  woken_condition_.notify_one();
}

void SimReactor::wait_for_wake(TimePoint until) {
  if (has_ready()) return;
  std::unique_lock lock(mutex_);
  if (woken_) return;
  if (random_.chance(plan_.spurious_wakeup)) return;
  TimePoint target = std::min(until, alarm_);
  if (!events_.empty()) target = std::min(target, events_.top().when);
  if (target == TimePoint::max()) {
    // A guard against hanging, not a time-out that anything relies on.
    if (waits_for_threads_) woken_condition_.wait_for(lock, std::chrono::seconds(20), [this] { return woken_; });
    return;
  }
  now_ = std::max(now_, target);
}

std::size_t SimReactor::poll(TimePoint until) noexcept {
  if (abandoned_) return 0;
  require(!polling_, "poll() from inside a callback");
  polling_ = true;
  ++stats_.polls;
  wait_for_wake(until);
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(woken_, false)) ++stats_.wakes;
  }
  if (alarm_ <= now_) alarm_ = TimePoint::max();
  if (until > TimePoint::min()) tell_after_wait();
  deliver_due();

  std::size_t callbacks = report_ready();
  std::vector<std::uint32_t> turns;
  for (auto entry = active_.begin(); entry != active_.end();) {
    if (can_work(*entry->second)) {
      turns.push_back(entry->first);
      ++entry;
    } else {
      entry = active_.erase(entry);
    }
  }
  if (plan_.reorder != 0) {
    for (std::size_t i = turns.size(); i > 1; --i) std::swap(turns[i - 1], turns[random_.below(i)]);
  }
  const std::size_t limit = std::min<std::size_t>(turns.size(), std::size_t{options_.events_per_poll} * 4);
  for (std::size_t i = 0; i < limit; ++i) {
    // An earlier callback may have closed it.
    if (const auto entry = active_.find(turns[i]); entry != active_.end() && can_work(*entry->second)) {
      callbacks += work(*entry->second);
    }
  }
  callbacks += report_ready();
  for (SimSocket* socket : graveyard_) delete socket;
  graveyard_.clear();
  polling_ = false;
  return callbacks;
}

SimScope::SimScope(SimReactor& reactor) noexcept {
  require(installed_ == nullptr, "two SimScopes on one thread");
  installed_ = &reactor;
  override_clock_for_tests([]() noexcept { return installed_->now(); });
  override_sockets_for_tests(&reactor);
}

SimScope::~SimScope() {
  override_sockets_for_tests(nullptr);
  override_clock_for_tests(nullptr);
  installed_ = nullptr;
}

}  // namespace pyre::platform::sim
