// Acceptor: one listening socket on one loop. Accepts at most 16 a tick, pauses for 100 ms when descriptors run short
// (EMFILE; a spare descriptor is kept so that one waiting client can be accepted and refused rather than spun on), and
// can be paused from above.
#pragma once

#include <array>
#include <cstdint>

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
  ~Acceptor();  // closed, or never opened
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;
  // `listener` is a bound and listening socket that the caller keeps open (it is dup()ed where the system needs its own
  // handle).
  [[nodiscard]] platform::Error open(platform::NativeSocket listener) noexcept;  // code ok on success
  // While paused nothing is accepted, and on_accept is not called: what was accepted before that waits.
  void set_paused(bool paused) noexcept;
  // Then on_acceptor_closed, after an on_accept for each client that was accepted already (unless paused). Nothing
  // happens if it was not opened.
  void close() noexcept;
  [[nodiscard]] std::uint64_t shortages() const noexcept { return shortages_; }  // times descriptors ran short
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_; }      // clients turned away by that

 private:
  // Four accepts posted: on Windows that many clients connect between two ticks without waiting for us; on epoll one
  // would do, and the others cost nothing.
  static constexpr std::size_t kPosted = 4;
  static constexpr std::uint32_t kMaxAcceptsPerTick = 16;  // then the connections that exist have their turn
  static constexpr std::chrono::milliseconds kShortagePause{100};

  struct Slot : platform::AcceptOp {
    Acceptor* self = nullptr;
    bool held = false;  // `peer` waits for the end of a pause
  };
  struct Closed : platform::Op {
    Acceptor* self = nullptr;
  };
  struct Work : Deferred {
    explicit Work(Acceptor& a) noexcept;
    Acceptor& self;
  };
  struct Pause : Timer {
    explicit Pause(Acceptor& a) noexcept;
    Acceptor& self;
  };
  enum class State : std::uint8_t { fresh, open, closing, closed };

  void on_done(Slot& slot, platform::Result result) noexcept;
  void hand_over(Slot& slot) noexcept;
  void keep_or_drop(Slot& slot) noexcept;  // while closing
  void refill() noexcept;                  // hands over what was held, and posts what is idle
  [[nodiscard]] bool may_accept() noexcept;
  void take_spare() noexcept;

  Loop& loop_;
  Sink& sink_;
  platform::NativeSocket listener_ = platform::no_socket;  // the caller's
  platform::NativeSocket spare_ = platform::no_socket;     // one more handle of it, given up when descriptors run short
  platform::Socket* socket_ = nullptr;
  State state_ = State::fresh;
  bool paused_ = false;
  bool short_ = false;
  bool refusing_ = false;       // the spare was given up: whoever is accepted next is sent away
  std::uint32_t accepted_ = 0;  // in the tick `tick_`
  std::uint64_t tick_ = 0;
  std::uint64_t shortages_ = 0;
  std::uint64_t refused_ = 0;
  Closed closed_;
  Work work_{*this};
  Pause pause_{*this};
  std::array<Slot, kPosted> slots_;
};

}  // namespace pyre::net
