#include "asgi/lane.h"

#include "asgi/scope_builder.h"

namespace pyre::asgi {

Lane::Lane(net::Loop& from, net::Mailbox& to, Taker* const& taker, const http::Limits& limits) noexcept
    : taker_(taker), port_(from, to, *this, limits, &ScopeBuilder::release) {}

void Lane::on_request(http::AppExchange& exchange) noexcept {
  if (taker_ != nullptr) return taker_->on_taken(exchange);
  // Its loop closed in between: without an answer the connection is cut.
  exchange.release();
  port_.flush();
}

void Lane::on_change(http::AppExchange& exchange) noexcept {
  if (taker_ != nullptr) taker_->on_taken_change(exchange);
}

void Lane::on_commands() noexcept {
  if (taker_ != nullptr) taker_->on_lane_commands(*this);
}

}  // namespace pyre::asgi
