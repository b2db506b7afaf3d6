// An event loop of Windows can wait for its own completions only, so there is one kind: a pair of connected sockets.
#include "platform/windows/winsock.h"
// Keep this order.
#include <new>
#include <utility>

#include "platform/error.h"
#include "platform/socket.h"
#include "platform/wakeup.h"

namespace pyre::platform {
namespace {

// Others who connect to the port of the pair before its own far end does are turned away, this many.
constexpr int kMaxStrangers = 16;

class OwnedSocket {
 public:
  explicit OwnedSocket(SOCKET socket) noexcept : socket_(socket) {}
  ~OwnedSocket() {
    if (socket_ != INVALID_SOCKET) ::closesocket(socket_);
  }
  OwnedSocket(const OwnedSocket&) = delete;
  OwnedSocket& operator=(const OwnedSocket&) = delete;
  [[nodiscard]] SOCKET get() const noexcept { return socket_; }
  [[nodiscard]] SOCKET release() noexcept { return std::exchange(socket_, INVALID_SOCKET); }

 private:
  SOCKET socket_;
};

class PairWakeup final : public Wakeup {
 public:
  PairWakeup(SOCKET near_end, SOCKET far_end) noexcept : near_(near_end), far_(far_end) {}
  void wake() noexcept override { static_cast<void>(::send(near_.get(), "", 1, 0)); }
  void clear() noexcept override {}
  [[nodiscard]] NativeSocket handle() const noexcept override { return far_.get(); }
  [[nodiscard]] NativeSocket take_handle() noexcept override { return far_.release(); }

 private:
  OwnedSocket near_;
  OwnedSocket far_;
};

Error last_error() noexcept { return error_from_os(::WSAGetLastError()); }

SOCKET new_socket() noexcept {
  return ::WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, nullptr, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

sockaddr_in loopback() noexcept {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  return address;
}

bool same(const sockaddr_in& one, const sockaddr_in& other) noexcept {
  return one.sin_port == other.sin_port && one.sin_addr.s_addr == other.sin_addr.s_addr;
}

}  // namespace

Expected<std::unique_ptr<Wakeup>> Wakeup::make(Kind kind) noexcept {
  if (kind != Kind::socket_pair) return Error{Errc::unsupported, 0};
  if (winsock().error != 0) return error_from_os(winsock().error);
  OwnedSocket listener(new_socket());
  OwnedSocket far_end(new_socket());
  if (listener.get() == INVALID_SOCKET || far_end.get() == INVALID_SOCKET) return last_error();

  const BOOL on = TRUE;
  sockaddr_in address = loopback();
  sockaddr_in far_address = loopback();
  const auto as_address = [](sockaddr_in& of) { return reinterpret_cast<sockaddr*>(&of); };
  int size = sizeof address;
  int far_size = sizeof far_address;
  if (::setsockopt(listener.get(), SOL_SOCKET, SO_EXCLUSIVEADDRUSE, reinterpret_cast<const char*>(&on), sizeof on) !=
          0 ||
      ::bind(listener.get(), as_address(address), sizeof address) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), as_address(address), &size) != 0 ||
      ::connect(far_end.get(), as_address(address), sizeof address) != 0 ||
      ::getsockname(far_end.get(), as_address(far_address), &far_size) != 0)
    return last_error();

  // Any process of the machine can connect to that port: who it is that came has to be asked.
  for (int strangers = 0; strangers < kMaxStrangers; ++strangers) {
    sockaddr_in peer{};
    int peer_size = sizeof peer;
    OwnedSocket near_end(::accept(listener.get(), as_address(peer), &peer_size));
    if (near_end.get() == INVALID_SOCKET) return last_error();
    if (!same(peer, far_address)) continue;
    if (const Error error = set_nonblocking_cloexec(near_end.get()); error.code != Errc::ok) return error;
    if (const Error error = set_nonblocking_cloexec(far_end.get()); error.code != Errc::ok) return error;
    set_nodelay(near_end.get());
    std::unique_ptr<Wakeup> made(new (std::nothrow) PairWakeup(near_end.get(), far_end.get()));
    if (made == nullptr) return error_from_os(ERROR_NOT_ENOUGH_MEMORY);
    static_cast<void>(near_end.release());
    static_cast<void>(far_end.release());
    return made;
  }
  return Error{Errc::exhausted, 0};
}

}  // namespace pyre::platform
