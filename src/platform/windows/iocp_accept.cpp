// Accepting. The listener is not associated with the port (a socket belongs to one port for life, and this one is
// shared with other handles, loops and processes), so each AcceptEx signals an event of its own; a thread of the
// system's pool waits for all of them and posts a packet.
#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>

#include "platform/error.h"
#include "platform/memory.h"
#include "platform/socket.h"
#include "platform/windows/iocp_reactor.h"

namespace pyre::platform {
namespace {

// The connection died while it waited, or while we took it: nobody to tell.
bool is_dead_peer(std::int32_t error) noexcept { return errc_from_os(error) == Errc::reset; }

// hEvent with its lowest bit set: were another process to associate the listener with a port, our completions would not
// go there.
HANDLE event_without_packet(HANDLE event) noexcept {
  return reinterpret_cast<HANDLE>(reinterpret_cast<ULONG_PTR>(event) | 1U);
}

}  // namespace

void CALLBACK IocpReactor::on_event(void* context, BOOLEAN) {
  auto& slot = *static_cast<AcceptSlot*>(context);
  slot.signalled.store(true, std::memory_order_release);
  if (::PostQueuedCompletionStatus(slot.reactor->port_, 0, kAcceptKey, &slot.io) == 0)
    slot.reactor->post_failed_.store(true, std::memory_order_release);
}

AcceptSlot* IocpReactor::take_slot(IocpSocket& listener) noexcept {
  AcceptSlot* slot = free_slots_;
  if (slot != nullptr) {
    free_slots_ = slot->next;
  } else {
    slot = create<AcceptSlot>();
    if (slot == nullptr) return nullptr;
    slot->reactor = this;
    slot->event = ::CreateEventW(nullptr, FALSE, FALSE, nullptr);  // auto-reset: each completion is one signal
    // In the waiting thread itself: what it does is one call that does not block.
    if (slot->event == nullptr || ::RegisterWaitForSingleObject(&slot->wait, slot->event, &IocpReactor::on_event, slot,
                                                                INFINITE, WT_EXECUTEINWAITTHREAD) == 0) {
      if (slot->event != nullptr) ::CloseHandle(slot->event);
      destroy(slot);
      ::SetLastError(ERROR_NO_SYSTEM_RESOURCES);
      return nullptr;
    }
    slot->next_made = made_slots_;
    made_slots_ = slot;
  }
  slot->listener = &listener;
  slot->next = listener.slots;
  listener.slots = slot;
  return slot;
}

void IocpReactor::give_back(AcceptSlot& slot) noexcept {
  for (AcceptSlot** link = &slot.listener->slots; *link != nullptr; link = &(*link)->next) {
    if (*link != &slot) continue;
    *link = slot.next;
    break;
  }
  slot.listener = nullptr;
  slot.op = nullptr;
  slot.next = free_slots_;
  free_slots_ = &slot;
}

// What the kernel still writes to is leaked: the slot and its event. But the wait ends in any case, since its callback
// uses the reactor and the port.
void IocpReactor::destroy_slot(AcceptSlot& slot) noexcept {
  if (slot.wait != nullptr) ::UnregisterWaitEx(slot.wait, INVALID_HANDLE_VALUE);  // a callback that runs is waited for
  if (slot.pending) {
    --slot.listener->slots_out;  // the kernel has nothing of the listener's
    return;
  }
  if (slot.event != nullptr) ::CloseHandle(slot.event);
  if (slot.peer != INVALID_SOCKET) ::closesocket(slot.peer);
  destroy(&slot);
}

void IocpReactor::accept(Socket& base, AcceptOp& op) noexcept {
  if (abandoned_) return;
  IocpSocket& socket = native(base);
  assert(socket.state == IocpSocket::State::open);
  start(op);
  op.peer = no_socket;
  op.address_size = 0;
  if (!socket.listener) {
    finish(op, result_from_os(WSAEINVAL));
    return;
  }
  AcceptSlot* slot = take_slot(socket);
  if (slot == nullptr) {
    finish(op, result_from_os(ERROR_NO_SYSTEM_RESOURCES));
    return;
  }
  slot->op = &op;
  post_accept(*slot);
}

void IocpReactor::post_accept(AcceptSlot& slot) noexcept {
  IocpSocket& listener = *slot.listener;
  std::int32_t error = 0;
  for (int dead = 0; dead < kMaxDeadAccepts; ++dead) {
    slot.peer = ::WSASocketW(listener.family, SOCK_STREAM, IPPROTO_TCP, nullptr, 0,
                             WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (slot.peer == INVALID_SOCKET) {
      error = ::WSAGetLastError();
      break;
    }
    slot.io = {};
    slot.io.hEvent = event_without_packet(slot.event);
    slot.pending = true;
    ++listener.slots_out;
    DWORD received = 0;
    // No bytes are waited for: a client that says nothing must not hold its place here, where no timer runs.
    if (winsock().accept_ex(listener.handle, slot.peer, slot.addresses.data(), 0, AcceptSlot::kAddressBytes,
                            AcceptSlot::kAddressBytes, &received, &slot.io) != 0) {
      return;  // the event tells, as for one that waits
    }
    error = ::WSAGetLastError();
    if (error == ERROR_IO_PENDING) return;
    slot.pending = false;
    --listener.slots_out;
    ::closesocket(std::exchange(slot.peer, INVALID_SOCKET));
    if (!is_dead_peer(error)) break;
  }
  end_accept(slot, result_from_os(error));
}

// Whether the kernel is done with it, told once. Packets do not say: one may be lost, and one may be late, when the
// slot was found without it and the kernel has it again. Nor does the event alone: were it that of a call that failed
// at once, the kernel would have the slot's next one.
bool IocpReactor::take_back(AcceptSlot& slot) noexcept {
  if (!slot.signalled.exchange(false, std::memory_order_acq_rel) || !slot.pending) return false;
  if (!HasOverlappedIoCompleted(&slot.io)) return false;
  slot.pending = false;
  --slot.listener->slots_out;
  return true;
}

void IocpReactor::on_accept_packet(AcceptSlot& slot) noexcept {
  if (!take_back(slot)) return;
  IocpSocket& listener = *slot.listener;
  const bool closing = listener.state != IocpSocket::State::open;
  std::int32_t error = outcome(listener.handle, slot.io);
  if (error == 0) {
    const SOCKET handle = listener.handle;
    u_long non_blocking = 1;
    // Only with its listener's context is it a socket like any other: getpeername(), shutdown() and inherited options.
    if (::setsockopt(slot.peer, SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, reinterpret_cast<const char*>(&handle),
                     sizeof handle) != 0 ||
        ::ioctlsocket(slot.peer, static_cast<long>(FIONBIO), &non_blocking) != 0) {
      error = ::WSAGetLastError();
      if (!is_dead_peer(error)) error = WSAECONNABORTED;  // WSAENOTCONN and friends: the client is gone
    }
  }
  if (error == 0) {
    set_nodelay(slot.peer);
    AcceptOp& op = *slot.op;
    sockaddr* local = nullptr;
    sockaddr* remote = nullptr;
    int local_size = 0;
    int remote_size = 0;
    winsock().accept_ex_addresses(slot.addresses.data(), 0, AcceptSlot::kAddressBytes, AcceptSlot::kAddressBytes,
                                  &local, &local_size, &remote, &remote_size);
    if (remote != nullptr && remote_size > 0) {
      op.address_size =
          std::min(static_cast<std::uint32_t>(remote_size), static_cast<std::uint32_t>(sizeof op.address));
      std::memcpy(op.address.data(), remote, op.address_size);
    }
    op.peer = std::exchange(slot.peer, INVALID_SOCKET);
    end_accept(slot, {});  // also while closing: it won the race
    if (closing) finish_close(listener);
    return;
  }
  ::closesocket(std::exchange(slot.peer, INVALID_SOCKET));
  if (closing) {
    end_accept(slot, {Errc::cancelled, 0, 0});
    finish_close(listener);
  } else if (is_dead_peer(error)) {
    post_accept(slot);  // the next one, please; one per packet, so it is bounded
  } else {
    end_accept(slot, result_from_os(error));
  }
}

void IocpReactor::end_accept(AcceptSlot& slot, Result result) noexcept {
  AcceptOp& op = *slot.op;
  give_back(slot);
  finish(op, result);
}

}  // namespace pyre::platform
