// The campaign: thousands of seeded runs of a whole server on the simulated reactor, each with random clients (honest,
// slow, malformed, vanishing), random faults of the network, and an app that answers at random. What must always hold
// is checked here and in TestApp and SimServer: answers in order and byte-exact for clients that were not disturbed,
// every on_request() matched by a release, nothing told twice, every pool empty at the end.
//
// PYRE_SIM_SEEDS sets the number of seeds, PYRE_SIM_FIRST the first one: PYRE_SIM_FIRST=4711 PYRE_SIM_SEEDS=1 repeats a
// failure.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "refusal_cases.h"
#include "sim_server.h"
#include "virtual_workers.h"

namespace pyre::http::test {
namespace {

using Event = TestApp::Event;
using platform::sim::Random;

std::uint64_t number_from(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::string filled(Random& random, std::size_t size) {
  std::string text(size, ' ');
  std::uint64_t bits = random.next();
  for (char& c : text) {
    c = static_cast<char>('a' + bits % 23);
    bits = bits * 6364136223846793005U + 1442695040888963407U;
    bits ^= bits >> 29;
  }
  return text;
}

// What the app answers to a request with this path and body; the client computes it, too.
std::string expected_body(const std::string& method, const std::string& path, const std::string& body) {
  return method + " " + path + " " + std::to_string(body.size()) + " " + body.substr(0, 100) + "|" +
         (body.size() > 100 ? body.substr(body.size() - 100) : "");
}

class Client {
 public:
  enum class Kind { honest, malformed, vanishing, half_closing, slow };

  Client(SimServer& server, Random& random, const std::vector<RefusalCase>& bad)
      : server_(server), random_(random), peer_(server.connect()) {
    kind_ = static_cast<Kind>(random.below(5));
    const std::uint64_t count = 1 + random.below(random.chance(200) ? 40 : 5);
    for (std::uint64_t i = 0; i < count; ++i) add_request();
    if (kind_ == Kind::malformed) {
      const RefusalCase* picked = &bad[random.below(bad.size())];
      while (picked->status == 0 || picked->input.size() > 3000) picked = &bad[random.below(bad.size())];
      script_ += picked->input;
      refusal_ = picked->status;
    }
    if (kind_ == Kind::slow) {
      peer_.stop_reading();
      reading_ = false;
    }
  }

  // One random action; false when it has nothing more to do.
  bool act() {
    if (gone_) return false;
    if (!reading_) {
      if (random_.chance(300)) {
        peer_.resume_reading();
        reading_ = true;
      } else {
        peer_.read_some(random_.below(5000));
      }
    }
    if (kind_ == Kind::vanishing && random_.chance(150)) {
      gone_ = true;
      random_.chance(500) ? peer_.reset() : peer_.close();
      return false;
    }
    if (at_ == script_.size()) {
      if (kind_ == Kind::half_closing && !finished_) {
        finished_ = true;
        peer_.finish();
      }
      return !reading_;
    }
    const std::size_t size =
        std::min<std::size_t>(1 + random_.below(random_.chance(500) ? 40'000 : 60), script_.size() - at_);
    peer_.write(std::string_view(script_).substr(at_, size));
    at_ += size;
    return true;
  }

  // Only when nothing was lost on the way, and time-outs did not strike.
  void check(std::uint64_t seed) const {
    if (kind_ == Kind::vanishing) return;
    std::vector<Answer> answers = split_answers(peer_.received(), methods_);
    std::erase_if(answers, [](const Answer& answer) { return answer.status < 200; });
    ASSERT_EQ(answers.size(), expected_.size() + (refusal_ != 0 ? 1U : 0U)) << "seed " << seed << "\n"
                                                                            << peer_.received().substr(0, 2000);
    for (std::size_t i = 0; i < expected_.size(); ++i) {
      EXPECT_EQ(answers[i].status, 200) << "seed " << seed;
      EXPECT_EQ(answers[i].body, methods_[i] == "HEAD" ? "" : expected_[i]) << "seed " << seed;
    }
    if (refusal_ != 0) {
      EXPECT_EQ(answers.back().status, refusal_) << "seed " << seed;
      EXPECT_TRUE(peer_.saw_end()) << "seed " << seed;
    }
    if (kind_ == Kind::half_closing) {
      EXPECT_TRUE(peer_.saw_end()) << "seed " << seed;
    }
    EXPECT_FALSE(peer_.saw_reset()) << "seed " << seed;
  }
  [[nodiscard]] bool was_served() const { return gone_ || !peer_.received().empty(); }
  void leave() {
    if (!gone_) peer_.close();
  }

 private:
  void add_request() {
    static constexpr const char* kMethods[] = {"GET", "HEAD", "POST", "PUT"};
    const std::string method = kMethods[random_.below(4)];
    const std::string path = "/" + std::to_string(random_.below(1'000'000));
    std::string body;
    std::string head = method + " " + path + " HTTP/1.1\r\nHost: a\r\n";
    if (method[0] == 'P' || random_.chance(50)) {
      const std::size_t size = random_.below(random_.chance(100) ? 200'000 : 2000);
      body = filled(random_, size);
      if (random_.chance(100)) head += "Expect: 100-continue\r\n";
      if (random_.chance(500)) {
        head += "Content-Length: " + std::to_string(size) + "\r\n\r\n" + body;
      } else {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        for (std::size_t at = 0; at < body.size();) {
          const std::size_t piece =
              std::min<std::size_t>(1 + random_.below(random_.chance(300) ? 70'000 : 300), body.size() - at);
          char scratch[kMaxChunkHeader];
          std::string line(chunk_header(piece, scratch));
          if (random_.chance(50)) line.insert(line.size() - 2, ";x=\"y\"");
          head += line + body.substr(at, piece) + "\r\n";
          at += piece;
        }
        head += random_.chance(100) ? "0\r\nX-T: v\r\n\r\n" : "0\r\n\r\n";
      }
    } else {
      head += "X-Pad: " + std::string(random_.below(100), 'x') + "\r\n\r\n";
    }
    script_ += head;
    methods_.push_back(method);
    expected_.push_back(expected_body(method, path, body));
  }

  SimServer& server_;
  Random& random_;
  Peer& peer_;
  Kind kind_;
  std::string script_;
  std::size_t at_ = 0;
  std::vector<std::string> methods_;
  std::vector<std::string> expected_;
  int refusal_ = 0;
  bool reading_ = true;
  bool gone_ = false;
  bool finished_ = false;
};

// Reads and answers in random steps; as an asynchronous app would.
class RandomApp {
 public:
  RandomApp(SimServer& server, Random& random, bool faulty) : server_(server), random_(random), faulty_(faulty) {
    server.app.on_event = [this](Exchange& exchange, Event event) { on_event(exchange, event); };
  }
  // Exchanges that were put off get on.
  bool act() {
    bool left = false;
    for (auto& [exchange, cycle] : std::map<Exchange*, Cycle>(cycles_)) {
      if (!cycles_.contains(exchange) || !cycles_[exchange].asleep) continue;
      left = true;
      if (random_.chance(500)) {
        cycles_[exchange].asleep = false;
        step(*exchange);
      }
    }
    return left;
  }
  void forget() { cycles_.clear(); }

 private:
  struct Cycle {
    std::string body;
    std::string answer;
    std::size_t written = 0;
    bool asleep = false;
    bool started = false;
    bool wants_drain = false;
  };

  void on_event(Exchange& exchange, Event event) {
    Cycle& cycle = cycles_[&exchange];
    if (event == Event::drained) cycle.wants_drain = false;
    if (event == Event::dead) return finish(exchange);
    if (event == Event::finished || cycle.asleep) return;
    if (random_.chance(200)) {
      cycle.asleep = true;
      return;
    }
    step(exchange);
  }
  void finish(Exchange& exchange) {
    cycles_.erase(&exchange);
    server_.app.release(exchange);
  }

  void step(Exchange& exchange) {
    Cycle& cycle = cycles_[&exchange];
    if (exchange.dead()) return finish(exchange);
    if (!cycle.started) {
      if (faulty_ && random_.chance(30)) return finish(exchange);  // an app that failed: 500
      std::string piece(random_.chance(700) ? exchange.body_available() : random_.below(exchange.body_available() + 1),
                        '\0');
      exchange.read_body(std::as_writable_bytes(std::span(piece)));
      cycle.body += piece;
      const bool early = faulty_ && random_.chance(30);  // does not care for the body
      if (!early && (exchange.body_available() != 0 || !exchange.body_complete())) {
        if (exchange.body_available() != 0)
          cycle.asleep = true;
        else
          exchange.want_body();
        return;
      }
      cycle.answer =
          expected_body(std::string(exchange.request().method()), std::string(exchange.request().path()), cycle.body);
      exchange.response_head().start(200);
      if (random_.chance(500)) {
        EXPECT_EQ(exchange.response_head().add("content-length", std::to_string(cycle.answer.size())), FieldError::ok);
      }
      const Outcome outcome = exchange.start();
      if (outcome == Outcome::dead) return finish(exchange);
      EXPECT_EQ(outcome, Outcome::ok);
      cycle.started = true;
      if (random_.chance(200)) {
        cycle.asleep = true;
        return;
      }
    }
    while (!exchange.complete()) {
      if (faulty_ && random_.chance(10)) return finish(exchange);  // an app that failed in the middle: cut
      const std::size_t left = cycle.answer.size() - cycle.written;
      const std::size_t size = random_.chance(600) ? left : random_.below(left + 1);
      const bool last = size == left && random_.chance(700);
      auto* owned = new std::string(cycle.answer.substr(cycle.written, size));
      const net::Borrowed owner{owned, [](void* text) noexcept { delete static_cast<std::string*>(text); }};
      const Outcome outcome = exchange.write(bytes_of(*owned), owner, last);
      if (outcome != Outcome::ok) {
        delete owned;
        EXPECT_EQ(outcome, Outcome::dead);
        return finish(exchange);
      }
      cycle.written += size;
      if (last) break;
      if (exchange.should_wait()) {
        cycle.wants_drain = true;
        return;
      }
      if (random_.chance(300)) {
        cycle.asleep = true;
        return;
      }
    }
    finish(exchange);
  }

  SimServer& server_;
  Random& random_;
  bool faulty_;
  std::map<Exchange*, Cycle> cycles_;
};

void run_seed(std::uint64_t seed, const std::vector<RefusalCase>& bad, ParseStats& total) {
  Random random(seed * 2 + 1);
  // Half of the runs lose nothing, so that every byte can be checked; in the others connections and apps fail.
  const bool hostile = seed % 2 == 1;
  ServerOptions options = SimServer::plain_options();
  if (random.chance(300)) options.limits.pipelined_heads = static_cast<std::uint32_t>(1 + random.below(4));
  if (random.chance(300)) options.limits.connections = static_cast<std::uint32_t>(1 + random.below(4));
  // The minimum rate and the head's time-out are for real time; these clients are slow for other reasons.
  if (!hostile) options.timeouts.body_min_rate = 0;
  // Half of the loops are always behind, and other threads parse their heads, in any order and as late as it gets.
  Random workers_random(~seed);
  VirtualWorkers workers(static_cast<unsigned>(1 + workers_random.below(4)));
  if (workers_random.chance(500)) workers.serve(options);
  SimServer server(std::move(options), hostile ? FaultPlan::hostile(seed) : FaultPlan::rough(seed));
  RandomApp app(server, random, hostile);
  std::vector<std::unique_ptr<Client>> clients;
  const std::uint64_t count = 1 + random.below(5);
  for (std::uint64_t i = 0; i < count; ++i) clients.push_back(std::make_unique<Client>(server, random, bad));

  bool busy = true;
  for (int round = 0; busy && round < 100'000; ++round) {
    busy = workers_random.chance(500) ? workers.step(workers_random) : !workers.empty();
    for (const auto& client : clients) busy |= client->act();
    for (std::uint64_t i = random.below(3); i > 0; --i) {
      server.app.run();
      server.loop().run_once(server.reactor().now() + std::chrono::microseconds(random.below(500)));
    }
    busy |= app.act();
    if (hostile && random.chance(5)) {
      server.reactor().advance(std::chrono::milliseconds(random.below(20'000)));  // Python was busy, or the peers slept
    }
    if (busy) continue;
    server.run();
    busy = app.act() || !workers.empty();
  }
  EXPECT_FALSE(busy) << "seed " << seed << " does not end";
  server.run();
  if (!hostile) {
    // Those over the limit of connections are served when others have left, in any order.
    while (!clients.empty()) {
      const auto settled = [&] {
        bool busy_still = true;
        while (busy_still) {
          busy_still = workers.step(workers_random);
          busy_still |= app.act();
          for (const auto& client : clients) busy_still |= client->act();
          server.run();
        }
      };
      settled();
      auto next = std::find_if(clients.begin(), clients.end(), [](const auto& client) { return client->was_served(); });
      if (next == clients.end()) next = clients.begin();
      (*next)->check(seed);
      (*next)->leave();
      clients.erase(next);
      server.run();
    }
    while (app.act() || workers.step(workers_random)) server.run();
  } else {
    for (const auto& client : clients) client->leave();
    server.run();
    for (int wait = 0; wait < 1000 && app.act(); ++wait) server.run();
    if (random.chance(500)) server.server().drain();
    // Every time-out passes; an app that wakes up meanwhile may find work again.
    for (int round = 0; round < 50 && (server.server().stats().connections_open != 0 || round < 2); ++round) {
      workers.finish_all();
      server.pass(100s);
      for (int wait = 0; wait < 1000 && app.act(); ++wait) server.run();
    }
    EXPECT_EQ(server.app.live(), 0U) << "seed " << seed << ": an exchange was forgotten";
    EXPECT_EQ(server.server().stats().connections_open, 0U) << "seed " << seed;
  }
  EXPECT_EQ(server.server().stats().requests_active, 0U) << "seed " << seed;
  app.forget();
  server.shut_down();
  server.after_server = [&workers] { workers.finish_all(); };
  const ParseStats& parse = server.server().stats().parse;
  total.stolen += parse.stolen;
  total.repeated += parse.repeated;
  total.taken_back += parse.taken_back;
  EXPECT_EQ(server.app.requests, server.app.released) << "seed " << seed;
  EXPECT_EQ(server.app.infos_released, static_cast<int>(server.server().stats().connections_total)) << "seed " << seed;
}

TEST(ConnectionCampaign, holds_its_promises_for_every_seed) {
  const std::uint64_t first = number_from("PYRE_SIM_FIRST", 1);
  const std::uint64_t seeds = number_from("PYRE_SIM_SEEDS", 10'000);
  const std::vector<RefusalCase> bad = refusal_cases();
  ParseStats total;
  for (std::uint64_t seed = first; seed < first + seeds; ++seed) {
    run_seed(seed, bad, total);
    ASSERT_FALSE(testing::Test::HasFailure()) << "seed " << seed;
  }
  if (seeds < 1000) return;
  // Half of what 2,000 seeds gave: 77, 71 and 496. Few heads are stolen, since in most rounds the loop's next tick
  // comes before a thread's step; overflow_test has each case for itself.
  EXPECT_GT(total.stolen, seeds / 50) << "the campaign is to be one of these, too";
  EXPECT_GT(total.repeated, seeds / 55);
  EXPECT_GT(total.taken_back, seeds / 8);
}

}  // namespace
}  // namespace pyre::http::test
