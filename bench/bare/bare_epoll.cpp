// The floor: an epoll loop that answers every request with a fixed 13-byte response and parses nothing. What it costs
// is the kernel's share plus one recv, one send and one epoll_wait, so the distance to it is what a server adds.
//
// It is right for pipelining and for requests cut anywhere: it counts the empty lines ("\r\n\r\n") with a four-state
// matcher that lives as long as the connection, and answers as many times. Requests with a body are out of scope.
//
// usage: bare_epoll PORT     (loopback only; ends by SIGTERM or SIGINT)
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kResponse =
    "HTTP/1.1 200 OK\r\nserver: bare\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nHello, world!";
constexpr std::size_t kReadBytes = 65536;  // holds a group of 16 pipelined wrk requests (~ 700 bytes) many times over
constexpr int kMaxEvents = 256;            // one epoll_wait takes all that 64 connections can have ready
constexpr std::size_t kMaxOwed = 65536;    // answers a connection may owe before it is no longer read (10 MB of text)
constexpr std::size_t kGroup = 1024;       // answers that one send() carries at most

volatile std::sig_atomic_t stopping = 0;

void stop(int) { stopping = 1; }

struct Connection {
  explicit Connection(int socket) : fd(socket) {}
  int fd;
  unsigned matched = 0;    // how much of "\r\n\r\n" the last bytes spelled
  std::size_t owed = 0;    // answers not yet completely sent
  std::size_t offset = 0;  // bytes of the first owed answer that are sent
  bool writable_wanted = false;
};

// Feeds bytes to the matcher and returns how many requests ended in them.
std::size_t count_ends(unsigned& matched, std::string_view bytes) {
  std::size_t ends = 0;
  for (const char byte : bytes) {
    if (byte == ((matched & 1U) == 0 ? '\r' : '\n')) {
      if (++matched == 4) {
        ++ends;
        matched = 0;
      }
    } else {
      matched = byte == '\r' ? 1 : 0;
    }
  }
  return ends;
}

class Server {
 public:
  explicit Server(uint16_t port) : buffer_(kReadBytes) {
    for (std::size_t i = 0; i < kGroup; ++i) answers_ += kResponse;
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener_, 4096) != 0) {
      std::perror("bare_epoll: bind or listen");
      std::exit(1);
    }
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;  // null stands for the listener
    ::epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event);
  }

  void run() {
    std::array<epoll_event, kMaxEvents> events;
    while (stopping == 0) {
      const int count = ::epoll_wait(epoll_, events.data(), kMaxEvents, -1);
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = events[static_cast<std::size_t>(i)];
        if (event.data.ptr == nullptr) {
          accept_all();
          continue;
        }
        auto* connection = static_cast<Connection*>(event.data.ptr);
        const bool alive = (event.events & EPOLLOUT) != 0 ? flush(*connection) : true;
        if (!alive || ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !read(*connection))) drop(connection);
      }
    }
  }

 private:
  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      const int one = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      auto connection = std::make_unique<Connection>(fd);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = connection.get();
      if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
        ::close(fd);
        continue;
      }
      static_cast<void>(connection.release());  // owned by the epoll registration until drop()
    }
  }

  // False when the connection is over. One recv per event: level-triggered, a rest is reported again.
  bool read(Connection& connection) {
    const ssize_t got = ::recv(connection.fd, buffer_.data(), buffer_.size(), 0);
    if (got == 0) return false;
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    connection.owed += count_ends(connection.matched, {buffer_.data(), static_cast<std::size_t>(got)});
    return flush(connection);
  }

  bool flush(Connection& connection) {
    while (connection.owed > 0) {
      const std::size_t now = connection.owed < kGroup ? connection.owed : kGroup;
      const std::size_t bytes = now * kResponse.size() - connection.offset;
      const ssize_t sent = ::send(connection.fd, answers_.data() + connection.offset, bytes, MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EINTR) continue;
        return errno == EAGAIN && want(connection, true);
      }
      const std::size_t total = connection.offset + static_cast<std::size_t>(sent);
      connection.owed -= total / kResponse.size();
      connection.offset = total % kResponse.size();
    }
    return want(connection, false);
  }

  bool want(Connection& connection, bool writable) {
    if (connection.writable_wanted == writable && connection.owed < kMaxOwed) return true;
    connection.writable_wanted = writable;
    epoll_event event{};
    event.events = (writable ? EPOLLOUT : 0U) | (connection.owed < kMaxOwed ? EPOLLIN : 0U);
    event.data.ptr = &connection;
    return ::epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event) == 0;
  }

  void drop(Connection* connection) {
    ::close(connection->fd);
    delete connection;
  }

  int listener_ = -1;
  int epoll_ = -1;
  std::vector<char> buffer_;
  std::string answers_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: bare_epoll PORT\n");
    return 2;
  }
  struct sigaction action {};
  action.sa_handler = stop;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  Server server(static_cast<uint16_t>(std::atoi(argv[1])));
  server.run();
  return 0;
}
