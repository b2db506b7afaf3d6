// One hot loop of several, simulated: what overflow parsing gives where there are more processors than this machine
// has. The server is the real one, on the simulated reactor; clients, time and processors are not. Requests come at
// random (Poisson, seeded) on 64 connections of one loop; a client whose connections are all busy waits, and its wait
// counts. What things cost is told (see kCosts): some of it was measured on one machine, some is assumed. The figures
// are as good as these numbers, and the same every time:
//   build/release/bin/one_hot_loop_sim [name=number ...]
// At loads above 1 the queue grows for as long as the run lasts, and so does what the ratio of two p99 says.
//
// Two loads. Hot: the other processors have nothing to do. Balanced: each is as busy with a loop of its own as ours, so
// that a stranger's work runs there in the gaps only, and as much of theirs as they do of ours comes here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "http/head_batch.h"
#include "http/overflow.h"
#include "unit/http/sim_server.h"

namespace {

using namespace pyre;
using namespace pyre::http;
using platform::TimePoint;
using platform::sim::Random;
using test::Peer;
using test::SimServer;
using nanoseconds = std::chrono::nanoseconds;

// Microseconds, but for the *_ns. What is not said to be assumed is from bench/micro (head_bench, offload_bench),
// rounded up for giving away heads of up to 8 KB.
std::map<std::string, double> kCosts = {
    {"head_bytes", 8000},
    // Parsing one head.
    {"head_ns", 200},
    {"byte_ns", 0.22},
    // The rest of a request: recv, answer, and of it the send. Assumed.
    {"rest_us", 8},
    {"send_us", 4},
    // One head given away and taken in again; its bytes are then in another processor's cache.
    {"give_ns", 60},
    {"give_byte_ns", 0.05},
    // A batch: of the loop's time, and until somebody begins with it.
    {"batch_us", 4},
    {"trip_us", 10},
    // What a thread of the Offload gets of a processor that its loop wants, too. Assumed, by its weight at nice +10.
    {"stranger_share", 0.1},
    {"requests", 20'000},
    {"connections", 64},
    {"seed", 1},
    {"after_us", Overflow::kAfterUs},
    {"from_bytes", ServerOptions::kOverflowFrom},
};
double cost(const char* name) { return kCosts.at(name); }
double parse_us() { return (cost("head_ns") + cost("head_bytes") * cost("byte_ns")) / 1000; }
nanoseconds us(double value) { return nanoseconds(std::llround(value * 1000)); }

// What the loop's thread did.
double loop_us(const ServerStats& stats, std::uint64_t batches) {
  const ParseStats& parse = stats.parse;
  const auto given = static_cast<double>(parse.offered);
  return static_cast<double>(stats.requests_total) * (parse_us() + cost("rest_us")) -
         static_cast<double>(parse.stolen) * parse_us() +
         given * (cost("give_ns") + cost("head_bytes") * cost("give_byte_ns")) / 1000 +
         static_cast<double>(batches) * cost("batch_us");
}

// The other processors, with a thread of the Offload each.
class Processors {
 public:
  // `busy`: the share of the time that each has work of its own.
  Processors(unsigned count, double busy, std::uint64_t seed) : cores_(count), busy_(busy), random_(seed) {}

  void serve(ServerOptions& options, SimServer*& server) {
    server_ = &server;
    options.overflow_after_us = static_cast<std::uint32_t>(cost("after_us"));
    options.overflow_from = static_cast<std::uint32_t>(cost("from_bytes"));
    options.overflow_to = {[](void* self, net::Loop& home, net::Offload::Task& task) noexcept {
                             static_cast<Processors*>(self)->submit(home, static_cast<HeadBatch&>(task));
                             return true;
                           },
                           [](void* self) noexcept { return static_cast<Processors*>(self)->idle(); }, this};
  }
  // Everything until `now`.
  void advance(TimePoint now) {
    for (bool again = true; again;) {
      again = false;
      for (Core& core : cores_) {
        if (core.batch == nullptr || core.next > now) continue;
        again = true;
        if (core.batch->parse_next()) {
          core.next += us(parse_us() / (1 - busy_));
        } else {
          core.home->mailbox().post(*core.batch);
          core.batch = nullptr;
        }
      }
    }
  }
  [[nodiscard]] TimePoint next() const {
    TimePoint first = TimePoint::max();
    for (const Core& core : cores_)
      if (core.batch != nullptr) first = std::min(first, core.next);
    return first;
  }
  void tick_begins(TimePoint now) {
    tick_began_ = now;
    before_ = (*server_)->server().stats();
    batches_before_ = batches;
  }
  // The loop's time since.
  [[nodiscard]] double spent_us() const {
    return loop_us((*server_)->server().stats(), batches) - loop_us(before_, batches_before_);
  }

  std::uint64_t batches = 0;

 private:
  struct Core {
    HeadBatch* batch = nullptr;
    net::Loop* home = nullptr;
    TimePoint next{};
  };
  // A processor has one thread, and one that has work of its own counts as idle all the same: nobody knows.
  [[nodiscard]] unsigned idle() const {
    return static_cast<unsigned>(
        std::count_if(cores_.begin(), cores_.end(), [](const Core& core) { return core.batch == nullptr; }));
  }
  void submit(net::Loop& home, HeadBatch& batch) {
    ++batches;
    Core& core = *std::find_if(cores_.begin(), cores_.end(), [](const Core& one) { return one.batch == nullptr; });
    core.batch = &batch;
    core.home = &home;
    // Answers are sent at the end of the tick, and so after this.
    const auto answers = static_cast<double>((*server_)->server().stats().requests_total - before_.requests_total);
    core.next = tick_began_ + us(spent_us() - answers * cost("send_us") + cost("trip_us"));
    // A tick of that loop's own is under way, for as long as ours take at such a load.
    if (random_.below(1000) < static_cast<std::uint64_t>(busy_ * 1000))
      core.next += us(static_cast<double>(random_.below(1000)) / 1000 * 2 * cost("after_us"));
  }

  std::vector<Core> cores_;
  double busy_;
  Random random_;
  SimServer** server_ = nullptr;
  TimePoint tick_began_{};
  ServerStats before_;
  std::uint64_t batches_before_ = 0;
};

struct Result {
  double p50_us = 0, p99_us = 0, given = 0, stolen = 0, cpu_us = 0, seconds = 0;
};

Result run(unsigned processors, double load, bool balanced, bool overflow) {
  const auto requests = static_cast<std::size_t>(cost("requests"));
  const auto seed = static_cast<std::uint64_t>(cost("seed"));
  Processors others(processors - 1, balanced ? load : 0, seed + 1);
  SimServer* place = nullptr;
  ServerOptions options = SimServer::plain_options();
  if (overflow) others.serve(options, place);
  SimServer server(std::move(options));
  place = &server;
  ServerOptions unused;
  if (!overflow) others.serve(unused, place);

  std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  while (head.size() + 6 < static_cast<std::size_t>(cost("head_bytes")))
    head += "X: " +
            std::string(std::min<std::size_t>(900, static_cast<std::size_t>(cost("head_bytes")) - head.size()), 'x') +
            "\r\n";
  head += "\r\n";

  struct Client {
    Peer* peer;
    TimePoint due;
    bool busy = false;
  };
  std::vector<Client> clients;
  for (int i = 0; i < static_cast<int>(cost("connections")); ++i) clients.push_back({&server.connect(), {}});
  server.run();

  Random random(seed);
  const double gap_us = (parse_us() + cost("rest_us")) / load;
  const auto next_gap = [&] {
    return us(-gap_us * std::log((static_cast<double>(random.below(1U << 30)) + 1) / (1U << 30)));
  };
  const TimePoint began = server.reactor().now();
  TimePoint next_due = began + next_gap();
  std::deque<TimePoint> waiting;
  std::vector<double> latencies;
  double spent = 0;
  std::size_t came = 0;
  std::uint64_t stolen_before = 0;
  while (latencies.size() < requests) {
    const TimePoint now = server.reactor().now();
    for (; next_due <= now && came < requests; next_due += next_gap(), ++came) waiting.push_back(next_due);
    for (Client& client : clients) {
      if (waiting.empty()) break;
      if (client.busy) continue;
      client.busy = true;
      client.due = waiting.front();
      waiting.pop_front();
      client.peer->write(head);
    }
    others.advance(now);
    others.tick_begins(now);
    server.loop().run_once(std::min(came < requests ? next_due : TimePoint::max(), others.next()));
    double tick_us = others.spent_us();
    spent += tick_us;
    if (balanced) {  // as much as others did for us somebody asks of this processor, at a lower priority
      const std::uint64_t stolen_by_now = server.server().stats().parse.stolen;
      tick_us += static_cast<double>(stolen_by_now - stolen_before) * parse_us() * load * cost("stranger_share");
      stolen_before = stolen_by_now;
    }
    if (tick_us > 0) server.reactor().advance(us(tick_us));
    while (server.app.run()) {
    }
    server.loop().flush();
    for (Client& client : clients) {
      if (!client.busy || client.peer->received().empty()) continue;
      client.peer->take_received();
      client.busy = false;
      latencies.push_back(std::chrono::duration<double, std::micro>(server.reactor().now() - client.due).count());
    }
  }
  const ParseStats parse = server.server().stats().parse;
  const double seconds = std::chrono::duration<double>(server.reactor().now() - began).count();
  others.advance(TimePoint::max());
  server.run();
  std::sort(latencies.begin(), latencies.end());
  const auto number = static_cast<double>(requests);
  const auto stolen = static_cast<double>(parse.stolen);
  return {latencies[latencies.size() / 2],
          latencies[latencies.size() * 99 / 100],
          static_cast<double>(parse.offered) / number,
          stolen / number,
          (spent + stolen * parse_us()) / number,
          seconds};
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    const std::size_t sign = argument.find('=');
    if (sign == std::string::npos || !kCosts.contains(argument.substr(0, sign))) {
      std::fprintf(stderr, "%s: it is name=number; the names are", argument.c_str());
      for (const auto& [name, value] : kCosts) std::fprintf(stderr, " %s=%g", name.c_str(), value);
      std::fprintf(stderr, "\n");
      return 1;
    }
    kCosts[argument.substr(0, sign)] = std::stod(argument.substr(sign + 1));
  }
  std::printf(
      "Heads of %.0f bytes. Parsing is %.2f us of %.2f us; load is the share of what one loop can do alone.\n\n",
      cost("head_bytes"), parse_us(), parse_us() + cost("rest_us"));
  std::printf(
      "| processors | other loops | load | p50 us | with overflow | p99 us | with overflow | ratio | given away | "
      "stolen |"
      " requests/s, ratio | CPU us/request | with overflow |\n"
      "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
  for (const bool balanced : {false, true})
    for (const double load : {0.7, 0.9, 1.0, 1.05, 1.1, 1.2}) {
      if (balanced && load >= 1.0) continue;
      const Result off = run(2, load, balanced, false);  // the others would have nothing to do with it
      for (const unsigned processors : {2U, 4U, 8U}) {
        const Result on = run(processors, load, balanced, true);
        std::printf(
            "| %u | %s | %.2f | %.0f | %.0f | %.0f | %.0f | %.2fx | %.0f %% | %.0f %% | %.3fx | %.2f | %.2f |\n",
            processors, balanced ? "as busy" : "idle", load, off.p50_us, on.p50_us, off.p99_us, on.p99_us,
            on.p99_us / off.p99_us, on.given * 100, on.stolen * 100, off.seconds / on.seconds, off.cpu_us, on.cpu_us);
        std::fflush(stdout);
      }
    }
}
