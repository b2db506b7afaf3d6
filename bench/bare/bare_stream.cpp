// The floor of the stream scenario: answers "GET /stream" with 800 chunks of 64 KiB, four in each sendmsg(), from a
// thread for each connection that does nothing else. What it costs is the kernel's copy and its TCP, so the distance to
// it is what a server adds. Anything else is answered with an empty 200.
//
// usage: bare_stream PORT     (loopback only; ends by SIGTERM)
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

namespace {

constexpr int kChunks = 800;
constexpr int kPerSend = 4;
const std::string chunk(65536, 'x');

bool send_all(int fd, std::string_view text) {
  return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

bool stream(int fd) {
  if (!send_all(fd, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")) return false;
  std::array<iovec, 3 * kPerSend> pieces;
  std::size_t size = 0;
  for (std::size_t i = 0; i < pieces.size(); i += 3) {
    pieces[i] = {const_cast<char*>("10000\r\n"), 7};
    pieces[i + 1] = {const_cast<char*>(chunk.data()), chunk.size()};
    pieces[i + 2] = {const_cast<char*>("\r\n"), 2};
    size += 7 + chunk.size() + 2;
  }
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  // A blocking socket takes all of it, or the connection is over.
  for (int i = 0; i < kChunks / kPerSend; ++i)
    if (::sendmsg(fd, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(size)) return false;
  return send_all(fd, "0\r\n\r\n");
}

void serve(int fd) {
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);  // a request of the bench comes in one piece
    if (got <= 0) break;
    const std::string_view request(buffer.data(), static_cast<std::size_t>(got));
    const bool alive =
        request.starts_with("GET /stream ") ? stream(fd) : send_all(fd, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    if (!alive) break;
  }
  ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: bare_stream PORT\n");
    return 2;
  }
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int one = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(argv[1])));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener, 64) != 0) {
    std::perror("bare_stream: bind or listen");
    return 1;
  }
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) std::thread(serve, fd).detach();
  }
}
