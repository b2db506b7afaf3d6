// A whole connection over the simulated reactor: the input says what the client does, byte by byte, and how the app
// answers.
//
// The first 4 bytes seed the network's faults and the app. Then actions: one byte says which and how long, the bytes
// behind it are what is sent. What must hold: no crash, no leak, every pool empty at the end, and what was sent parses
// as answers.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include "http/server.h"
#include "net/loop.h"
#include "platform/sim/sim_reactor.h"

namespace {

using namespace pyre;
using namespace std::chrono_literals;
using platform::sim::FaultPlan;
using platform::sim::Peer;
using platform::sim::Random;
using platform::sim::SimReactor;
using platform::sim::SimScope;

void require(bool holds, std::source_location where = std::source_location::current()) {
  if (holds) return;
  std::fprintf(stderr, "line %u does not hold\n", static_cast<unsigned>(where.line()));
  std::abort();
}

class App final : public http::RequestHandler {
 public:
  explicit App(std::uint64_t seed) : random_(seed) {}

  void run() {
    const std::vector<http::Exchange*> now = live_;
    for (http::Exchange* exchange : now) {
      if (random_.chance(700)) step(*exchange);
    }
  }
  [[nodiscard]] bool empty() const { return live_.empty(); }
  void release_all() {
    while (!live_.empty()) release(*live_.back());
  }

 private:
  void release(http::Exchange& exchange) {
    std::erase(live_, &exchange);
    exchange.release();
  }
  void step(http::Exchange& exchange) {
    if (exchange.dead()) return release(exchange);
    if (!exchange.started()) {
      std::string piece(random_.below(exchange.body_available() + 1), '\0');
      exchange.read_body(std::as_writable_bytes(std::span(piece)));
      switch (random_.below(8)) {
        case 0:
          return release(exchange);  // 500
        case 1:
          (void)exchange.send_informational(103, "link: </a>\r\n");
          return;
        case 2:
          break;  // an early answer
        default:
          if (exchange.body_available() != 0) return;
          if (!exchange.body_complete()) return exchange.want_body();
          break;
      }
      static constexpr std::uint16_t kStatus[] = {200, 200, 200, 204, 304, 205, 404, 101};
      exchange.response_head().start(kStatus[random_.below(8)]);
      if (random_.chance(300)) (void)exchange.response_head().add("content-length", std::to_string(random_.below(300)));
      if (random_.chance(100)) (void)exchange.response_head().add("connection", "close");
      if (exchange.start(random_.chance(100)) != http::Outcome::ok) return release(exchange);
      return;
    }
    if (exchange.complete() || random_.chance(30)) return release(exchange);
    static const std::string kBytes(100'000, 'b');
    const std::size_t size = random_.below(random_.chance(100) ? kBytes.size() : 300);
    (void)exchange.write(std::as_bytes(std::span(kBytes)).first(size), {}, random_.chance(400));
    (void)exchange.add_trailer("x-t", "v");
    (void)exchange.end_trailers();
    (void)exchange.should_wait();
  }

  void on_request(http::Exchange& exchange) noexcept override { live_.push_back(&exchange); }
  void on_body(http::Exchange& exchange) noexcept override {
    require(std::find(live_.begin(), live_.end(), &exchange) != live_.end());
  }
  void on_drained(http::Exchange& exchange) noexcept override {
    require(std::find(live_.begin(), live_.end(), &exchange) != live_.end());
  }
  void on_disconnect(http::Exchange& exchange, bool) noexcept override {
    require(std::find(live_.begin(), live_.end(), &exchange) != live_.end());
  }
  void on_connection_info_released(http::ConnectionInfo&) noexcept override {}

  Random random_;
  std::vector<http::Exchange*> live_;
};

struct Setup {
  FaultPlan plan;
  SimReactor* reactor = nullptr;
  std::unique_ptr<SimScope> scope;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  const std::uint64_t seed =
      data[0] | static_cast<std::uint64_t>(data[1]) << 8 | static_cast<std::uint64_t>(data[2]) << 16;
  Setup setup;
  setup.plan = data[3] < 128 ? FaultPlan::calm() : FaultPlan::hostile(seed);
  std::string_view script(reinterpret_cast<const char*>(data) + 4, size - 4);

  auto made = net::Loop::create(
      [](platform::BufferSource& buffers, void* context) -> platform::Expected<std::unique_ptr<platform::Reactor>> {
        auto& from = *static_cast<Setup*>(context);
        auto reactor = std::make_unique<SimReactor>(buffers, from.plan);
        from.reactor = reactor.get();
        from.scope = std::make_unique<SimScope>(*reactor);
        return std::unique_ptr<platform::Reactor>(std::move(reactor));
      },
      &setup);
  std::unique_ptr<net::Loop> loop = std::move(made.value());
  SimReactor& reactor = *setup.reactor;
  App app(seed);
  http::ServerOptions options;
  options.limits.pipelined_heads = 4;
  options.limits.header_bytes = 2000;
  options.limits.body_bytes = data[3] % 2 == 0 ? 0 : 5000;
  auto server = std::make_unique<http::Server>(*loop, app, std::move(options));
  const platform::NativeSocket listener = reactor.listen();
  require(server->listen(listener, false).code == platform::Errc::ok);
  Peer& peer = reactor.connect(listener);
  const auto tick = [&](platform::Clock::duration time) {
    app.run();
    loop->run_once(reactor.now() + time);
  };

  for (int actions = 0; !script.empty() && actions < 300; ++actions) {
    const auto action = static_cast<std::uint8_t>(script[0]);
    script.remove_prefix(1);
    if (action < 0xe0) {  // send up to 223 bytes; then let time pass, or not
      const std::string_view piece = script.substr(0, action);
      peer.write(piece);
      script.remove_prefix(piece.size());
    } else if (action < 0xf0) {
      tick(1ms);
    } else if (action < 0xf4) {
      tick(3s);
    } else if (action < 0xf6) {
      peer.stop_reading();
    } else if (action < 0xf8) {
      peer.resume_reading();
    } else if (action == 0xf8) {
      peer.finish();
    } else if (action == 0xf9) {
      peer.reset();
    } else if (action == 0xfa) {
      peer.close();
    } else if (action == 0xfb) {
      server->drain();
    } else {
      tick(20ms);
    }
  }
  for (int i = 0; i < 50; ++i) tick(1ms);
  // Every answer begins where the one before ended; a strict split of bodies is the campaign's work.
  require(std::string_view("HTTP/1.1 ").starts_with(std::string_view(peer.received()).substr(0, 9)));

  server->stop_listening();
  server->drain();
  peer.close();
  for (int i = 0; i < 2000 && !(server->closed() && app.empty()); ++i) tick(500ms);
  app.release_all();
  server->abort();
  for (int i = 0; i < 100 && !server->closed(); ++i) tick(1s);
  require(server->closed());
  require(server->stats().requests_active == 0);
  server.reset();
  require(loop->buffers().lent() == 0);
  require(loop->blocks().blocks_in_use() == 0);
  require(reactor.open_sockets() == 1);  // our listener
  setup.scope.reset();
  loop.reset();
  return 0;
}
