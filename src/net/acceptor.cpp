#include "net/acceptor.h"

#include <cassert>
#include <utility>

#include "platform/socket.h"

namespace pyre::net {

using platform::Errc;
using platform::Error;
using platform::no_socket;
using platform::Result;

Acceptor::Work::Work(Acceptor& a) noexcept
    : Deferred([](Deferred& work) noexcept { static_cast<Work&>(work).self.refill(); }), self(a) {}

Acceptor::Pause::Pause(Acceptor& a) noexcept
    : Timer([](Timer& timer) noexcept {
        Acceptor& acceptor = static_cast<Pause&>(timer).self;
        acceptor.short_ = false;
        acceptor.refusing_ = false;  // what is still in flight for it is an accept like the others from now on
        acceptor.take_spare();
        acceptor.refill();
      }),
      self(a) {}

Acceptor::Acceptor(Loop& loop, Sink& sink) noexcept : loop_(loop), sink_(sink) {
  for (Slot& slot : slots_) {
    slot.self = this;
    slot.done = [](platform::Op& op, Result result) noexcept {
      auto& done = static_cast<Slot&>(op);
      done.self->on_done(done, result);
    };
  }
  closed_.self = this;
  closed_.done = [](platform::Op& op, Result) noexcept {
    Acceptor& acceptor = *static_cast<Closed&>(op).self;
    acceptor.state_ = State::closed;
    acceptor.sink_.on_acceptor_closed();  // it may be gone now
  };
}

Acceptor::~Acceptor() { assert(state_ == State::fresh || state_ == State::closed); }

Error Acceptor::open(platform::NativeSocket listener) noexcept {
  assert(state_ == State::fresh);
  // The reactor closes what it was given, and the caller keeps its listener: for the next loop, or for the process that
  // takes over.
  platform::Expected<platform::NativeSocket> own = platform::duplicate_socket(listener);
  if (!own) return own.error();
  platform::Expected<platform::Socket*> attached = loop_.reactor().attach(*own);
  if (!attached) {
    platform::close_socket(*own);
    return attached.error();
  }
  socket_ = *attached;
  listener_ = listener;
  state_ = State::open;
  take_spare();
  refill();
  return {Errc::ok, 0};
}

void Acceptor::set_paused(bool paused) noexcept {
  if (paused_ == paused) return;
  paused_ = paused;
  if (!paused && state_ == State::open) loop_.defer(work_);  // not from in here: it may call on_accept
}

void Acceptor::close() noexcept {
  if (state_ != State::open) return;
  state_ = State::closing;
  loop_.cancel(work_);
  loop_.timers().clear(pause_);
  for (Slot& slot : slots_) {
    if (!slot.held) continue;
    slot.held = false;
    keep_or_drop(slot);
  }
  if (spare_ != no_socket) platform::close_socket(std::exchange(spare_, no_socket));
  loop_.reactor().close(*socket_, closed_);
}

void Acceptor::take_spare() noexcept {
  if (spare_ != no_socket) return;
  platform::Expected<platform::NativeSocket> spare = platform::duplicate_socket(listener_);
  if (spare) spare_ = *spare;
}

bool Acceptor::may_accept() noexcept {
  if (tick_ != loop_.stats().ticks) {
    tick_ = loop_.stats().ticks;
    accepted_ = 0;
  }
  return accepted_ < kMaxAcceptsPerTick;
}

void Acceptor::refill() noexcept {
  for (Slot& slot : slots_) {
    if (state_ != State::open || paused_) return;  // each on_accept may change that
    if (slot.held) {
      if (!may_accept()) {
        loop_.defer(work_);
        return;
      }
      slot.held = false;
      hand_over(slot);
      if (state_ != State::open || paused_) return;
    }
    // An accept that is posted now is done in a later poll, so it counts for that tick.
    if (!short_ && !slot.in_flight) loop_.reactor().accept(*socket_, slot);
  }
}

void Acceptor::hand_over(Slot& slot) noexcept {
  ++accepted_;
  sink_.on_accept(std::exchange(slot.peer, no_socket),
                  platform::Endpoint::from_sockaddr(slot.address.data(), slot.address_size));
}

// A client that was accepted before the end, and took nobody else's place, is served: it was not refused in time to go
// elsewhere.
void Acceptor::keep_or_drop(Slot& slot) noexcept {
  if (paused_ || refusing_) {
    platform::close_socket(std::exchange(slot.peer, no_socket));
  } else {
    hand_over(slot);
  }
}

void Acceptor::on_done(Slot& slot, Result result) noexcept {
  if (state_ != State::open) {
    if (result.ok()) keep_or_drop(slot);
    return;
  }
  const bool within_budget = may_accept();
  if (result.ok()) {
    if (refusing_) {
      refusing_ = false;
      platform::close_socket(std::exchange(slot.peer, no_socket));
      ++refused_;
      take_spare();
      return;  // the pause goes on
    }
    if (paused_ || !within_budget) {
      slot.held = true;
      if (!paused_) loop_.defer(work_);
      return;
    }
    hand_over(slot);
  } else if (result.code == Errc::reset) {
    ++accepted_;  // a client that left while it was waiting; it took its time, too
  } else {
    // Descriptors or memory are short, or something that we do not know: trying again at once would only spin.
    if (!short_) {
      short_ = true;
      ++shortages_;
      loop_.timers().set(pause_, loop_.now() + kShortagePause);
      if (result.code == Errc::exhausted && spare_ != no_socket) {
        // One client is accepted with the spare descriptor and sent away: it learns at once that we are full, and on a
        // level-triggered system the listener does not stay readable. Which of the posted accepts gets that descriptor
        // is not ours to say: those that were posted again before this one failed are before it in the queue.
        platform::close_socket(std::exchange(spare_, no_socket));
        refusing_ = true;
        loop_.reactor().accept(*socket_, slot);
      }
    }
    return;
  }
  if (state_ != State::open || paused_ || short_ || slot.in_flight) return;
  if (may_accept()) {
    loop_.reactor().accept(*socket_, slot);
  } else {
    loop_.defer(work_);
  }
}

}  // namespace pyre::net
