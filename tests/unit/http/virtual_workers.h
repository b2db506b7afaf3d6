// Threads of an Offload that exist only as far as a test says so: what is offered lies here until the test lets one of
// them parse a head, or send a batch home, in whatever order.
#pragma once

#include <cstdint>
#include <vector>

#include "http/head_batch.h"
#include "http/server.h"
#include "net/loop.h"
#include "platform/sim/fault_plan.h"

namespace pyre::http::test {

class VirtualWorkers {
 public:
  explicit VirtualWorkers(unsigned threads = 4) : threads_(threads) {}
  VirtualWorkers(const VirtualWorkers&) = delete;
  VirtualWorkers& operator=(const VirtualWorkers&) = delete;

  // The loop takes itself for behind after so much work in a tick; 0: always.
  void serve(ServerOptions& options, std::uint32_t after_us = 0) {
    options.overflow_after_us = after_us;
    options.overflow_from = 0;
    options.overflow_to = {[](void* self, net::Loop& home, net::Offload::Task& task) noexcept {
                             return static_cast<VirtualWorkers*>(self)->submit(home, static_cast<HeadBatch&>(task));
                           },
                           [](void* self) noexcept { return static_cast<VirtualWorkers*>(self)->idle(); }, this};
  }

  [[nodiscard]] bool empty() const { return running_.empty(); }
  [[nodiscard]] std::size_t size() const { return running_.size(); }
  [[nodiscard]] unsigned idle() const {
    return running_.size() >= threads_ ? 0 : threads_ - static_cast<unsigned>(running_.size());
  }

  // One head of one batch, or that batch goes home. False: there is none.
  bool step(platform::sim::Random& random) {
    if (running_.empty()) return false;
    const std::size_t picked = random.below(running_.size());
    if (!running_[picked].batch->parse_next()) go_home(picked);
    return true;
  }
  // Parses all that the loop has not taken back; nothing goes home yet.
  void parse_all() {
    for (const Running& running : running_)
      while (running.batch->parse_next()) {
      }
  }
  void finish_all() {
    parse_all();
    while (!running_.empty()) go_home(running_.size() - 1);
  }

  bool refuses = false;  // as an Offload that has no memory
  int submitted = 0;

 private:
  struct Running {
    HeadBatch* batch;
    net::Loop* home;
  };
  bool submit(net::Loop& home, HeadBatch& batch) {
    if (refuses) return false;
    ++submitted;
    running_.push_back({&batch, &home});
    return true;
  }
  void go_home(std::size_t index) {
    const Running running = running_[index];
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(index));
    running.home->mailbox().post(*running.batch);
  }

  unsigned threads_;
  std::vector<Running> running_;
};

}  // namespace pyre::http::test
