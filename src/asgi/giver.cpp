#include "asgi/giver.h"

#include <algorithm>

#include "asgi/loop_group.h"

namespace pyre::asgi {

Giver::Giver(LoopGroup& group, std::uint32_t index, net::Loop& loop, Dispatcher& dispatcher,
             const http::Limits& limits) noexcept
    : group_(group), index_(index), loop_(loop), dispatcher_(&dispatcher), limits_(limits), lanes_(group.loops()) {}

Giver::~Giver() = default;

// Null: the dispatcher is gone, and nobody wants to know.
http::RequestHandler* Giver::handler_of(http::Exchange& exchange) noexcept {
  if ((exchange.app_flags & Dispatcher::kGiven) != 0) return &lanes_[exchange.app_slot]->port();
  return dispatcher_;
}

void Giver::on_request(http::Exchange& exchange) noexcept {
  exchange.app_flags = 0;
  if (dispatcher_ != nullptr) dispatcher_->on_request(exchange);
}
void Giver::on_body(http::Exchange& exchange) noexcept {
  if (http::RequestHandler* handler = handler_of(exchange); handler != nullptr) handler->on_body(exchange);
}
void Giver::on_drained(http::Exchange& exchange) noexcept {
  if (http::RequestHandler* handler = handler_of(exchange); handler != nullptr) handler->on_drained(exchange);
}
void Giver::on_disconnect(http::Exchange& exchange, bool dead) noexcept {
  if (http::RequestHandler* handler = handler_of(exchange); handler != nullptr) handler->on_disconnect(exchange, dead);
}
void Giver::on_connection_info_released(http::ConnectionInfo& info) noexcept { ScopeBuilder::release(info); }

Lane& Giver::lane_to(std::uint32_t loop) noexcept {
  std::unique_ptr<Lane>& lane = lanes_[loop];
  if (lane == nullptr) lane = std::make_unique<Lane>(loop_, group_.mailbox(loop), group_.taker(loop), limits_);
  return *lane;
}

void Giver::share() noexcept {
  if (!group_.has_idle()) return;
  std::uint32_t keep = dispatcher_->count_new();
  while (keep > 1 && keep * dispatcher_->step_time() > kPatience) {
    const std::int32_t taker = group_.claim_idle(index_);
    if (taker < 0) return;
    Lane& lane = lane_to(static_cast<std::uint32_t>(taker));
    const std::uint32_t give = std::min(keep / 2, kMostAtOnce);
    keep -= give;
    dispatcher_->give_away(keep, give, [&](http::AppExchange& given) noexcept {
      auto& exchange = static_cast<http::Exchange&>(given);  // ours: what was taken is not given on
      exchange.app_flags = Dispatcher::kGiven;
      exchange.app_slot = static_cast<std::uint8_t>(taker);
      lane.port().on_request(exchange);
      // Told once, and that was while it waited here.
      if (exchange.peer_finished()) lane.port().on_disconnect(exchange, false);
    });
    lane.port().end_tick(false);
  }
}

void Giver::end_tick() noexcept {
  post_events();
  group_.deliver_for_ended();
}

void Giver::post_events() noexcept {
  for (const auto& lane : lanes_)
    if (lane != nullptr) lane->port().end_tick(false);
}

void Giver::run_commands_here() noexcept {
  for (const auto& lane : lanes_)
    if (lane != nullptr) lane->port().run_commands_here();
}

}  // namespace pyre::asgi
