// Real sockets for the conformance suite: loopback TCP, or unix, under the system's own reactor.
#pragma once

#include <utility>

#include "conformance/reactor_suite.h"
#include "platform/socket.h"
#include "support/sockets.h"

namespace pyre::platform::test {

class SocketClient;
using ClientList = std::vector<SocketClient*>;

class SocketClient final : public Client {
 public:
  SocketClient(NativeSocket socket, std::shared_ptr<ClientList> all) : socket_(socket), all_(std::move(all)) {
    all_->push_back(this);
  }
  ~SocketClient() override {
    std::erase(*all_, this);
    if (socket_ != no_socket) close_socket(socket_);
  }
  [[nodiscard]] NativeSocket native() const { return socket_; }
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
    pyre::test::reset_it(socket_);
    close_socket(std::exchange(socket_, no_socket));
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
    using pyre::test::Moved;
    using pyre::test::Outcome;
    if (socket_ == no_socket) return;
    while (!to_write_.empty()) {
      const Moved sent = pyre::test::write_some(socket_, to_write_);
      if (sent.outcome != Outcome::done) break;
      to_write_.erase(0, sent.bytes);
    }
    if (finish_ && to_write_.empty()) {
      pyre::test::finish_writing(socket_);
      finish_ = false;
      finished_ = true;
    }
    char buffer[65536];
    while (reading_ && !saw_end_ && !saw_reset_) {
      const Moved got = pyre::test::read_some(socket_, buffer, sizeof buffer);
      if (got.outcome == Outcome::would_block) break;
      if (got.outcome == Outcome::done) {
        received_.append(buffer, got.bytes);
      } else if (got.outcome == Outcome::end) {
        saw_reset_ = !finished_ && pyre::test::was_reset(socket_);
        saw_end_ = !saw_reset_;
      } else {
        saw_reset_ = true;
      }
    }
  }

 private:
  NativeSocket socket_;
  std::shared_ptr<ClientList> all_;
  std::string to_write_;
  std::string received_;
  bool finish_ = false;
  bool finished_ = false;
  bool reading_ = true;
  bool saw_end_ = false;
  bool saw_reset_ = false;
};

class NativeHarness final : public Harness {
 public:
  explicit NativeHarness(bool unix_socket, const ReactorOptions& options = {}) : unix_(unix_socket) {
    auto made = make_reactor(buffers, options);
    if (!made) std::abort();
    reactor_ = std::move(made.value());
  }
  Reactor& reactor() override { return *reactor_; }
  std::unique_ptr<Client> pair(NativeSocket& server_end) override {
    const NativeSocket listener = listen();
    const NativeSocket client = pyre::test::connect_to(listener);
    server_end = pyre::test::accept_from(listener);
    close_socket(listener);
    return std::make_unique<SocketClient>(client, clients_);
  }
  NativeSocket listen() override { return unix_ ? pyre::test::listen_on_unix() : pyre::test::listen_on_loopback(); }
  std::unique_ptr<Client> connect(NativeSocket listener) override {
    return std::make_unique<SocketClient>(pyre::test::connect_to(listener), clients_);
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
  std::shared_ptr<ClientList> clients_ = std::make_shared<ClientList>();
  std::unique_ptr<Reactor> reactor_;
};

}  // namespace pyre::platform::test
