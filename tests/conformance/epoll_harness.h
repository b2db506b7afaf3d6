// Real sockets for the conformance suite: loopback TCP, or unix.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "conformance/reactor_suite.h"
#include "platform/socket.h"

namespace pyre::platform::test {

// Answers a failed call of the test's own with its name and errno.
inline int must(int result, const char* call) {
  if (result < 0) {
    std::perror(call);
    std::abort();
  }
  return result;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline Address address_of(int socket) {
  Address address;
  address.size = sizeof address.storage;
  must(::getsockname(socket, reinterpret_cast<sockaddr*>(&address.storage), &address.size), "getsockname");
  return address;
}

inline int make_listener(bool unix_socket, int flags = SOCK_NONBLOCK | SOCK_CLOEXEC) {
  const int listener = must(::socket(unix_socket ? AF_UNIX : AF_INET, SOCK_STREAM | flags, 0), "socket");
  Address address;
  if (unix_socket) {
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    address.size = offsetof(sockaddr_un, sun_path);  // autobind: an abstract name that the kernel picks
    std::memcpy(&address.storage, &un, sizeof un);
    address.size = sizeof(sa_family_t);
  } else {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    std::memcpy(&address.storage, &in, sizeof in);
    address.size = sizeof in;
  }
  must(::bind(listener, address.get(), address.size), "bind");
  must(::listen(listener, 1024), "listen");
  return listener;
}

inline int connect_to(int listener) {
  const Address address = address_of(listener);
  const int client = must(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  must(::connect(client, address.get(), address.size), "connect");
  must(::fcntl(client, F_SETFL, O_NONBLOCK), "fcntl");
  return client;
}

class SocketClient;
using ClientList = std::vector<SocketClient*>;

class SocketClient final : public Client {
 public:
  SocketClient(int fd, std::shared_ptr<ClientList> all) : fd_(fd), all_(std::move(all)) { all_->push_back(this); }
  ~SocketClient() override {
    std::erase(*all_, this);
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int fd() const { return fd_; }
  void write(std::string_view bytes) override {
    to_write_ += bytes;
    pump();
  }
  void finish() override {
    finish_ = true;
    pump();
  }
  void reset() override {
    pump();
    const linger value{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &value, sizeof value);
    ::close(fd_);
    fd_ = -1;
  }
  void stop_reading() override { reading_ = false; }
  void resume_reading() override { reading_ = true; }
  const std::string& received() override {
    pump();
    return received_;
  }
  bool saw_end() override {
    pump();
    return saw_end_;
  }
  bool saw_reset() override {
    pump();
    return saw_reset_;
  }
  void pump() {
    if (fd_ < 0) return;
    while (!to_write_.empty()) {
      const ssize_t sent = ::send(fd_, to_write_.data(), to_write_.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      to_write_.erase(0, static_cast<std::size_t>(sent));
    }
    if (finish_ && to_write_.empty()) {
      ::shutdown(fd_, SHUT_WR);
      finish_ = false;
    }
    char buffer[65536];
    while (reading_ && !saw_end_ && !saw_reset_) {
      const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
      if (count > 0) {
        received_.append(buffer, static_cast<std::size_t>(count));
      } else if (count == 0) {
        saw_end_ = true;
      } else {
        if (errno == EAGAIN) break;
        saw_reset_ = true;
      }
    }
  }

 private:
  int fd_;
  std::shared_ptr<ClientList> all_;
  std::string to_write_;
  std::string received_;
  bool finish_ = false;
  bool reading_ = true;
  bool saw_end_ = false;
  bool saw_reset_ = false;
};

class EpollHarness final : public Harness {
 public:
  explicit EpollHarness(bool unix_socket, const ReactorOptions& options = {}) : unix_(unix_socket) {
    auto made = make_reactor(buffers, options);
    if (!made) std::abort();
    reactor_ = std::move(made.value());
  }
  ~EpollHarness() override {
    reactor_.reset();
    for (const int listener : listeners_) {
      if (is_listening(listener)) ::close(listener);
    }
  }
  Reactor& reactor() override { return *reactor_; }
  std::unique_ptr<Client> pair(NativeSocket& server_end) override {
    const int listener = make_listener(unix_);
    const int client = connect_to(listener);
    server_end = must(::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4");
    ::close(listener);
    return std::make_unique<SocketClient>(client, clients_);
  }
  NativeSocket listen() override { return make_listener(unix_); }
  std::unique_ptr<Client> connect(NativeSocket listener) override {
    return std::make_unique<SocketClient>(connect_to(listener), clients_);
  }
  void pump() override {
    for (SocketClient* client : *clients_) client->pump();
  }
  [[nodiscard]] bool real() const override { return true; }
  [[nodiscard]] bool has_reset() const override { return !unix_; }
  [[nodiscard]] bool steady() const override { return true; }
  void destroy_reactor() { reactor_.reset(); }

 private:
  bool unix_;
  std::vector<int> listeners_;
  std::shared_ptr<ClientList> clients_ = std::make_shared<ClientList>();
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace pyre::platform::test
