#include "http/server.h"

#include <algorithm>
#include <cassert>

#include "http/connection.h"
#include "http/server_core.h"
#include "platform/socket.h"

namespace pyre::http {
struct Server::Impl {
  // One listening socket.
  class Listener final : public net::Acceptor::Sink {
   public:
    Listener(ServerCore& of_core, Impl& server, std::uint32_t index) noexcept
        : acceptor_(of_core.loop, *this), core_(of_core), server_(server), index_(index) {}
    [[nodiscard]] platform::Error start(platform::NativeSocket socket) noexcept {
      const platform::Error error = acceptor_.open(socket);
      open_ = error.code == platform::Errc::ok;
      return error;
    }
    void pause(bool on) noexcept { acceptor_.set_paused(on); }
    void close() noexcept {
      closing_ = true;
      acceptor_.close();
    }
    [[nodiscard]] bool is_closing() const noexcept { return open_ && closing_; }
    [[nodiscard]] bool is_open() const noexcept { return open_; }
    [[nodiscard]] std::uint64_t shortages() const noexcept { return acceptor_.shortages(); }

   private:
    void on_accept(platform::NativeSocket socket, const platform::Endpoint& peer) noexcept override;
    void on_acceptor_closed() noexcept override { open_ = false; }

    net::Acceptor acceptor_;
    ServerCore& core_;
    Impl& server_;
    std::uint32_t index_;
    bool open_ = false;
    bool closing_ = false;
  };

  Impl(net::Loop& loop, RequestHandler& handler, ServerOptions options)
      : core(new ServerCore(loop, handler, std::move(options))) {
    core->on_removed = [](void* context) noexcept { static_cast<Impl*>(context)->check_limit(); };
    core->removed_context = this;
  }
  ~Impl() {
    core->on_removed = nullptr;
    core->orphan();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // Over the limit of connections the listeners pause: the kernel's backlog holds the next clients.
  void check_limit() noexcept {
    const bool full = core->stats.connections_open >= core->options.limits.connections;
    if (full == paused) return;
    paused = full;
    if (full) ++pauses;
    for (const auto& listener : listeners) listener->pause(full);
  }

  ServerCore* core;
  std::vector<std::unique_ptr<Listener>> listeners;
  ServerStats stats;  // as last asked for
  std::uint64_t pauses = 0;
  bool paused = false;
};

void Server::Impl::Listener::on_accept(platform::NativeSocket socket, const platform::Endpoint& peer) noexcept {
  if (core_.aborted) return platform::close_socket(socket);
  Connection::accept(core_, socket, peer, index_);
  server_.check_limit();
}

Server::Server(net::Loop& loop, RequestHandler& handler, ServerOptions options) noexcept
    : impl_(std::make_unique<Impl>(loop, handler, std::move(options))) {}

Server::~Server() { assert(closed()); }

platform::Error Server::listen(platform::NativeSocket listener, bool unix_socket) noexcept {
  static_cast<void>(unix_socket);  // the peer's address says it
  const auto index = static_cast<std::uint32_t>(impl_->listeners.size());
  auto made = std::make_unique<Impl::Listener>(*impl_->core, *impl_, index);
  const platform::Error error = made->start(listener);
  if (error.code != platform::Errc::ok) return error;
  if (impl_->paused) made->pause(true);
  impl_->listeners.push_back(std::move(made));
  return error;
}

void Server::stop_listening() noexcept {
  for (const auto& listener : impl_->listeners)
    if (listener->is_open() && !listener->is_closing()) listener->close();
}

void Server::drain() noexcept {
  impl_->core->draining = true;
  for (Connection* connection = impl_->core->first(); connection != nullptr;) {
    Connection* next = ServerCore::next_of(*connection);
    connection->drain();
    connection = next;
  }
}

void Server::abort() noexcept {
  impl_->core->draining = impl_->core->aborted = true;
  for (Connection* connection = impl_->core->first(); connection != nullptr;) {
    Connection* next = ServerCore::next_of(*connection);
    connection->abort();
    connection = next;
  }
}

std::uint64_t Server::unfinished() const noexcept {
  const auto closing = std::count_if(impl_->listeners.begin(), impl_->listeners.end(),
                                     [](const auto& listener) { return listener->is_closing(); });
  return impl_->core->stats.connections_open + static_cast<std::uint64_t>(closing);
}

bool Server::closed() const noexcept {
  const bool listening = std::any_of(impl_->listeners.begin(), impl_->listeners.end(),
                                     [](const auto& listener) { return listener->is_open(); });
  return !listening && impl_->core->stats.connections_open == 0;
}

bool Server::draining() const noexcept { return impl_->core->draining; }

const ServerStats& Server::stats() const noexcept {
  impl_->stats = impl_->core->stats;
  impl_->stats.accepts_paused = impl_->pauses;
  for (const auto& listener : impl_->listeners) impl_->stats.accepts_paused += listener->shortages();
  return impl_->stats;
}

const ServerOptions& Server::options() const noexcept { return impl_->core->options; }

}  // namespace pyre::http
