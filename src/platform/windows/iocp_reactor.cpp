// Association, the order of one poll(), and the end of sockets. The operations are in iocp_ops.cpp and iocp_accept.cpp.
#include "platform/windows/iocp_reactor.h"

#include <algorithm>
#include <cassert>
#include <new>
#include <utility>

#include "platform/clock.h"
#include "platform/error.h"
#include "platform/memory.h"
#include "platform/socket.h"

namespace pyre::platform {

namespace {

Error last_error() noexcept { return error_from_os(static_cast<std::int32_t>(::GetLastError())); }

}  // namespace

Expected<std::unique_ptr<Reactor>> IocpReactor::make(BufferSource& buffers, const ReactorOptions& options) noexcept {
  std::unique_ptr<IocpReactor> reactor(new (std::nothrow) IocpReactor(buffers, options));
  if (reactor == nullptr) return error_from_os(ERROR_NOT_ENOUGH_MEMORY);
  if (const Error error = reactor->open(); error.code != Errc::ok) return error;
  return std::unique_ptr<Reactor>(std::move(reactor));
}

IocpReactor::IocpReactor(BufferSource& buffers, const ReactorOptions& options) noexcept
    : buffers_(buffers), options_(options) {
  work_.make_empty();
}

Error IocpReactor::open() noexcept {
  assert(options_.events_per_poll > 0 && options_.reads_per_socket > 0);
  if (winsock().error != 0) return error_from_os(winsock().error);
  max_entries_ = std::min(options_.events_per_poll, kMaxEntries);
  entries_.reset(new (std::nothrow) OVERLAPPED_ENTRY[max_entries_]);
  if (entries_ == nullptr) return error_from_os(ERROR_NOT_ENOUGH_MEMORY);
  port_ = ::CreateIoCompletionPort(INVALID_HANDLE_VALUE, nullptr, 0, 1);  // one thread takes packets
  if (port_ == nullptr) return last_error();
  return {Errc::ok, 0};
}

IocpReactor::~IocpReactor() {
  assert(!polling_);
  if (port_ != nullptr) {
    for (const Slab* slab = slabs_; slab != nullptr; slab = slab->next) {
      for (const IocpSocket& socket : slab->sockets) {
        if (socket.handle != INVALID_SOCKET) end_handle(const_cast<IocpSocket&>(socket));
      }
    }
    say_farewell();
  }
  while (made_slots_ != nullptr) {
    AcceptSlot* next = made_slots_->next_made;
    destroy_slot(*made_slots_);
    made_slots_ = next;
  }
  while (slabs_ != nullptr) {
    Slab* next = slabs_->next;
    const bool idle = std::none_of(slabs_->sockets.begin(), slabs_->sockets.end(),
                                   [](const IocpSocket& socket) { return in_kernel(socket); });
    for (IocpSocket& socket : slabs_->sockets)  // listeners that waited for their accepts
      if (socket.handle != INVALID_SOCKET) ::closesocket(std::exchange(socket.handle, INVALID_SOCKET));
    if (idle) destroy(slabs_);
    slabs_ = next;
  }
  if (port_ != nullptr) ::CloseHandle(port_);  // nobody posts any more: the slots' waits are over
}

// The kernel gives back what closed handles left with it, which takes microseconds; nothing is reported.
void IocpReactor::say_farewell() noexcept {
  const auto busy = [this] {
    for (const Slab* slab = slabs_; slab != nullptr; slab = slab->next) {
      for (const IocpSocket& socket : slab->sockets) {
        if (in_kernel(socket)) return true;
      }
    }
    return false;
  };
  const TimePoint until = Clock::now() + std::chrono::milliseconds(kFarewellMs);
  for (;;) {
    // Not by their packets: one may be lost, and one may be of an accept that was found before its packet came.
    for (AcceptSlot* slot = made_slots_; slot != nullptr; slot = slot->next_made) take_back(*slot);
    if (!busy() || Clock::now() >= until) return;
    ULONG count = 0;
    // One wait is shorter than the whole patience, so that a lost packet costs no more than elsewhere.
    if (::GetQueuedCompletionStatusEx(port_, entries_.get(), max_entries_, &count, timeout_ms(until), FALSE) == 0)
      continue;
    for (ULONG i = 0; i < count; ++i) {
      const OVERLAPPED_ENTRY& packet = entries_[i];
      if (packet.lpCompletionKey == kWakeKey || packet.lpCompletionKey == kAcceptKey) continue;
      IocpSocket& socket = *reinterpret_cast<IocpSocket*>(packet.lpCompletionKey);
      if (packet.lpOverlapped == &socket.recv_io) {
        socket.recv_pending = false;
      } else {
        socket.send_pending = false;
      }
    }
  }
}

// --- sockets
// -----------------------------------------------------------------------------------------------------------

IocpSocket* IocpReactor::allocate_socket() noexcept {
  if (free_ == nullptr) {
    Slab* slab = create<Slab>();
    if (slab == nullptr) return nullptr;
    slab->next = slabs_;
    slabs_ = slab;
    for (std::size_t i = kSlabSockets; i-- > 0;) {
      slab->sockets[i].next_free = free_;
      free_ = &slab->sockets[i];
    }
  }
  IocpSocket* socket = free_;
  free_ = socket->next_free;
  socket->~IocpSocket();
  return ::new (static_cast<void*>(socket)) IocpSocket();
}

void IocpReactor::empty_graveyard() noexcept {
  while (graveyard_ != nullptr) {
    IocpSocket* socket = graveyard_;
    graveyard_ = socket->next_free;
    socket->state = IocpSocket::State::unused;
    socket->next_free = free_;
    free_ = socket;
  }
}

Expected<Socket*> IocpReactor::attach(NativeSocket handle) noexcept {
  if (abandoned_) return Error{Errc::unsupported, 0};
  IocpSocket* socket = allocate_socket();
  if (socket == nullptr) return error_from_os(ERROR_NOT_ENOUGH_MEMORY);
  const auto refuse = [&](Error error) {
    socket->next_free = free_;
    free_ = socket;
    return error;
  };
  ++stats_.control_calls;
  if (is_listening(handle)) {
    sockaddr_storage address{};
    int size = sizeof address;
    if (::getsockname(handle, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      return refuse(error_from_os(::WSAGetLastError()));
    socket->listener = true;
    socket->family = address.ss_family;
  } else {
    const HANDLE file = handle_of(handle);
    if (::CreateIoCompletionPort(file, port_, reinterpret_cast<ULONG_PTR>(socket), 0) == nullptr)
      return refuse(last_error());
    // If it cannot be set, every success sends a packet, which is only slower.
    socket->skips =
        winsock().real_handles && ::SetFileCompletionNotificationModes(
                                      file, FILE_SKIP_COMPLETION_PORT_ON_SUCCESS | FILE_SKIP_SET_EVENT_ON_HANDLE) != 0;
  }
  socket->handle = handle;
  socket->state = IocpSocket::State::open;
  return static_cast<Socket*>(socket);
}

// Closes the handle, a listener's when its accepts are back; what the kernel had of the socket comes back as packets.
void IocpReactor::end_handle(IocpSocket& socket) noexcept {
  // Closing cancels only with the last handle of a socket, and a listener has others. (Never before: cancelled reads
  // can leave a connection that receives nothing any more, and a cancelled send is a cut.)
  for (AcceptSlot* slot = socket.slots; slot != nullptr; slot = slot->next) {
    if (slot->pending) ::CancelIoEx(handle_of(socket.handle), &slot->io);
  }
  if (socket.recv_pending) ::CancelIoEx(handle_of(socket.handle), &socket.recv_io);
  if (socket.send_pending) ::CancelIoEx(handle_of(socket.handle), &socket.send_io);
  // With it an accept that won the race is made a whole socket: finish_close() closes it.
  if (socket.slots_out == 0) ::closesocket(std::exchange(socket.handle, INVALID_SOCKET));
}

void IocpReactor::close(Socket& base, Op& closed) noexcept {
  if (abandoned_) return;
  IocpSocket& socket = native(base);
  assert(socket.state == IocpSocket::State::open);
  if (socket.linked()) socket.unlink();
  end_handle(socket);
  socket.state = IocpSocket::State::closing;

  // The read that waits has no bytes of the caller's, so its op is free at once. A send's bytes are the kernel's until
  // the packet comes.
  if (socket.recv != nullptr) finish(*std::exchange(socket.recv, nullptr), {Errc::cancelled, 0, 0});
  if (socket.send != nullptr && !socket.send_pending) {
    const std::uint64_t progress = socket.send_is_file ? static_cast<SendFileOp*>(socket.send)->progress
                                                       : static_cast<SendOp*>(socket.send)->progress;
    finish(*std::exchange(socket.send, nullptr),
           {Errc::cancelled, static_cast<std::uint32_t>(std::min<std::uint64_t>(progress, UINT32_MAX)), 0});
  }
  start(closed).closing = &socket;
  socket.closed = &closed;
  finish_close(socket);
}

// `closed` comes last: when the kernel has given everything back.
void IocpReactor::finish_close(IocpSocket& socket) noexcept {
  if (in_kernel(socket) || socket.closed == nullptr) return;
  if (socket.handle != INVALID_SOCKET) ::closesocket(std::exchange(socket.handle, INVALID_SOCKET));
  finish(*std::exchange(socket.closed, nullptr), {});
}

// --- one poll
// ----------------------------------------------------------------------------------------------------------

IocpReactor::OpState& IocpReactor::state_of(Op& op) noexcept {
  return *std::launder(reinterpret_cast<OpState*>(op.os.data()));
}

IocpReactor::OpState& IocpReactor::start(Op& op) noexcept {
  assert(op.done != nullptr && !op.in_flight);
  op.in_flight = true;
  op.next = nullptr;
  return *::new (static_cast<void*>(op.os.data())) OpState{};
}

void IocpReactor::finish(Op& op, Result result) noexcept {
  state_of(op).result = result;
  op.next = nullptr;
  if (ready_last_ == nullptr) {
    ready_first_ = &op;
  } else {
    ready_last_->next = &op;
  }
  ready_last_ = &op;
}

void IocpReactor::report(Op& op, Result result) noexcept { watch_.run(op, result, stats_); }

std::size_t IocpReactor::report_ready() noexcept {
  std::size_t callbacks = 0;
  const std::size_t limit = std::size_t{max_entries_} * kCompletionsPerEvent;
  // Only what is there now: an op that its callback starts again, and that finishes at once, is for the next poll.
  const Op* const last = ready_last_;
  while (ready_first_ != nullptr && callbacks < limit) {
    Op& op = *ready_first_;
    ready_first_ = op.next;
    if (ready_first_ == nullptr) ready_last_ = nullptr;
    op.next = nullptr;
    const bool was_last = &op == last;
    const OpState& state = state_of(op);
    if (state.closing != nullptr) {
      state.closing->state = IocpSocket::State::buried;
      state.closing->next_free = graveyard_;
      graveyard_ = state.closing;
    }
    ++callbacks;
    report(op, state.result);
    if (was_last) break;
  }
  return callbacks;
}

bool IocpReactor::has_ready() const noexcept { return (ready_first_ != nullptr || !work_.empty()) && !abandoned_; }

std::size_t IocpReactor::run_ready() noexcept {
  if (ready_first_ == nullptr || abandoned_) return 0;
  assert(!polling_);
  polling_ = true;
  const std::size_t callbacks = report_ready();
  empty_graveyard();
  polling_ = false;
  return callbacks;
}

DWORD IocpReactor::timeout_ms(TimePoint until) noexcept {
  if (until == TimePoint::max()) return kLongestWaitMs;
  if (until <= TimePoint{}) return 0;
  const auto left = until - now();
  if (left <= Clock::duration::zero()) return 0;
  // Rounded up: a wait that ends a little early would spin until the timer is really due.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<DWORD>(std::min<std::int64_t>(ms, kLongestWaitMs));
}

// Waits for packets. The system counts in ticks of up to 15.6 ms and may end a wait before its time, so the clock
// decides.
ULONG IocpReactor::wait(TimePoint until) noexcept {
  const TimePoint limit = has_ready() ? TimePoint::min() : std::min(until, armed_);
  for (;;) {
    ++stats_.polls;
    ULONG count = 0;
    const DWORD timeout = timeout_ms(limit);
    const bool found = ::GetQueuedCompletionStatusEx(port_, entries_.get(), max_entries_, &count, timeout, FALSE) != 0;
    if (armed_ != TimePoint::max() && armed_ <= Clock::now()) armed_ = TimePoint::max();  // it has rung
    if (post_failed_.load(std::memory_order_relaxed)) [[unlikely]] {
      look_for_lost_packets();
      return found ? count : 0;
    }
    if (found) return count;
    if (timeout == 0) return 0;
  }
}

std::size_t IocpReactor::poll(TimePoint until) noexcept {
  if (abandoned_) return 0;
  assert(!polling_);
  polling_ = true;
  ++turn_;
  const bool waits = until > TimePoint::min() && !has_ready();
  const ULONG count = wait(until);
  if (waits) tell_after_wait();
  std::size_t callbacks = report_ready();
  if (count > 0) callbacks += handle_packets(count);
  if (!work_.empty()) callbacks += run_work();
  callbacks += report_ready();
  empty_graveyard();
  polling_ = false;
  return callbacks;
}

std::size_t IocpReactor::handle_packets(ULONG count) noexcept {
  std::size_t callbacks = 0;
  stats_.events += count;
  for (ULONG i = 0; i < count; ++i) {
    const OVERLAPPED_ENTRY& packet = entries_[i];
    if (packet.lpCompletionKey == kWakeKey) [[unlikely]] {
      take_wake();
    } else if (packet.lpCompletionKey == kAcceptKey) {
      on_accept_packet(*reinterpret_cast<AcceptSlot*>(packet.lpOverlapped));  // its first member
    } else {
      callbacks += handle_socket_packet(*reinterpret_cast<IocpSocket*>(packet.lpCompletionKey), packet);
    }
  }
  return callbacks;
}

std::size_t IocpReactor::handle_socket_packet(IocpSocket& socket, const OVERLAPPED_ENTRY& packet) noexcept {
  // The socket is there, closed or not: its memory is kept until its last packet has come.
  if (packet.lpOverlapped == &socket.send_io) {
    on_send_packet(socket, packet.dwNumberOfBytesTransferred);
  } else {
    socket.recv_pending = false;
    if (socket.state == IocpSocket::State::open) {
      // The zero-byte read takes the error with it, and the next read would say "end of file": keep it. The next read
      // is for bytes that came before it.
      const std::int32_t error = outcome(socket.handle, socket.recv_io);
      if (error != 0 && errc_from_os(error) != Errc::exhausted && socket.failed == 0) socket.failed = error;
      socket.readable = true;
    }
  }
  if (socket.state != IocpSocket::State::open) {
    finish_close(socket);
    return 0;
  }
  std::size_t callbacks = 0;
  if (socket.recv != nullptr && socket.readable && take_attempt(socket)) callbacks += try_recv(socket);
  if (has_work(socket)) queue_work(socket);
  return callbacks;
}

bool IocpReactor::has_work(const IocpSocket& socket) noexcept {
  return socket.state == IocpSocket::State::open &&
         ((socket.readable && socket.recv != nullptr) || (socket.send != nullptr && !socket.send_pending));
}

void IocpReactor::queue_work(IocpSocket& socket) noexcept {
  if (!socket.linked()) work_.push_back(socket);
}

bool IocpReactor::take_attempt(IocpSocket& socket) noexcept {
  if (socket.turn != turn_) {
    socket.turn = turn_;
    socket.attempts = 0;
  }
  if (socket.attempts >= options_.reads_per_socket) return false;
  ++socket.attempts;
  return true;
}

std::size_t IocpReactor::run_work() noexcept {
  std::size_t callbacks = 0;
  std::size_t left = std::size_t{max_entries_} * kCompletionsPerEvent;
  WorkLink later;  // sockets that had their share of this poll
  later.make_empty();
  while (!work_.empty() && left > 0) {
    IocpSocket& socket = *static_cast<IocpSocket*>(work_.next);
    socket.unlink();
    if (!has_work(socket)) continue;
    const bool may_send = socket.send != nullptr && !socket.send_pending && socket.send_turn != turn_;
    const bool may_read = socket.readable && socket.recv != nullptr;
    if ((!may_send && !may_read) || !take_attempt(socket)) {
      later.push_back(socket);
      continue;
    }
    --left;
    if (may_send) try_send(socket);
    if (may_read) callbacks += try_recv(socket);
    if (has_work(socket)) queue_work(socket);  // at the end: sockets take turns
  }
  while (!later.empty()) {
    WorkLink& link = *later.next;
    link.unlink();
    work_.push_back(link);
  }
  return callbacks;
}

// --- wake
// -------------------------------------------------------------------------------------------------------------

void IocpReactor::wake() noexcept {
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;  // the first waker's packet is still to be taken
  if (::PostQueuedCompletionStatus(port_, 0, kWakeKey, nullptr) == 0)
    post_failed_.store(true, std::memory_order_release);
}

void IocpReactor::take_wake() noexcept {
  // Before anyone looks at what the waker has left: a wake() after this line posts again. An exchange, so that what
  // every earlier waker wrote is visible from here on, also of those that did not reach the kernel.
  woken_.exchange(false, std::memory_order_acq_rel);
  ++stats_.wakes;
}

// The kernel could not take a packet (non-paged pool). What it would have told is written down elsewhere.
void IocpReactor::look_for_lost_packets() noexcept {
  post_failed_.exchange(false, std::memory_order_acq_rel);
  take_wake();
  for (AcceptSlot* slot = made_slots_; slot != nullptr; slot = slot->next_made) {
    if (slot->signalled.load(std::memory_order_acquire)) on_accept_packet(*slot);
  }
}

void IocpReactor::abandon_after_fork() noexcept {
  abandoned_ = true;  // there is no fork(); callers need not know
}

}  // namespace pyre::platform
