// Whole runs over the simulated reactor, thousands of seeds: an acceptor, echoing streams with back-pressure, and
// clients that write, dawdle, finish, vanish. What comes back must be byte for byte what was sent (a prefix of it where
// a connection was lost), and at the end nothing may be left: no lease, block, piece, frame or socket.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "net/acceptor.h"
#include "net/stream.h"
#include "platform/sim/sim_reactor.h"
#include "support/files.h"

namespace pyre::net {
namespace {

using platform::Errc;
using platform::Lease;
using platform::Result;
using platform::sim::FaultPlan;
using platform::sim::Peer;
using platform::sim::Random;
using platform::sim::SimReactor;
using platform::sim::SimScope;
using std::chrono::milliseconds;

struct SimHost {
  explicit SimHost(const FaultPlan& p) : plan(p) {
    auto made = Loop::create(
        [](platform::BufferSource& buffers, void* context) -> platform::Expected<std::unique_ptr<platform::Reactor>> {
          auto& self = *static_cast<SimHost*>(context);
          auto sim = std::make_unique<SimReactor>(buffers, self.plan);
          self.reactor = sim.get();
          self.scope = std::make_unique<SimScope>(*sim);
          return std::unique_ptr<platform::Reactor>(std::move(sim));
        },
        this);
    loop = std::move(made.value());
  }
  FaultPlan plan;
  SimReactor* reactor = nullptr;
  std::unique_ptr<SimScope> scope;
  std::unique_ptr<Loop> loop;
};

class EchoServer;

// Echoes in every way that an output queue knows: copied, borrowed (the lease itself), now or a little later.
class Connection final : public StreamEvents {
 public:
  Connection(EchoServer& server, std::uint64_t seed);
  Stream stream;
  Connection* next = nullptr;

  void on_data(Lease& data) noexcept override;
  void on_end() noexcept override;
  void on_error(Result) noexcept override { stream.close(random_.chance(500)); }
  void on_sent() noexcept override;
  void on_closed() noexcept override;

 private:
  struct Later : Deferred {
    explicit Later(Connection& c)
        : Deferred([](Deferred& work) noexcept {
            auto& self = static_cast<Later&>(work).connection;
            self.stream.set_reading(true);
          }),
          connection(c) {}
    Connection& connection;
  };
  struct Nap : Timer {
    explicit Nap(Connection& c)
        : Timer([](Timer& timer) noexcept {
            auto& self = static_cast<Nap&>(timer).connection;
            self.napping_ = false;
            self.stream.set_reading(true);
          }),
          connection(c) {}
    Connection& connection;
  };
  static void check(bool kept) {
    if (!kept) std::abort();
  }

  EchoServer& server_;
  Random random_;
  Later later_{*this};
  Nap nap_{*this};
  bool napping_ = false;
  std::uint64_t last_progress_ = 0;
};

class EchoServer final : public Acceptor::Sink {
 public:
  EchoServer(Loop& l, std::uint64_t seed, bool cuts)
      : loop(l), cuts_connections(cuts), acceptor(l, *this), random_(seed) {}
  void on_accept(platform::NativeSocket socket, const platform::Endpoint&) noexcept override {
    auto* connection = new Connection(*this, random_.next());
    if (connection->stream.open(socket) != Errc::ok) std::abort();
    ++open;
    ++accepted;
    if (closing) return connection->stream.close(true);  // it had been accepted before
    connection->stream.set_reading(true);
    if (random_.chance(100)) {
      acceptor.set_paused(true);
      loop.timers().set(unpause_, loop.now() + milliseconds(random_.below(300)));
    }
  }
  void on_acceptor_closed() noexcept override { acceptor_closed = true; }

  Loop& loop;
  bool cuts_connections;
  Acceptor acceptor;
  int open = 0;
  int accepted = 0;
  bool closing = false;
  bool acceptor_closed = false;

 private:
  struct Unpause : Timer {
    explicit Unpause(EchoServer& s)
        : Timer([](Timer& timer) noexcept { static_cast<Unpause&>(timer).server.acceptor.set_paused(false); }),
          server(s) {}
    EchoServer& server;
  };
  Random random_;
  Unpause unpause_{*this};
};

Connection::Connection(EchoServer& server, std::uint64_t seed)
    : stream(server.loop, *this), server_(server), random_(seed) {}

void Connection::on_data(Lease& data) noexcept {
  if (random_.chance(300)) {
    auto* kept = new Lease(std::move(data));
    check(stream.output().append_borrowed(kept->bytes(),
                                          {kept, [](void* owner) noexcept { delete static_cast<Lease*>(owner); }}));
  } else {
    check(stream.output().append(data.bytes()));
  }
  stream.request_flush();
  if (server_.cuts_connections && random_.chance(10)) {
    stream.close(random_.chance(500));
    return;
  }
  if (stream.output().memory() > 128 * 1024) {
    stream.set_reading(false);
  } else if (random_.chance(100)) {
    stream.set_reading(false);
    server_.loop.defer(later_);
  } else if (random_.chance(50)) {
    stream.set_reading(false);
    napping_ = true;
    server_.loop.timers().set(nap_, server_.loop.now() + milliseconds(random_.below(500)));
  }
}

void Connection::on_end() noexcept {
  stream.finish_sending();
  if (stream.output().empty()) on_sent();
}

void Connection::on_sent() noexcept {
  check(stream.progress() >= last_progress_);
  last_progress_ = stream.progress();
  if (stream.ended() && stream.output().empty()) {
    server_.loop.defer(later_);  // must be off the list when it dies
    stream.close();
    return;
  }
  if (!napping_ && !later_.scheduled() && stream.output().memory() <= 64 * 1024) stream.set_reading(true);
}

void Connection::on_closed() noexcept {
  --server_.open;
  delete this;
}

std::string some_bytes(Random& random, std::size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

struct Client {
  Peer* peer = nullptr;
  std::string to_send;
  std::size_t sent = 0;
  bool finished = false;
};

void run_seed(std::uint64_t seed, bool hostile) {
  SCOPED_TRACE(::testing::Message() << (hostile ? "hostile " : "rough ") << seed);
  SimHost host(hostile ? FaultPlan::hostile(seed) : FaultPlan::rough(seed));
  Loop& loop = *host.loop;
  SimReactor& reactor = *host.reactor;
  Random random(seed * 77 + 5);
  const platform::NativeSocket listener = reactor.listen();
  EchoServer server(loop, random.next(), hostile);
  ASSERT_EQ(server.acceptor.open(listener).code, Errc::ok);

  std::vector<Client> clients(1 + random.below(5));
  for (Client& client : clients) {
    client.peer = &reactor.connect(listener);
    const std::uint64_t scale = random.chance(150) ? 400'000 : 5'000;
    client.to_send = some_bytes(random, random.below(scale));
  }
  const auto all_done = [&] {
    for (const Client& client : clients) {
      const bool over = client.peer->saw_end() || client.peer->saw_reset() ||
                        (hostile && client.peer->accepted() && server.open == 0);
      if (!client.finished && !over) return false;
      if (!over) return false;
    }
    return server.open == 0;
  };
  int steps = 0;
  while (!all_done()) {
    ASSERT_LT(++steps, 60'000) << "the run does not come to its end";
    for (Client& client : clients) {
      if (!random.chance(300)) continue;
      const bool over = client.peer->saw_end() || client.peer->saw_reset();
      if (client.sent < client.to_send.size() && !over) {
        const std::size_t size = 1 + random.below(std::min<std::size_t>(client.to_send.size() - client.sent, 30'000));
        client.peer->write(std::string_view(client.to_send).substr(client.sent, size));
        client.sent += size;
      } else if (!client.finished) {
        client.finished = true;
        client.peer->finish();
      }
      if (random.chance(150)) client.peer->stop_reading();
      if (random.chance(400)) client.peer->resume_reading();
      if (random.chance(100)) client.peer->read_some(random.below(5000));
      if (hostile && random.chance(10)) {
        client.finished = true;
        client.peer->reset();
      }
    }
    if (random.chance(20)) reactor.advance(milliseconds(random.below(400)));  // Python was busy
    if (random.chance(100)) loop.flush();
    loop.run_once(loop.now() + milliseconds(random.below(20)));
  }
  for (const Client& client : clients) {
    if (hostile) {
      EXPECT_EQ(client.peer->received(), client.to_send.substr(0, client.peer->received().size()));
    } else {
      EXPECT_TRUE(client.peer->received() == client.to_send);
      EXPECT_TRUE(client.peer->saw_end());
    }
  }
  server.closing = true;
  server.acceptor.close();
  while ((!server.acceptor_closed || server.open > 0) && ++steps < 70'000) loop.run_once(TimePoint::min());
  EXPECT_TRUE(server.acceptor_closed);
  EXPECT_EQ(server.open, 0);
  EXPECT_FALSE(loop.has_work());
  EXPECT_EQ(loop.buffers().lent(), 0U);
  EXPECT_EQ(loop.blocks().blocks_in_use(), 0U);
  EXPECT_EQ(loop.blocks().pieces_in_use(), 0U);
  EXPECT_EQ(loop.frames_in_use(), 0U);
  platform::close_socket(listener);
  EXPECT_EQ(reactor.open_sockets(), 0U);
}

// 2,200 runs by default; PYRE_SIM_SEEDS=100000 for a night.
std::uint64_t seeds() {
  const char* wanted = std::getenv("PYRE_SIM_SEEDS");
  return wanted == nullptr ? 1100 : std::strtoull(wanted, nullptr, 10);
}

TEST(StreamSim, every_byte_comes_back_whatever_the_timing) {
  for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) run_seed(seed, false);
}

TEST(StreamSim, lost_connections_lose_nothing_else) {
  for (std::uint64_t seed = 1; seed <= seeds() && !HasFailure(); ++seed) run_seed(seed, true);
}

// A response of a head, two ranges of a file and a tail, over every kind of short send; the peer dawdles.
void run_file_seed(std::uint64_t seed, platform::NativeFile file, const std::string& contents) {
  SCOPED_TRACE(seed);
  FaultPlan plan = FaultPlan::rough(seed);
  plan.send_buffer_bytes = std::max(plan.send_buffer_bytes, 2048U);  // 700 KB through 16 bytes is only slow
  SimHost host(plan);
  Loop& loop = *host.loop;
  loop.set_is_cached_for_tests([](platform::NativeFile, std::uint64_t) noexcept { return true; });
  Random random(seed);
  struct Writer final : StreamEvents {
    explicit Writer(Loop& l) : stream(l, *this) {}
    void on_data(Lease&) noexcept override {}
    void on_end() noexcept override {}
    void on_error(Result) noexcept override { std::abort(); }
    void on_sent() noexcept override {
      if (stream.output().empty()) stream.close();
    }
    void on_closed() noexcept override { closed = true; }
    Stream stream;
    bool closed = false;
  } writer(loop);
  platform::NativeSocket end = platform::no_socket;
  Peer& peer = host.reactor->pair(end);
  ASSERT_EQ(writer.stream.open(end), Errc::ok);
  OutputQueue& output = writer.stream.output();
  int released = 0;
  const Borrowed owner{&released, [](void* count) noexcept { ++*static_cast<int*>(count); }};
  const std::size_t middle = random.below(contents.size());
  std::string expected = some_bytes(random, random.below(40'000));
  ASSERT_TRUE(output.append(std::as_bytes(std::span(expected))));
  ASSERT_TRUE(output.append_file(file, middle, contents.size() - middle, owner));
  ASSERT_TRUE(output.append_file(file, 0, middle, owner));
  expected += contents.substr(middle) + contents.substr(0, middle);
  const std::string tail = some_bytes(random, 1 + random.below(300));
  ASSERT_TRUE(output.append(std::as_bytes(std::span(tail))));
  expected += tail;
  writer.stream.request_flush();
  int steps = 0;
  while (!(writer.closed && peer.saw_end())) {
    ASSERT_LT(++steps, 60'000);
    if (random.chance(100)) peer.stop_reading();
    if (random.chance(500)) peer.resume_reading();
    loop.run_once(loop.now() + milliseconds(5));
  }
  EXPECT_TRUE(peer.received() == expected);
  EXPECT_EQ(released, 2);
  EXPECT_EQ(host.reactor->open_sockets(), 0U);
  EXPECT_EQ(loop.blocks().blocks_in_use(), 0U);
}

TEST(StreamSim, files_arrive_whole_between_the_bytes_around_them) {
  Random random(3);
  const std::string contents = some_bytes(random, 700'000);
  const test::TemporaryFile file(contents);
  for (std::uint64_t seed = 1; seed <= 60 && !HasFailure(); ++seed) run_file_seed(seed, file.native(), contents);
}

}  // namespace
}  // namespace pyre::net
