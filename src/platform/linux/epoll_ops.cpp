// One try of each operation, and what its outcome means for the socket's readiness.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdint>

#include "platform/error.h"
#include "platform/linux/epoll_reactor.h"
#include "platform/socket.h"

namespace pyre::platform {
namespace {

constexpr bool is_would_block(int error) noexcept { return error == EAGAIN || error == EWOULDBLOCK; }

std::uint32_t saturate(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, UINT32_MAX));
}

// The connection died while it waited to be accepted (accept(2) lists these): nobody to tell.
bool is_dead_peer(int error) noexcept {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case ECONNRESET:
    case EPROTO:
    case EPERM:  // a firewall rule
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case ETIMEDOUT:
      return true;
    default:
      return false;
  }
}

// sendfile() knows no MSG_NOSIGNAL, and an app may have given SIGPIPE its deadly default back. Two calls per 512 KiB do
// not show.
class SigpipeHeld {
 public:
  SigpipeHeld() noexcept {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeHeld() {
    const int saved = errno;
    if (::sigismember(&before_, SIGPIPE) == 0) {
      if (raised_) {
        const timespec no_wait{};
        while (::sigtimedwait(&sigpipe_, nullptr, &no_wait) < 0 && errno == EINTR) {
        }
      }
      ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    errno = saved;
  }
  SigpipeHeld(const SigpipeHeld&) = delete;
  SigpipeHeld& operator=(const SigpipeHeld&) = delete;
  void note_raised() noexcept { raised_ = true; }

 private:
  sigset_t sigpipe_{};
  sigset_t before_{};
  bool raised_ = false;
};

}  // namespace

// --- accept
// ------------------------------------------------------------------------------------------------------------

void EpollReactor::accept(Socket& base, AcceptOp& op) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return;
  EpollSocket& socket = native(base);
  assert(socket.state == EpollSocket::State::open);
  start(op);
  op.peer = no_socket;
  op.address_size = 0;
  if (!socket.listener) {
    socket.listener = true;
    // A listener that was inherited may be blocking, and would hold the loop. Accepted sockets inherit TCP_NODELAY from
    // it.
    static_cast<void>(set_nonblocking_cloexec(socket.fd));
    set_nodelay(socket.fd);
  }
  if (socket.accepts == nullptr) {
    socket.accepts = &op;
  } else {
    socket.last_accept->next = &op;
  }
  socket.last_accept = &op;
  if (socket.readable) queue_work(socket);
}

void EpollReactor::try_accept(EpollSocket& socket) noexcept {
  int dead = 0;
  while (socket.accepts != nullptr) {
    AcceptOp& op = *socket.accepts;
    socklen_t size = sizeof op.address;
    const int peer =
        ::accept4(socket.fd, reinterpret_cast<sockaddr*>(op.address.data()), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    Result result;
    if (peer >= 0) {
      op.peer = peer;
      op.address_size = std::min<std::uint32_t>(size, sizeof op.address);
    } else if (is_would_block(errno)) {
      socket.readable = false;
      return;
    } else if (is_dead_peer(errno)) {
      if (++dead == kMaxDeadAccepts) return;  // still readable: the caller queues the rest
      continue;
    } else {
      // EMFILE and the like leave the peer in the backlog, and the listener readable: whoever posts again, tries again.
      result = result_from_os(errno);
    }
    socket.accepts = static_cast<AcceptOp*>(op.next);
    finish(op, result);
  }
}

// --- recv
// --------------------------------------------------------------------------------------------------------------

void EpollReactor::recv(Socket& base, RecvOp& op) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return;
  EpollSocket& socket = native(base);
  assert(socket.state == EpollSocket::State::open && socket.recv == nullptr);
  start(op);
  op.data.reset();
  socket.used = true;
  socket.recv = &op;
  // Not tried here: the buffer belongs to a socket only while poll() looks at its bytes.
  if (socket.readable) queue_work(socket);
}

std::size_t EpollReactor::try_recv(EpollSocket& socket) noexcept {
  RecvOp& op = *socket.recv;
  Lease lease = buffers_.lend();
  if (!lease) [[unlikely]] {
    socket.recv = nullptr;
    report(op, {Errc::exhausted, 0, 0});
    return 1;
  }
  ssize_t count;
  do {
    count = ::recv(socket.fd, lease.data(), lease.capacity(), MSG_DONTWAIT);
  } while (count < 0 && errno == EINTR);

  if (count > 0) [[likely]] {
    const auto bytes = static_cast<std::uint32_t>(count);
    if (bytes < lease.capacity() && !socket.sticky) socket.readable = false;
    lease.set_size(bytes);
    op.data = std::move(lease);
    socket.recv = nullptr;
    report(op, {Errc::ok, bytes, 0});
    return 1;
  }
  const int error = count < 0 ? errno : 0;
  lease.reset();
  if (is_would_block(error)) {
    socket.readable = false;
    socket.sticky = false;  // what made it sticky would still be readable
    return 0;
  }
  Result result{Errc::eof, 0, 0};
  if (error != 0) {
    result = result_from_os(error);
    if (result.code != Errc::exhausted) socket.failed = error;
  } else if (socket.failed != 0) {
    // The kernel told the error once, to a send or an earlier recv; since then it says "end of file", which would be a
    // lie.
    result = result_from_os(socket.failed);
  }
  socket.recv = nullptr;
  report(op, result);
  return 1;
}

// --- send
// --------------------------------------------------------------------------------------------------------------

void EpollReactor::send(Socket& base, SendOp& op) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return;
  op.progress = 0;
  start_send(native(base), op, false);
}

void EpollReactor::send_file(Socket& base, SendFileOp& op) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return;
  assert(op.count <= kMaxSendFileBytes);
  op.progress = 0;
  start_send(native(base), op, true);
}

void EpollReactor::start_send(EpollSocket& socket, Op& op, bool is_file) noexcept {
  assert(socket.state == EpollSocket::State::open && socket.send == nullptr);
  start(op);
  socket.used = true;
  socket.send = &op;
  socket.send_is_file = is_file;
  if (socket.blocked) return;
  try_send(socket);
  if (has_work(socket)) queue_work(socket);
}

void EpollReactor::try_send(EpollSocket& socket) noexcept {
  Op& op = *socket.send;
  socket.send_turn = turn_;
  Result failure;
  Sent sent;
  std::uint64_t progress;
  if (socket.send_is_file) {
    auto& file_op = static_cast<SendFileOp&>(op);
    sent = send_range(socket, file_op, failure);
    progress = file_op.progress;
  } else {
    auto& send_op = static_cast<SendOp&>(op);
    sent = send_pieces(socket, send_op, state_of(op), failure);
    progress = send_op.progress;
  }
  Result result;
  switch (sent) {
    case Sent::all:
      break;
    case Sent::turn_over:
      return;  // not blocked: the caller queues the rest
    case Sent::blocked: {
      const int error = await_writable(socket);
      if (error == 0) return;
      result = result_from_os(error);
      break;
    }
    case Sent::failed:
      result = failure;
      if (result.code == Errc::reset || result.code == Errc::timed_out) {
        if (socket.failed == 0) socket.failed = result.os_error;
        // The error may have been its only announcement: a recv, now or later, must find out, too.
        socket.readable = true;
        socket.sticky = true;
      }
      break;
  }
  result.bytes = saturate(progress);
  socket.send = nullptr;
  finish(op, result);
}

EpollReactor::Sent EpollReactor::send_pieces(const EpollSocket& socket, SendOp& op, OpState& state,
                                             Result& failure) noexcept {
  std::uint64_t left = kMaxSendBytesPerTurn;
  for (;;) {
    iovec vector[kMaxPieces];
    std::size_t count = 0;
    std::uint64_t gathered = 0;
    std::size_t piece = state.piece;
    std::uint64_t offset = state.piece_offset;
    for (; piece < op.pieces.size() && count < kMaxPieces && gathered < left; ++piece, offset = 0) {
      const ConstBytes bytes = op.pieces[piece];
      const std::uint64_t size = std::min<std::uint64_t>(bytes.size() - offset, left - gathered);
      if (size == 0) continue;
      // sendmsg() only reads; iovec has no const.
      vector[count].iov_base = const_cast<std::byte*>(bytes.data() + offset);
      vector[count].iov_len = size;
      ++count;
      gathered += size;
    }
    if (gathered == 0) return piece == op.pieces.size() ? Sent::all : Sent::turn_over;

    const bool more = op.more || piece < op.pieces.size();
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0);
    ssize_t sent;
    if (count == 1) {
      sent = ::send(socket.fd, vector[0].iov_base, vector[0].iov_len, flags);
    } else {
      msghdr message{};
      message.msg_iov = vector;
      message.msg_iovlen = count;
      sent = ::sendmsg(socket.fd, &message, flags);
    }
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (is_would_block(errno)) return Sent::blocked;
      failure = result_from_os(errno);
      return Sent::failed;
    }
    const auto taken = static_cast<std::uint64_t>(sent);
    op.progress += taken;
    left -= taken;
    // On to the first byte that is not taken; the caller's pieces stay as they are.
    std::uint64_t skip = taken + state.piece_offset;
    while (state.piece < op.pieces.size() && skip >= op.pieces[state.piece].size()) {
      skip -= op.pieces[state.piece].size();
      ++state.piece;
    }
    state.piece_offset = skip;
    if (state.piece == op.pieces.size()) return Sent::all;
    if (left == 0) return Sent::turn_over;
  }
}

EpollReactor::Sent EpollReactor::send_range(const EpollSocket& socket, SendFileOp& op, Result& failure) noexcept {
  const std::uint64_t total = op.head.size() + op.count;
  while (op.progress < op.head.size()) {
    const ConstBytes rest = op.head.subspan(op.progress);
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (op.count > 0 || op.more ? MSG_MORE : 0);
    const ssize_t sent = ::send(socket.fd, rest.data(), rest.size(), flags);
    if (sent >= 0) {
      op.progress += static_cast<std::uint64_t>(sent);
    } else if (errno != EINTR) {
      if (is_would_block(errno)) return Sent::blocked;
      failure = result_from_os(errno);
      return Sent::failed;
    }
  }
  SigpipeHeld sigpipe;
  while (op.progress < total) {
    auto offset = static_cast<off_t>(op.offset + (op.progress - op.head.size()));
    const ssize_t sent = ::sendfile(socket.fd, op.file, &offset, static_cast<std::size_t>(total - op.progress));
    if (sent > 0) {
      op.progress += static_cast<std::uint64_t>(sent);
    } else if (sent == 0) {
      failure = {Errc::eof, 0, 0};  // the file is shorter than promised
      return Sent::failed;
    } else if (errno != EINTR) {
      if (is_would_block(errno)) return Sent::blocked;
      if (errno == EPIPE) sigpipe.note_raised();
      failure = result_from_os(errno);
      return Sent::failed;
    }
  }
  return Sent::all;
}

void EpollReactor::finish_sending(Socket& base) noexcept {
  if (abandoned_.load(std::memory_order_relaxed)) return;
  EpollSocket& socket = native(base);
  assert(socket.state == EpollSocket::State::open && socket.send == nullptr);
  socket.used = true;
  ::shutdown(socket.fd, SHUT_WR);
}

}  // namespace pyre::platform
