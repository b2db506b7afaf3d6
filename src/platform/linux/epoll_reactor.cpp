// Registration, the order of one poll(), and the end of sockets. The operations themselves are in epoll_ops.cpp.
#include "platform/linux/epoll_reactor.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <climits>
#include <new>

#include "platform/clock.h"
#include "platform/error.h"
#include "platform/memory.h"
#include "platform/socket.h"

namespace pyre::platform {
namespace {

// EPOLLPRI: recv() stops short at urgent data although bytes follow, and no further edge would come for those.
constexpr std::uint32_t kReadEvents = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET;

void close_descriptor(int& fd) noexcept {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

// Set by set_linger_zero(): the connection is to be reset, not ended.
bool wants_reset(int fd) noexcept {
  linger value{};
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, SO_LINGER, &value, &size) == 0 && value.l_onoff != 0 && value.l_linger == 0;
}

// A process that the app has forked may hold the same connection, and then close() alone would end nothing.
void end_connection(int fd) noexcept {
  if (wants_reset(fd)) {
    // Not shutdown(): its FIN would tell the peer that all is well before the reset does. Dissolving the association
    // sends the RST now.
    const sockaddr nobody{AF_UNSPEC, {}};
    if (::connect(fd, &nobody, sizeof nobody) == 0) return;
  }
  ::shutdown(fd, SHUT_RDWR);
}

}  // namespace

Expected<std::unique_ptr<Reactor>> EpollReactor::make(BufferSource& buffers, const ReactorOptions& options) noexcept {
  std::unique_ptr<EpollReactor> reactor(new (std::nothrow) EpollReactor(buffers, options));
  if (reactor == nullptr) return error_from_os(ENOMEM);
  if (const Error error = reactor->open(); error.code != Errc::ok) return error;
  return std::unique_ptr<Reactor>(std::move(reactor));
}

EpollReactor::EpollReactor(BufferSource& buffers, const ReactorOptions& options) noexcept
    : buffers_(buffers), options_(options) {
  work_.make_empty();
}

Error EpollReactor::open() noexcept {
  assert(options_.events_per_poll > 0 && options_.reads_per_socket > 0);
  events_.reset(new (std::nothrow) epoll_event[options_.events_per_poll]);
  if (events_ == nullptr) return error_from_os(ENOMEM);
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return error_from_os(errno);
  event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_ < 0) return error_from_os(errno);
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer_ < 0) return error_from_os(errno);
  // Edge-triggered, neither is ever read: each write, and each expiry, is an edge of its own.
  if (const int error = control(EPOLL_CTL_ADD, event_, EPOLLIN | EPOLLET, &event_); error != 0)
    return error_from_os(error);
  if (const int error = control(EPOLL_CTL_ADD, timer_, EPOLLIN | EPOLLET, &timer_); error != 0)
    return error_from_os(error);
  stats_ = {};
  return {Errc::ok, 0};
}

EpollReactor::~EpollReactor() {
  assert(!polling_);
  const bool ours = !abandoned_.load(std::memory_order_relaxed);
  while (slabs_ != nullptr) {
    for (EpollSocket& socket : slabs_->sockets) {
      if (socket.fd < 0) continue;
      if (ours && !socket.listener && !(!socket.used && is_listening(socket.fd))) end_connection(socket.fd);
      ::close(socket.fd);
    }
    Slab* next = slabs_->next;
    destroy(slabs_);
    slabs_ = next;
  }
  close_descriptor(timer_);
  close_descriptor(event_);
  close_descriptor(epoll_);
}

int EpollReactor::control(int action, int fd, std::uint32_t events, void* tag) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.ptr = tag;
  ++stats_.control_calls;
  return ::epoll_ctl(epoll_, action, fd, &event) == 0 ? 0 : errno;
}

// --- sockets
// -----------------------------------------------------------------------------------------------------------

EpollSocket* EpollReactor::allocate_socket() noexcept {
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
  EpollSocket* socket = free_;
  free_ = socket->next_free;
  socket->~EpollSocket();
  return ::new (static_cast<void*>(socket)) EpollSocket();
}

void EpollReactor::bury(EpollSocket& socket) noexcept {
  socket.state = EpollSocket::State::buried;
  socket.next_free = graveyard_;
  graveyard_ = &socket;
}

void EpollReactor::empty_graveyard() noexcept {
  while (graveyard_ != nullptr) {
    EpollSocket* socket = graveyard_;
    graveyard_ = socket->next_free;
    socket->state = EpollSocket::State::unused;
    socket->next_free = free_;
    free_ = socket;
  }
}

Expected<Socket*> EpollReactor::attach(NativeSocket native_socket) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return Error{Errc::unsupported, 0};
  EpollSocket* socket = allocate_socket();
  if (socket == nullptr) return error_from_os(ENOMEM);
  // If bytes are there already, adding the socket is the edge that tells.
  if (const int error = control(EPOLL_CTL_ADD, native_socket, kReadEvents, socket); error != 0) {
    socket->next_free = free_;
    free_ = socket;
    return error_from_os(error);
  }
  socket->fd = native_socket;
  socket->state = EpollSocket::State::open;
  return static_cast<Socket*>(socket);
}

int EpollReactor::await_writable(EpollSocket& socket) noexcept {
  socket.blocked = true;
  if (socket.out_registered) return 0;
  // The kernel looks at the socket as it takes the change, so room that came up since the EAGAIN is not missed.
  const int error = control(EPOLL_CTL_MOD, socket.fd, kReadEvents | EPOLLOUT, &socket);
  if (error == 0) socket.out_registered = true;
  return error;
}

void EpollReactor::close(Socket& base, Op& closed) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return;
  EpollSocket& socket = native(base);
  assert(socket.state == EpollSocket::State::open);
  if (socket.linked()) socket.unlink();

  // A child of the app may share the descriptor: then close() would neither take it off the epoll set nor end the
  // connection.
  static_cast<void>(control(EPOLL_CTL_DEL, socket.fd, 0, nullptr));
  // A listener is shared with others (it was duplicated from theirs), and shutdown() would end it for all of them.
  const bool is_listener = socket.listener || (!socket.used && is_listening(socket.fd));
  if (!is_listener) end_connection(socket.fd);
  ::close(socket.fd);
  socket.fd = -1;
  socket.state = EpollSocket::State::closing;

  if (socket.recv != nullptr) {
    finish(*socket.recv, {Errc::cancelled, 0, 0});
    socket.recv = nullptr;
  }
  if (socket.send != nullptr) {
    const std::uint64_t progress = socket.send_is_file ? static_cast<SendFileOp*>(socket.send)->progress
                                                       : static_cast<SendOp*>(socket.send)->progress;
    finish(*socket.send,
           {Errc::cancelled, static_cast<std::uint32_t>(std::min<std::uint64_t>(progress, UINT32_MAX)), 0});
    socket.send = nullptr;
  }
  while (socket.accepts != nullptr) {
    AcceptOp& op = *socket.accepts;
    socket.accepts = static_cast<AcceptOp*>(op.next);
    finish(op, {Errc::cancelled, 0, 0});
  }
  start(closed).closing = &socket;
  finish(closed, {});
}

// --- one poll
// ----------------------------------------------------------------------------------------------------------

EpollReactor::OpState& EpollReactor::state_of(Op& op) noexcept {
  return *std::launder(reinterpret_cast<OpState*>(op.os.data()));
}

EpollReactor::OpState& EpollReactor::start(Op& op) noexcept {
  assert(op.done != nullptr && !op.in_flight);
  op.in_flight = true;
  op.next = nullptr;
  return *::new (static_cast<void*>(op.os.data())) OpState{};
}

void EpollReactor::finish(Op& op, Result result) noexcept {
  state_of(op).result = result;
  op.next = nullptr;
  if (ready_last_ == nullptr) {
    ready_first_ = &op;
  } else {
    ready_last_->next = &op;
  }
  ready_last_ = &op;
}

void EpollReactor::report(Op& op, Result result) noexcept { watch_.run(op, result, stats_); }

std::size_t EpollReactor::report_ready() noexcept {
  std::size_t callbacks = 0;
  const std::size_t limit = std::size_t{options_.events_per_poll} * kCompletionsPerEvent;
  // Only what is there now: an op that its callback starts again, and that finishes at once, is for the next poll.
  const Op* const last = ready_last_;
  while (ready_first_ != nullptr && callbacks < limit) {
    Op& op = *ready_first_;
    ready_first_ = op.next;
    if (ready_first_ == nullptr) ready_last_ = nullptr;
    op.next = nullptr;
    const bool was_last = &op == last;
    const OpState& state = state_of(op);
    if (state.closing != nullptr) bury(*state.closing);
    ++callbacks;
    report(op, state.result);
    if (was_last) break;
  }
  return callbacks;
}

bool EpollReactor::has_ready() const noexcept {
  return (ready_first_ != nullptr || !work_.empty()) && !abandoned_.load(std::memory_order_relaxed);
}

std::size_t EpollReactor::run_ready() noexcept {
  if (ready_first_ == nullptr || abandoned_.load(std::memory_order_relaxed)) return 0;
  assert(!polling_);
  polling_ = true;
  const std::size_t callbacks = report_ready();
  empty_graveyard();
  polling_ = false;
  return callbacks;
}

int EpollReactor::timeout_ms(TimePoint until) const noexcept {
  if (until == TimePoint::max()) return -1;
  if (until <= TimePoint{})
    return 0;  // TimePoint::min(), the usual case of an embedded loop, needs no look at the clock
  const auto wait = until - now();
  if (wait <= Clock::duration::zero()) return 0;
  // Rounded up: a wait that ends a little early would spin until the timer is really due.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
  return ms > INT_MAX ? INT_MAX : static_cast<int>(ms);
}

std::size_t EpollReactor::poll(TimePoint until) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return 0;
  assert(!polling_);
  polling_ = true;
  ++turn_;
  ++stats_.polls;
  const int timeout = has_ready() ? 0 : timeout_ms(until);
  const int count = ::epoll_wait(epoll_, events_.get(), static_cast<int>(options_.events_per_poll), timeout);
  if (timeout != 0) tell_after_wait();
  std::size_t callbacks = report_ready();
  if (count > 0) callbacks += handle_events(count);  // -1: EINTR, the caller's loop looks at the clock again
  if (!work_.empty()) callbacks += run_work();
  callbacks += report_ready();
  empty_graveyard();
  polling_ = false;
  return callbacks;
}

std::size_t EpollReactor::handle_events(int count) noexcept {
  std::size_t callbacks = 0;
  stats_.events += static_cast<std::uint64_t>(count);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == &event_) [[unlikely]] {
      // Before anyone looks at what the waker has left: a wake() after this line writes again. An exchange, so that
      // what every earlier waker wrote is visible from here on, also of those that did not reach the kernel.
      woken_.exchange(false, std::memory_order_acq_rel);
      ++stats_.wakes;
    } else if (event.data.ptr == &timer_) [[unlikely]] {
      // A callback of this batch may have armed it anew.
      if (armed_ <= Clock::now()) armed_ = TimePoint::max();
    } else {
      callbacks += handle_socket_event(*static_cast<EpollSocket*>(event.data.ptr), event.events);
    }
  }
  return callbacks;
}

std::size_t EpollReactor::handle_socket_event(EpollSocket& socket, std::uint32_t events) noexcept {
  // Closed by a callback earlier in this batch. The memory is still there: the graveyard is emptied after the batch.
  if (socket.state != EpollSocket::State::open) return 0;
  constexpr std::uint32_t kEnd = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
  // One edge may announce bytes and the end behind them; a short read then is no sign that nothing is left.
  if ((events & (kEnd | EPOLLPRI)) != 0) socket.sticky = true;
  if ((events & (kEnd | EPOLLPRI | EPOLLIN)) != 0) socket.readable = true;
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) socket.blocked = false;

  std::size_t callbacks = 0;
  if (socket.send != nullptr && !socket.blocked) try_send(socket);
  if (socket.readable) {
    // Read even if the connection was reset: the bytes before the reset are still there.
    if (socket.recv != nullptr) {
      if (take_attempt(socket)) callbacks += try_recv(socket);
    } else if (socket.accepts != nullptr) {
      try_accept(socket);
    }
  }
  if (has_work(socket)) queue_work(socket);
  return callbacks;
}

bool EpollReactor::has_work(const EpollSocket& socket) noexcept {
  return socket.state == EpollSocket::State::open &&
         ((socket.readable && (socket.recv != nullptr || socket.accepts != nullptr)) ||
          (socket.send != nullptr && !socket.blocked));
}

void EpollReactor::queue_work(EpollSocket& socket) noexcept {
  if (!socket.linked()) work_.push_back(socket);
}

bool EpollReactor::take_attempt(EpollSocket& socket) noexcept {
  if (socket.turn != turn_) {
    socket.turn = turn_;
    socket.attempts = 0;
  }
  if (socket.attempts >= options_.reads_per_socket) return false;
  ++socket.attempts;
  return true;
}

std::size_t EpollReactor::run_work() noexcept {
  std::size_t callbacks = 0;
  std::size_t left = std::size_t{options_.events_per_poll} * kCompletionsPerEvent;
  WorkLink later;  // sockets that had their share of this poll
  later.make_empty();
  while (!work_.empty() && left > 0) {
    EpollSocket& socket = *static_cast<EpollSocket*>(work_.next);
    socket.unlink();
    if (!has_work(socket)) continue;
    const bool may_send = socket.send != nullptr && !socket.blocked && socket.send_turn != turn_;
    const bool may_read = socket.readable && (socket.recv != nullptr || socket.accepts != nullptr);
    if ((!may_send && !may_read) || !take_attempt(socket)) {
      later.push_back(socket);
      continue;
    }
    --left;
    if (may_send) try_send(socket);
    if (socket.readable) {
      if (socket.recv != nullptr) {
        callbacks += try_recv(socket);
      } else if (socket.accepts != nullptr) {
        try_accept(socket);
      }
    }
    if (has_work(socket)) queue_work(socket);  // at the end: sockets take turns
  }
  while (!later.empty()) {
    WorkLink& link = *later.next;
    link.unlink();
    work_.push_back(link);
  }
  return callbacks;
}

// --- wake, alarm, fork
// -------------------------------------------------------------------------------------------------

void EpollReactor::wake() noexcept {
  if (woken_.exchange(true, std::memory_order_acq_rel)) return;  // the first waker's event is still to be taken
  if (abandoned_.load(std::memory_order_relaxed)) return;
  const std::uint64_t one = 1;
  // Cannot fail but by a counter that is full after 2^64 wakes.
  static_cast<void>(::write(event_, &one, sizeof one) == sizeof one);
}

void EpollReactor::arm_alarm(TimePoint when) noexcept {
  if (when == armed_ || abandoned_.load(std::memory_order_relaxed)) return;
  armed_ = when;
  itimerspec setting{};  // all zero disarms
  if (when != TimePoint::max()) {
    // steady_clock is CLOCK_MONOTONIC. Times that are long past must not become 0, which would disarm.
    const auto ns = std::max<std::int64_t>(1, std::chrono::nanoseconds(when.time_since_epoch()).count());
    setting.it_value.tv_sec = static_cast<time_t>(ns / 1'000'000'000);
    setting.it_value.tv_nsec = static_cast<long>(ns % 1'000'000'000);
  }
  static_cast<void>(::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &setting, nullptr));
}

void EpollReactor::abandon_after_fork() noexcept {
  // The epoll set, the eventfd and the timer are the parent's, too: a child's epoll_ctl or settime would reach it.
  // Closing would not, but these numbers may be registered in the app's own event loop, and must not come to mean
  // another file.
  abandoned_.store(true, std::memory_order_relaxed);
}

}  // namespace pyre::platform
