// Giver: stands between the server of one loop of a LoopGroup and its dispatcher, and gives requests that would wait
// too long to loops that have nothing to do. Work moves, connections do not: the answer comes back to this loop by a
// Lane.
//
// Whole requests only, and only such as have not been started. When a tick has more of them waiting than it will start
// within kPatience, as measured by the first steps of the last batches, the later half of them goes to a loop that is
// idle. What begins to wait while a handler blocks this loop's thread is not seen before the thread comes back:
// reading happens on it, too.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "asgi/dispatcher.h"
#include "asgi/lane.h"

namespace pyre::asgi {

class Giver final : public http::RequestHandler {
 public:
  // Two full batches (BatchPolicy): a trip to another loop and back costs some 20 us and wakes two threads.
  static constexpr std::chrono::microseconds kPatience{1000};
  static constexpr std::uint32_t kMostAtOnce = 32;  // half a batch: what is given cannot be given once more

  Giver(LoopGroup& group, std::uint32_t index, net::Loop& loop, Dispatcher& dispatcher,
        const http::Limits& limits) noexcept;
  ~Giver();  // every exchange is back
  Giver(const Giver&) = delete;
  Giver& operator=(const Giver&) = delete;

  // http::RequestHandler
  void on_request(http::Exchange& exchange) noexcept override;
  void on_body(http::Exchange& exchange) noexcept override;
  void on_drained(http::Exchange& exchange) noexcept override;
  void on_disconnect(http::Exchange& exchange, bool dead) noexcept override;
  void on_connection_info_released(http::ConnectionInfo& info) noexcept override;

  // Before a batch.
  void share() noexcept;
  // Posts what happened to the exchanges that are elsewhere. After each time that the loop has run.
  void end_tick() noexcept;
  void post_events() noexcept;  // only that, for whoever stands in for a loop that has left
  void dispatcher_is_gone() noexcept { dispatcher_ = nullptr; }
  // When all threads have ended: carries out what the takers had still posted.
  void run_commands_here() noexcept;

 private:
  [[nodiscard]] http::RequestHandler* handler_of(http::Exchange& exchange) noexcept;
  [[nodiscard]] Lane& lane_to(std::uint32_t loop) noexcept;

  LoopGroup& group_;
  const std::uint32_t index_;
  net::Loop& loop_;
  Dispatcher* dispatcher_;
  const http::Limits limits_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // by the taker's index; null: never needed
};

}  // namespace pyre::asgi
