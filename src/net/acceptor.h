// Acceptor: one listening socket on one loop. Accepts at most 16 a tick, pauses for 100 ms when descriptors run short (EMFILE; a spare
// descriptor is kept so that one waiting client can be accepted and refused rather than spun on), and can be paused from above.
#pragma once

#include "net/loop.h"
#include "platform/endpoint.h"

namespace pyre::net {

class Acceptor {
 public:
  // Takes over an unattached, connected, non-blocking socket. Must not fail: on trouble it closes the socket.
  class Sink {
   public:
    virtual void on_accept(platform::NativeSocket socket, const platform::Endpoint& peer) noexcept = 0;
    virtual void on_acceptor_closed() noexcept = 0;

   protected:
    ~Sink() = default;
  };

  Acceptor(Loop& loop, Sink& sink) noexcept;
  ~Acceptor();
  // `listener` is a bound and listening socket that the caller keeps open (it is dup()ed where the system needs its own
  // handle).
  [[nodiscard]] platform::Error open(platform::NativeSocket listener) noexcept;  // code ok on success
  void set_paused(bool paused) noexcept;
  void close() noexcept;  // then on_acceptor_closed

 private:
  // the implementer's
};

}  // namespace pyre::net
