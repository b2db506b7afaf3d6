#include "support/sockets.h"

#ifdef _WIN32
#include <winsock2.h>
// Keep this order.
#include <windows.h>
#else
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#endif

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "platform/endpoint.h"
#include "platform/socket.h"

namespace pyre::test {
namespace {

#ifdef _WIN32
using Size = int;
using Count = int;
int last_error() { return ::WSAGetLastError(); }
bool is_would_block(int error) { return error == WSAEWOULDBLOCK; }
bool is_reset(int error) { return error == WSAECONNRESET || error == WSAECONNABORTED || error == WSAESHUTDOWN; }
constexpr int kNoSignal = 0;
#else
using Size = socklen_t;
using Count = std::size_t;
int last_error() { return errno; }
bool is_would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }
bool is_reset(int error) { return error == ECONNRESET || error == EPIPE; }
constexpr int kNoSignal = MSG_NOSIGNAL;
#endif

void require(bool done, const char* call) {
  if (done) return;
  std::fprintf(stderr, "%s: error %d\n", call, last_error());
  std::abort();
}

template <typename Value>
void set_option(NativeSocket socket, int level, int name, const Value& value) {
  static_cast<void>(::setsockopt(socket, level, name, reinterpret_cast<const char*>(&value), sizeof value));
}

Moved moved(std::ptrdiff_t count) {
  if (count > 0) return {Outcome::done, static_cast<std::size_t>(count)};
  if (count == 0) return {Outcome::end, 0};
  const int error = last_error();
  return {is_would_block(error) ? Outcome::would_block : is_reset(error) ? Outcome::reset : Outcome::failed, 0};
}

}  // namespace

bool has_unix_sockets() {
#ifdef _WIN32
  return false;
#else
  return true;
#endif
}

NativeSocket listen_on_loopback(int backlog) {
  platform::Endpoint address;
  if (!platform::Endpoint::parse("127.0.0.1:0", address)) std::abort();
  platform::ListenOptions options;
  options.backlog = backlog;
  auto listener = platform::open_listener(address, options);
  require(listener.has_value(), "open_listener");
  return listener.value();
}

NativeSocket listen_on_unix() {
#ifdef _WIN32
  require(false, "unix sockets");
  return platform::no_socket;
#else
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  require(listener >= 0, "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;  // and no path: an abstract name that the kernel picks
  require(::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(sa_family_t)) == 0, "bind");
  require(::listen(listener, 1024) == 0, "listen");
  return listener;
#endif
}

NativeSocket connect_to(NativeSocket listener) {
  sockaddr_storage address{};
  Size size = sizeof address;
  require(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
  const NativeSocket client = ::socket(address.ss_family, SOCK_STREAM, 0);
  require(client != platform::no_socket, "socket");
  require(::connect(client, reinterpret_cast<const sockaddr*>(&address), size) == 0, "connect");
  require(platform::set_nonblocking_cloexec(client).code == platform::Errc::ok, "set_nonblocking_cloexec");
  return client;
}

NativeSocket accept_from(NativeSocket listener) {
  require(wait_readable(listener, 30'000), "nobody connects");
  const NativeSocket peer = ::accept(listener, nullptr, nullptr);
  require(peer != platform::no_socket, "accept");
  require(platform::set_nonblocking_cloexec(peer).code == platform::Errc::ok, "set_nonblocking_cloexec");
  return peer;
}

SocketPair connected_pair() {
#ifdef _WIN32
  const NativeSocket listener = listen_on_loopback();
  const NativeSocket client = connect_to(listener);
  const NativeSocket server = accept_from(listener);
  close_it(listener);
  set_blocking(client, true);
  return {server, client};
#else
  int ends[2];
  require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  require(platform::set_nonblocking_cloexec(ends[0]).code == platform::Errc::ok, "set_nonblocking_cloexec");
  return {ends[0], ends[1]};
#endif
}

void set_blocking(NativeSocket socket, bool blocking) {
#ifdef _WIN32
  u_long on = blocking ? 0 : 1;
  require(::ioctlsocket(socket, static_cast<long>(FIONBIO), &on) == 0, "ioctlsocket");
#else
  const int flags = ::fcntl(socket, F_GETFL);
  require(::fcntl(socket, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK) == 0, "fcntl");
#endif
}

void close_it(NativeSocket socket) { platform::close_socket(socket); }

void reset_it(NativeSocket socket) { set_option(socket, SOL_SOCKET, SO_LINGER, linger{1, 0}); }

void finish_writing(NativeSocket socket) {
#ifdef _WIN32
  ::shutdown(socket, SD_SEND);
#else
  ::shutdown(socket, SHUT_WR);
#endif
}

std::uint16_t local_port(NativeSocket socket) { return platform::Endpoint::local_of(socket).port; }

Moved write_some(NativeSocket socket, std::string_view bytes) {
  return moved(::send(socket, bytes.data(), static_cast<Count>(bytes.size()), kNoSignal));
}

Moved read_some(NativeSocket socket, char* into, std::size_t size) {
  return moved(::recv(socket, into, static_cast<Count>(size), 0));
}

bool was_reset(NativeSocket socket) {
#ifdef _WIN32
  return ::send(socket, "", 0, 0) != 0 && is_reset(last_error());
#else
  static_cast<void>(socket);
  return false;
#endif
}

bool write_all(NativeSocket socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const Moved moved = write_some(socket, bytes.substr(0, 100'000));
    if (moved.outcome != Outcome::done) return false;
    bytes.remove_prefix(moved.bytes);
  }
  return true;
}

std::string read_all(NativeSocket socket) {
  std::string all;
  std::string buffer(65536, '\0');
  for (;;) {
    const Moved moved = read_some(socket, buffer.data(), buffer.size());
    if (moved.outcome != Outcome::done) return all;
    all.append(buffer, 0, moved.bytes);
  }
}

bool wait_readable(NativeSocket socket, int timeout_ms) {
#ifdef _WIN32
  WSAPOLLFD entry{};
  entry.fd = socket;
  entry.events = POLLRDNORM;
  return ::WSAPoll(&entry, 1, timeout_ms) == 1;
#else
  pollfd entry{socket, POLLIN, 0};
  return ::poll(&entry, 1, timeout_ms) == 1;
#endif
}

}  // namespace pyre::test
