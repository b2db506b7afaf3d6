// One try of each operation, what is handed to the kernel if it has to wait, and what becomes of that.
#include <algorithm>
#include <cassert>
#include <cstdint>

#include "platform/clock.h"
#include "platform/error.h"
#include "platform/windows/iocp_reactor.h"

namespace pyre::platform {
namespace {

std::uint32_t saturate(std::uint64_t bytes) noexcept {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, UINT32_MAX));
}

// Something is short, but the connection lives.
bool is_lasting(std::int32_t error) noexcept { return errc_from_os(error) != Errc::exhausted; }

// Winsock only reads what it sends; WSABUF has no const.
WSABUF buffer_of(ConstBytes bytes) noexcept {
  WSABUF buffer;
  buffer.len = static_cast<ULONG>(bytes.size());
  buffer.buf = reinterpret_cast<char*>(const_cast<std::byte*>(bytes.data()));
  return buffer;
}

// A send of nothing sends nothing, but says whether there still is a connection.
std::int32_t probe(SOCKET socket) noexcept {
  WSABUF nothing{};
  DWORD sent = 0;
  if (::WSASend(socket, &nothing, 1, &sent, 0, nullptr, nullptr) == 0) return 0;
  const std::int32_t error = ::WSAGetLastError();
  return errc_from_os(error) == Errc::reset ? WSAECONNRESET : 0;
}

}  // namespace

// 0, or why an operation that the kernel is done with failed.
std::int32_t IocpReactor::outcome(SOCKET socket, OVERLAPPED& io) noexcept {
  if (io.Internal == 0) return 0;  // STATUS_SUCCESS
  DWORD bytes = 0;
  DWORD flags = 0;
  if (::WSAGetOverlappedResult(socket, &io, &bytes, FALSE, &flags) != 0) return 0;
  return ::WSAGetLastError();
}

// --- recv
// --------------------------------------------------------------------------------------------------------------

void IocpReactor::recv(Socket& base, RecvOp& op) noexcept {
  if (abandoned_) return;
  IocpSocket& socket = native(base);
  assert(socket.state == IocpSocket::State::open && socket.recv == nullptr);
  start(op);
  op.data.reset();
  socket.recv = &op;
  // Nothing is read here: the buffer belongs to a socket only while poll() looks at its bytes.
  if (!socket.readable) await_readable(socket);
  if (has_work(socket)) queue_work(socket);
}

// Posts the zero-byte read that waits. Afterwards it is pending, or the socket is readable, or the recv is over.
void IocpReactor::await_readable(IocpSocket& socket) noexcept {
  if (socket.recv_pending) return;
  WSABUF nothing{};
  DWORD bytes = 0;
  DWORD flags = 0;
  socket.recv_io = {};
  const bool at_once = ::WSARecv(socket.handle, &nothing, 1, &bytes, &flags, &socket.recv_io, nullptr) == 0;
  if (at_once && socket.skips) {
    socket.readable = true;
    return;
  }
  const std::int32_t error = at_once ? WSA_IO_PENDING : ::WSAGetLastError();
  if (error == WSA_IO_PENDING) {
    socket.recv_pending = true;
    return;
  }
  if (is_lasting(error)) {
    // A real read may still find bytes that came before the end.
    socket.failed = error;
    socket.readable = true;
    return;
  }
  RecvOp& op = *socket.recv;
  socket.recv = nullptr;
  finish(op, result_from_os(error));
}

std::size_t IocpReactor::try_recv(IocpSocket& socket) noexcept {
  RecvOp& op = *socket.recv;
  Lease lease = buffers_.lend();
  if (!lease) [[unlikely]] {
    socket.recv = nullptr;
    report(op, {Errc::exhausted, 0, 0});
    return 1;
  }
  WSABUF buffer{};
  buffer.buf = reinterpret_cast<char*>(lease.data());
  buffer.len = lease.capacity();
  DWORD count = 0;
  DWORD flags = 0;
  // Without an OVERLAPPED it is an ordinary non-blocking read, which sends no packet.
  const bool done = ::WSARecv(socket.handle, &buffer, 1, &count, &flags, nullptr, nullptr) == 0;
  if (done && count > 0) [[likely]] {
    // After a short read the zero-byte read waits; it is not edge-triggered, so nothing that follows can be missed.
    if (count < lease.capacity() && socket.failed == 0) socket.readable = false;
    lease.set_size(count);
    op.data = std::move(lease);
    socket.recv = nullptr;
    report(op, {Errc::ok, count, 0});
    return 1;
  }
  const std::int32_t error = done ? 0 : ::WSAGetLastError();
  lease.reset();
  if (error == WSAEWOULDBLOCK && socket.failed == 0) {
    socket.readable = false;
    await_readable(socket);
    return 0;
  }
  Result result{Errc::eof, 0, 0};
  // A zero-byte read may take a reset with it and say nothing (Wine's does, if bytes came first): "the end" is not
  // believed unasked. Once in a connection's life.
  if (error == 0 && socket.failed == 0 && !socket.finished) socket.failed = probe(socket.handle);
  if (socket.failed != 0) {
    // The zero-byte read, or a send, took the error with it; since then the kernel says "end of file", which would be a
    // lie.
    result = result_from_os(socket.failed);
  } else if (error != 0) {
    result = result_from_os(error);
    if (result.code != Errc::exhausted) socket.failed = error;
  }
  socket.recv = nullptr;
  report(op, result);
  return 1;
}

// --- send
// --------------------------------------------------------------------------------------------------------------

void IocpReactor::send(Socket& base, SendOp& op) noexcept {
  if (abandoned_) return;
  op.progress = 0;
  start_send(native(base), op, false);
}

void IocpReactor::send_file(Socket& base, SendFileOp& op) noexcept {
  if (abandoned_) return;
  assert(op.count <= kMaxSendFileBytes);
  op.progress = 0;
  start_send(native(base), op, true);
}

void IocpReactor::start_send(IocpSocket& socket, Op& op, bool is_file) noexcept {
  assert(socket.state == IocpSocket::State::open && socket.send == nullptr && !socket.send_pending);
  start(op);
  socket.send = &op;
  socket.send_is_file = is_file;
  try_send(socket);
  if (has_work(socket)) queue_work(socket);
}

void IocpReactor::try_send(IocpSocket& socket) noexcept {
  Op& op = *socket.send;
  socket.send_turn = turn_;
  Result result;
  const Sent sent = socket.send_is_file ? send_range(socket, static_cast<SendFileOp&>(op), result)
                                        : send_pieces(socket, static_cast<SendOp&>(op), result);
  if (sent == Sent::pending || sent == Sent::turn_over) return;  // the latter: the caller queues the rest
  if (sent == Sent::failed && (result.code == Errc::reset || result.code == Errc::timed_out)) {
    if (socket.failed == 0) socket.failed = result.os_error;
    socket.readable = true;  // a recv, now or later, must find out, too
  }
  result.bytes =
      saturate(socket.send_is_file ? static_cast<SendFileOp&>(op).progress : static_cast<SendOp&>(op).progress);
  socket.send = nullptr;
  finish(op, result);
}

// The kernel is done with an overlapped send: on to the rest.
void IocpReactor::on_send_packet(IocpSocket& socket, DWORD bytes) noexcept {
  socket.send_pending = false;
  Op& op = *socket.send;
  std::uint64_t& progress =
      socket.send_is_file ? static_cast<SendFileOp&>(op).progress : static_cast<SendOp&>(op).progress;
  if (socket.state != IocpSocket::State::open) {
    // Bytes of a send that was cut off do not count: some of them may have left, but nobody can tell which.
    const bool won = socket.send_io.Internal == 0;
    if (won) progress += bytes;
    std::uint64_t total = 0;
    if (socket.send_is_file) {
      total = static_cast<SendFileOp&>(op).head.size() + static_cast<SendFileOp&>(op).count;
    } else {
      for (const ConstBytes piece : static_cast<SendOp&>(op).pieces) total += piece.size();
    }
    socket.send = nullptr;
    finish(op, {progress == total ? Errc::ok : Errc::cancelled, saturate(progress), 0});
    return;
  }
  Result failure;
  if (const std::int32_t error = outcome(socket.handle, socket.send_io); error != 0) {
    failure = result_from_os(error);
  } else if (bytes == 0) {
    failure = {Errc::eof, 0, 0};  // TransmitFile: the file was cut while it was being sent
  } else {
    progress += bytes;
    if (socket.send_is_file) {
      note_transmit(socket, bytes, now() - socket.transmit_began);
    } else {
      skip_taken(static_cast<SendOp&>(op), bytes);
    }
    if (socket.send_turn != turn_) try_send(socket);
    return;
  }
  if (failure.code == Errc::reset || failure.code == Errc::timed_out) {
    if (socket.failed == 0) socket.failed = failure.os_error;
    socket.readable = true;
  }
  failure.bytes = saturate(progress);
  socket.send = nullptr;
  finish(op, failure);
}

// On to the first byte that is not taken; the caller's pieces stay as they are.
void IocpReactor::skip_taken(SendOp& op, std::uint64_t taken) noexcept {
  OpState& state = state_of(op);
  std::uint64_t skip = taken + state.piece_offset;
  while (state.piece < op.pieces.size() && skip >= op.pieces[state.piece].size()) {
    skip -= op.pieces[state.piece].size();
    ++state.piece;
  }
  state.piece_offset = skip;
}

IocpReactor::Sent IocpReactor::send_pieces(IocpSocket& socket, SendOp& op, Result& failure) noexcept {
  const OpState& state = state_of(op);
  std::uint64_t left = kMaxSendBytesPerTurn;
  bool must_wait = false;  // a plain send would block
  for (;;) {
    const std::uint64_t most = must_wait ? std::min(left, kMaxOverlappedBytes) : left;
    WSABUF vector[kMaxPieces];
    DWORD count = 0;
    std::uint64_t gathered = 0;
    std::size_t piece = state.piece;
    std::uint64_t offset = state.piece_offset;
    for (; piece < op.pieces.size() && count < kMaxPieces && gathered < most; ++piece, offset = 0) {
      const ConstBytes bytes = op.pieces[piece];
      const std::uint64_t size = std::min<std::uint64_t>(bytes.size() - offset, most - gathered);
      if (size == 0) continue;
      vector[count++] = buffer_of(bytes.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size)));
      gathered += size;
    }
    if (gathered == 0) return piece == op.pieces.size() ? Sent::all : Sent::turn_over;

    std::uint64_t taken = 0;
    if (must_wait) {
      const Handed handed = send_overlapped(socket, vector, count);
      if (handed.pending) return Sent::pending;
      if (handed.error != 0) {
        failure = result_from_os(handed.error);
        return Sent::failed;
      }
      taken = handed.taken;  // room came up in between
      must_wait = false;
    } else {
      DWORD sent = 0;
      if (::WSASend(socket.handle, vector, count, &sent, 0, nullptr, nullptr) != 0) {
        const int error = ::WSAGetLastError();
        if (error == WSAEWOULDBLOCK) {
          must_wait = true;
          continue;
        }
        failure = result_from_os(error);
        return Sent::failed;
      }
      must_wait = sent == 0;
      taken = sent;
    }
    op.progress += taken;
    left -= std::min(left, taken);
    skip_taken(op, taken);
    if (state.piece == op.pieces.size()) return Sent::all;
    if (left == 0) return Sent::turn_over;
  }
}

IocpReactor::Handed IocpReactor::send_overlapped(IocpSocket& socket, WSABUF* buffers, DWORD count) noexcept {
  DWORD sent = 0;
  socket.send_io = {};
  const bool at_once = ::WSASend(socket.handle, buffers, count, &sent, 0, &socket.send_io, nullptr) == 0;
  if (at_once && socket.skips) return {0, false, sent};
  const std::int32_t error = at_once ? WSA_IO_PENDING : ::WSAGetLastError();
  if (error != WSA_IO_PENDING) return {error, false, 0};
  socket.send_pending = true;
  return {0, true, 0};
}

IocpReactor::Sent IocpReactor::send_range(IocpSocket& socket, SendFileOp& op, Result& failure) noexcept {
  const std::uint64_t total = op.head.size() + op.count;
  std::uint64_t left = kMaxSendBytesPerTurn;
  socket.transmit_began = now();
  while (op.progress < total && left > 0) {
    const std::uint64_t most = socket.fast_transmits == kFastTransmits ? kMaxTransmitBytes : kMaxOverlappedBytes;
    // TransmitFile takes a count of 0 for "the whole file", and a range beyond the end for an error or for less, so the
    // size is looked up for each piece: one system call beside one that reads the file.
    LARGE_INTEGER size{};
    if (::GetFileSizeEx(op.file, &size) == 0) {
      failure = result_from_os(static_cast<std::int32_t>(::GetLastError()));
      return Sent::failed;
    }
    const std::uint64_t done_of_file = op.progress - std::min<std::uint64_t>(op.progress, op.head.size());
    const std::uint64_t from = op.offset + done_of_file;
    const std::uint64_t end = std::min<std::uint64_t>(op.offset + op.count, static_cast<std::uint64_t>(size.QuadPart));
    const std::uint64_t in_file = end > from ? std::min(end - from, most) : 0;
    Handed handed;
    if (in_file > 0) {
      handed = transmit(socket, op, in_file);
    } else if (op.progress < op.head.size()) {
      WSABUF rest = buffer_of(op.head.subspan(static_cast<std::size_t>(op.progress)));
      handed = send_overlapped(socket, &rest, 1);
    } else {
      failure = {Errc::eof, 0, 0};  // the file is shorter than promised
      return Sent::failed;
    }
    if (handed.pending) return Sent::pending;
    if (handed.error != 0) {
      failure = result_from_os(handed.error);
      return Sent::failed;
    }
    if (handed.taken == 0) {
      failure = {Errc::eof, 0, 0};
      return Sent::failed;
    }
    op.progress += handed.taken;
    left -= std::min(left, handed.taken);
    note_transmit(socket, handed.taken, {});
  }
  return op.progress == total ? Sent::all : Sent::turn_over;
}

// How large the next piece may be. A small one that was soon done says nothing about a large one.
void IocpReactor::note_transmit(IocpSocket& socket, std::uint64_t bytes, Clock::duration took) noexcept {
  if (took >= kFastTransmitTime) {
    socket.fast_transmits = 0;
  } else if (bytes >= kMaxOverlappedBytes && socket.fast_transmits < kFastTransmits) {
    ++socket.fast_transmits;
  }
}

IocpReactor::Handed IocpReactor::transmit(IocpSocket& socket, const SendFileOp& op, std::uint64_t in_file) noexcept {
  const std::uint64_t head_done = std::min<std::uint64_t>(op.progress, op.head.size());
  const std::uint64_t from = op.offset + (op.progress - head_done);
  const ConstBytes head = op.head.subspan(static_cast<std::size_t>(head_done));
  TRANSMIT_FILE_BUFFERS around{};
  around.Head = const_cast<std::byte*>(head.data());
  around.HeadLength = static_cast<DWORD>(head.size());
  socket.send_io = {};
  socket.send_io.Offset = static_cast<DWORD>(from);
  socket.send_io.OffsetHigh = static_cast<DWORD>(from >> 32);
  const bool at_once = winsock().transmit_file(socket.handle, op.file, static_cast<DWORD>(in_file), 0, &socket.send_io,
                                               head.empty() ? nullptr : &around, 0) != 0;
  if (at_once && socket.skips) return {0, false, socket.send_io.InternalHigh};
  const std::int32_t error = at_once ? WSA_IO_PENDING : ::WSAGetLastError();
  if (error != WSA_IO_PENDING) return {error, false, 0};
  socket.send_pending = true;
  return {0, true, 0};
}

void IocpReactor::finish_sending(Socket& base) noexcept {
  if (abandoned_) return;
  IocpSocket& socket = native(base);
  assert(socket.state == IocpSocket::State::open && socket.send == nullptr);
  socket.finished = true;
  ::shutdown(socket.handle, SD_SEND);
}

}  // namespace pyre::platform
