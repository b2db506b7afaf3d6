// The conformance suite against the simulated reactor: calm, and with every benign fault.
#include <optional>

#include "conformance/reactor_suite.h"
#include "platform/sim/sim_reactor.h"

namespace pyre::platform::test {
namespace {

using sim::FaultPlan;
using sim::Peer;
using sim::SimReactor;
using sim::SimScope;

class SimClient final : public Client {
 public:
  explicit SimClient(Peer& peer) : peer_(peer) {}
  void write(std::string_view bytes) override { peer_.write(bytes); }
  void finish() override { peer_.finish(); }
  void reset() override { peer_.reset(); }
  void stop_reading() override { peer_.stop_reading(); }
  void resume_reading() override { peer_.resume_reading(); }
  const std::string& received() override { return peer_.received(); }
  bool saw_end() override { return peer_.saw_end(); }
  bool saw_reset() override { return peer_.saw_reset(); }

 private:
  Peer& peer_;
};

class SimHarness final : public Harness {
 public:
  explicit SimHarness(const FaultPlan& plan) : reactor_(buffers, plan), scope_(reactor_) {
    reactor_.set_waits_for_threads(true);
  }
  Reactor& reactor() override { return reactor_; }
  std::unique_ptr<Client> pair(NativeSocket& server_end) override {
    return std::make_unique<SimClient>(reactor_.pair(server_end));
  }
  NativeSocket listen() override { return reactor_.listen(); }
  std::unique_ptr<Client> connect(NativeSocket listener) override {
    return std::make_unique<SimClient>(reactor_.connect(listener));
  }
  void pump() override {}
  [[nodiscard]] bool real() const override { return false; }
  [[nodiscard]] bool has_reset() const override { return true; }
  [[nodiscard]] bool steady() const override { return reactor_.plan().delay == 0; }

 private:
  SimReactor reactor_;
  SimScope scope_;
};

// The send buffer stays large enough for the suite's bigger sends to end in bounded time.
template <std::uint64_t kSeed>
std::unique_ptr<Harness> make_rough() {
  FaultPlan plan = FaultPlan::rough(kSeed);
  plan.delay = std::max<std::uint16_t>(plan.delay, 50);
  plan.send_buffer_bytes = std::max(plan.send_buffer_bytes, 64U * 1024);
  return std::make_unique<SimHarness>(plan);
}

INSTANTIATE_TEST_SUITE_P(
    Sim, ReactorConformance,
    testing::Values(HarnessMaker{"calm", [] { return std::unique_ptr<Harness>(new SimHarness(FaultPlan::calm())); }},
                    HarnessMaker{"rough1", &make_rough<1>}, HarnessMaker{"rough2", &make_rough<2>},
                    HarnessMaker{"rough3", &make_rough<3>}, HarnessMaker{"rough4", &make_rough<4>}),
    harness_name);

}  // namespace
}  // namespace pyre::platform::test
