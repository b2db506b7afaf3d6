// StaticHandler: stands between a server and the handler of the application (Dispatcher or RemotePort), one per loop.
// What is below a static route is answered here, on the loop's thread; all else is passed on as it came.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "http/exchange.h"
#include "http/open_files.h"
#include "http/static_files.h"
#include "net/loop.h"

namespace pyre::http {

class StaticHandler final : public RequestHandler, private OpenFiles::Waiter {
 public:
  // `connections`: the limit of the loop's; half of them may wait for files.
  StaticHandler(net::Loop& loop, std::shared_ptr<const StaticFiles> files, RequestHandler& next,
                std::uint32_t connections) noexcept;
  ~StaticHandler() = default;  // after give_up()
  StaticHandler(const StaticHandler&) = delete;
  StaticHandler& operator=(const StaticHandler&) = delete;

  // The server is gone, and every connection: lets go of the exchanges that still wait for something.
  void give_up() noexcept;

  void on_request(Exchange& exchange) noexcept override;
  void on_body(Exchange& exchange) noexcept override;
  void on_drained(Exchange& exchange) noexcept override;
  void on_disconnect(Exchange& exchange, bool dead) noexcept override;
  void on_connection_info_released(ConnectionInfo& info) noexcept override;

 private:
  // Requests answered in one go; the loop looks at its sockets in between.
  static constexpr int kMaxAtOnce = OpenFiles::kMaxAtOnce;
  // Clients who left while they waited for a look-up; with so many all that wait are gone through.
  static constexpr int kMaxDead = 64;

  struct Work : net::Deferred {
    explicit Work(StaticHandler& h) noexcept
        : Deferred([](Deferred& work) noexcept { static_cast<Work&>(work).handler.run(); }), handler(h) {}
    StaticHandler& handler;
  };

  void on_found(Exchange& exchange, const FileSet& set) noexcept override;
  void on_turn(Exchange& exchange) noexcept override;
  // The route of a request and what is left of its path, which lives until the next call.
  [[nodiscard]] const StaticFiles::Route* route_of(const RequestHead& request, StaticName& name) noexcept;
  void run() noexcept;
  void serve(Exchange& exchange) noexcept;
  void answer_missing(Exchange& exchange, bool falls_through) noexcept;

  net::Loop& loop_;
  std::shared_ptr<const StaticFiles> files_;
  RequestHandler& next_;
  OpenFiles open_files_;
  Exchange* first_ = nullptr;  // to be answered, linked by app_next
  Exchange* last_ = nullptr;
  int dead_ = 0;         // that may wait for a look-up
  std::string decoded_;  // these keep their memory
  std::string name_;
  Work work_{*this};
};

}  // namespace pyre::http
