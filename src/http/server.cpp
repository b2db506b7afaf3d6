#include "http/server.h"

#include <algorithm>
#include <cassert>

#include "http/connection.h"
#include "http/placement.h"
#include "http/server_core.h"
#include "platform/memory.h"
#include "platform/socket.h"

namespace pyre::http {
struct Server::Impl : Placement::Member {
  // One listening socket.
  class Listener final : public net::Acceptor::Sink {
   public:
    Listener(ServerCore& of_core, Impl& server, std::uint32_t index, bool keep) noexcept
        : acceptor_(of_core.loop, *this), server_(server), index_(index), keep_(keep) {}
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
    Impl& server_;
    std::uint32_t index_;
    bool keep_;
    bool open_ = false;
    bool closing_ = false;
  };

  // A socket on its way to the loop that serves it.
  struct HandOver : net::Letter {
    HandOver(Impl& to, platform::NativeSocket s, const platform::Endpoint& p, std::uint32_t index) noexcept
        : Letter([](Letter& letter) noexcept {
            auto& self = static_cast<HandOver&>(letter);
            self.server.serve(self.socket, self.peer, self.listener);
            platform::destroy(&self);
          }),
          server(to),
          socket(s),
          peer(p),
          listener(index) {}
    Impl& server;
    platform::NativeSocket socket;
    platform::Endpoint peer;
    std::uint32_t listener;
  };
  // A connection has left some loop, after the limit was reached.
  struct Room : Placement::Room {
    explicit Room(Impl& s) noexcept
        : Placement::Room([](Letter& letter) noexcept {
            auto& self = static_cast<Room&>(letter);
            self.delivered();
            self.server.check_limit();
          }),
          server(s) {}
    Impl& server;
  };

  Impl(net::Loop& loop, RequestHandler& handler, ServerOptions options)
      : core(new ServerCore(loop, handler, std::move(options))), placement(core->options.placement) {
    core->on_removed = [](void* context) noexcept { static_cast<Impl*>(context)->removed(); };
    core->removed_context = this;
    if (placement != nullptr) placement->join(core->options.loop_index, *this);
  }
  ~Impl() {
    core->on_removed = nullptr;
    core->orphan();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  // A socket that one of our listeners accepted: for this loop, or for another.
  void place(platform::NativeSocket socket, const platform::Endpoint& peer, std::uint32_t listener,
             bool keep) noexcept {
    if (placement == nullptr) return serve(socket, peer, listener);
    const std::uint32_t own = core->options.loop_index;
    const std::uint32_t chosen = keep ? own : placement->choose();
    if (chosen != own) {
      Impl& other = static_cast<Impl&>(placement->member(chosen));
      if (auto* letter = platform::create<HandOver>(other, socket, peer, listener); letter != nullptr) {
        placement->came(chosen);
        return other.core->loop.mailbox().post(*letter);
      }
    }
    placement->came(own);
    serve(socket, peer, listener);
  }
  void serve(platform::NativeSocket socket, const platform::Endpoint& peer, std::uint32_t listener) noexcept {
    if (core->aborted) {
      platform::close_socket(socket);
    } else if (Connection::accept(*core, socket, peer, listener)) {
      return;
    }
    if (placement == nullptr) return;
    ++core->stats.connections_total;  // it was counted: whoever waits for the last one has to look again
    placement->left(core->options.loop_index);
  }
  void removed() noexcept {
    if (placement != nullptr) return placement->left(core->options.loop_index);  // may post `room`, also to ourselves
    check_limit();
  }
  [[nodiscard]] std::uint64_t here() const noexcept {
    return placement != nullptr ? placement->count(core->options.loop_index) : core->stats.connections_open;
  }

  // Over the limit of connections the listeners pause: the kernel's backlog holds the next clients.
  void check_limit() noexcept {
    const bool full =
        placement != nullptr ? placement->is_full() : core->stats.connections_open >= core->options.limits.connections;
    if (full == paused) return;
    paused = full;
    if (full) ++pauses;
    for (const auto& listener : listeners) listener->pause(full);
  }

  ServerCore* core;
  Placement* placement;
  Room room{*this};
  std::vector<std::unique_ptr<Listener>> listeners;
  ServerStats stats;  // as last asked for
  std::uint64_t pauses = 0;
  bool paused = false;
};

void Server::Impl::Listener::on_accept(platform::NativeSocket socket, const platform::Endpoint& peer) noexcept {
  server_.place(socket, peer, index_, keep_);
  server_.check_limit();
}

Server::Server(net::Loop& loop, RequestHandler& handler, ServerOptions options) noexcept
    : impl_(std::make_unique<Impl>(loop, handler, std::move(options))) {}

Server::~Server() { assert(closed()); }

platform::Error Server::listen(platform::NativeSocket listener, bool unix_socket, bool keep) noexcept {
  static_cast<void>(unix_socket);  // the peer's address says it
  const auto index = static_cast<std::uint32_t>(impl_->listeners.size());
  auto made = std::make_unique<Impl::Listener>(*impl_->core, *impl_, index, keep);
  const platform::Error error = made->start(listener);
  if (error.code != platform::Errc::ok) return error;
  if (impl_->placement != nullptr)
    impl_->placement->listens(impl_->core->options.loop_index, impl_->core->loop.mailbox(), &impl_->room);
  if (impl_->paused) made->pause(true);
  impl_->listeners.push_back(std::move(made));
  impl_->check_limit();  // nobody has told us while we did not listen
  return error;
}

void Server::stop_listening() noexcept {
  if (impl_->placement != nullptr)
    impl_->placement->listens(impl_->core->options.loop_index, impl_->core->loop.mailbox(), nullptr);
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
  return impl_->here() + static_cast<std::uint64_t>(closing);
}

bool Server::listening() const noexcept {
  return std::any_of(impl_->listeners.begin(), impl_->listeners.end(),
                     [](const auto& listener) { return listener->is_open(); });
}

bool Server::closed() const noexcept {
  return !listening() && impl_->core->stats.connections_open == 0 && impl_->here() == 0;
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
