// Lane: the way of whole requests that have not been started from one loop of a LoopGroup to another. The connection
// stays with its loop, and so do its time-outs; what runs elsewhere is the application, which has a mirror of the
// exchange, as it has of one of an I/O thread's (http::RemotePort): scope and state are those of the loop that runs it.
//
// One for each pair of loops that needed it; made by the giver, owned by the group once the giver has gone.
#pragma once

#include "http/exchange.h"
#include "http/remote_port.h"
#include "net/loop.h"

namespace pyre::asgi {

class Lane final : private http::RemotePort::Application {
 public:
  // What takes requests, on its loop's thread, with or without its thread state attached.
  class Taker {
   public:
    virtual void on_taken(http::AppExchange& exchange) noexcept = 0;
    virtual void on_taken_change(http::AppExchange& exchange) noexcept = 0;
    virtual void on_lane_commands(Lane& lane) noexcept = 0;  // flush() it soon: once before each

   protected:
    ~Taker() = default;
  };

  // `taker`: where the taking loop's thread finds it; null once it is closed.
  Lane(net::Loop& from, net::Mailbox& to, Taker* const& taker, const http::Limits& limits) noexcept;

  // ---- the giver's thread: its server's events, for exchanges that went this way
  [[nodiscard]] http::RemotePort& port() noexcept { return port_; }

  // ---- the taker's thread
  void flush() noexcept { port_.flush(); }
  Lane* next_waiting = nullptr;  // the taker's list

 private:
  void on_request(http::AppExchange& exchange) noexcept override;
  void on_change(http::AppExchange& exchange) noexcept override;
  void on_object(void*) noexcept override {}  // the giver's thread can drop its own
  void on_commands() noexcept override;

  Taker* const& taker_;
  http::RemotePort port_;
};

}  // namespace pyre::asgi
