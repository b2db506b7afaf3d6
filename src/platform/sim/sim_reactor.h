// SimReactor: the contract of platform/reactor.h without a kernel: byte pipes in memory, a clock that only poll()
// moves, and a seeded plan of faults. Whole servers run on it, thousands of times a second, and every run can be
// repeated.
//
// One thread, as for every reactor; only wake() may come from another one. It is stricter than a kernel: a caller that
// breaks the contract (two recvs at once, an op after close()) stops the program with a sentence.
//
//   SimReactor reactor(buffers, FaultPlan::rough(seed));
//   SimScope scope(reactor);                    // platform::now() and socket.h answer from the simulation, on this
//   thread NativeSocket listener = reactor.listen();   // give it to an Acceptor Peer& client =
//   reactor.connect(listener); client.write("GET / HTTP/1.1\r\n..."); while (...) loop.run_once(...);
//   client.received();
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <queue>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "platform/reactor.h"
#include "platform/sim/fault_plan.h"
#include "platform/socket.h"

namespace pyre::platform::sim {

class SimReactor;
struct SimSocket;

// The other end of a connection: a client, played by the test. Lives as long as its reactor. Its calls never block;
// what they send arrives in a later poll().
class Peer {
 public:
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void write(std::string_view bytes);
  void finish();  // FIN: no more writes, still reads
  void close();   // FIN, and whatever the server sends from now on is answered by RST
  void reset();   // RST; what is still on its way to the server arrives before it
  // A slow reader: what the server sends stays in its send buffer until that is full.
  void stop_reading();
  void resume_reading();
  // Takes at most `bytes` from the stopped pipe, once.
  void read_some(std::size_t bytes);

  [[nodiscard]] const std::string& received() const noexcept { return received_; }
  std::string take_received() { return std::exchange(received_, {}); }
  [[nodiscard]] bool saw_end() const noexcept { return saw_end_; }      // the server's FIN, behind all its bytes
  [[nodiscard]] bool saw_reset() const noexcept { return saw_reset_; }  // the server's RST; what was unread is lost
  // False after finish(), close() and reset(), also those that the fault plan did. write() then does nothing.
  [[nodiscard]] bool can_write() const noexcept { return !done_writing_ && !saw_reset_; }
  [[nodiscard]] bool accepted() const noexcept { return accepted_; }
  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }

 private:
  friend class SimReactor;
  enum class Kind : std::uint8_t { data, finish, reset };
  struct Segment {
    Kind kind;
    std::string bytes;
  };

  Peer(SimReactor& reactor, std::uint32_t id) noexcept : reactor_(reactor), id_(id) {}

  SimReactor& reactor_;
  std::uint32_t id_;
  SimSocket* socket_ = nullptr;  // once attached, until closed

  // To the server.
  std::deque<Segment> on_the_way_;
  TimePoint last_arrival_{};
  std::string arrived_;  // and not read yet, from read_position_ on
  std::size_t read_position_ = 0;
  bool finish_arrived_ = false;
  bool reset_sent_ = false;
  bool reset_arrived_ = false;
  bool done_writing_ = false;

  // From the server.
  std::string sending_;  // in the server's send buffer
  std::string received_;
  bool server_finished_ = false;
  bool server_gone_ = false;
  bool saw_end_ = false;
  bool saw_reset_ = false;
  bool reading_ = true;
  bool deaf_ = false;  // close(): answers bytes by RST
  bool drain_scheduled_ = false;
  bool accepted_ = false;
  bool linger_zero_ = false;
};

class SimReactor final : public Reactor, private SocketOverride {
 public:
  // Made-up handles start here, far above any descriptor.
  static constexpr NativeSocket kFirstSocket = 1 << 30;

  explicit SimReactor(BufferSource& buffers, const FaultPlan& plan = {}, const ReactorOptions& options = {});
  ~SimReactor() override;

  // The network's side.
  [[nodiscard]] NativeSocket listen();
  // Waits in the listener's backlog until an accept takes it.
  Peer& connect(NativeSocket listener);
  // A connection whose server end is handed over at once, not attached yet.
  Peer& pair(NativeSocket& server_end);
  [[nodiscard]] TimePoint now() const noexcept { return now_; }
  // Lets time pass without poll(): Python was busy.
  void advance(Clock::duration time) noexcept { now_ += time; }
  // Nothing is ready and nothing is on its way: only time-outs can still happen.
  [[nodiscard]] bool idle() const noexcept;
  // With nothing scheduled, poll(TimePoint::max()) returns at once; with this on it waits (really) for a wake() from
  // another thread.
  void set_waits_for_threads(bool on) noexcept { waits_for_threads_ = on; }
  // Sockets that are attached, or made and neither attached nor closed: 0 at the end of a run, or something leaked.
  [[nodiscard]] std::size_t open_sockets() const noexcept;
  [[nodiscard]] const FaultPlan& plan() const noexcept { return plan_; }
  [[nodiscard]] Random& random() noexcept { return random_; }

  [[nodiscard]] Expected<Socket*> attach(NativeSocket socket) noexcept override;
  void accept(Socket& listener, AcceptOp& op) noexcept override;
  void recv(Socket& socket, RecvOp& op) noexcept override;
  void send(Socket& socket, SendOp& op) noexcept override;
  void send_file(Socket& socket, SendFileOp& op) noexcept override;
  void finish_sending(Socket& socket) noexcept override;
  void close(Socket& socket, Op& closed) noexcept override;
  void wake() noexcept override;
  std::size_t poll(TimePoint until) noexcept override;
  std::size_t run_ready() noexcept override;
  [[nodiscard]] bool has_ready() const noexcept override;
  [[nodiscard]] NativeSocket pollable_handle() const noexcept override { return no_socket; }
  void arm_alarm(TimePoint when) noexcept override { alarm_ = when; }
  void abandon_after_fork() noexcept override { abandoned_ = true; }
  [[nodiscard]] const ReactorStats& stats() const noexcept override { return stats_; }

 private:
  friend class Peer;
  friend class SimScope;

  // Handles: a listener, or the server end of a connection.
  struct Handle {
    enum class State : std::uint8_t { backlog, loose, attached, closed };
    State state = State::loose;
    Peer* peer = nullptr;       // null for a listener
    std::uint32_t backlog = 0;  // a listener's; handles made by duplicate() share it
    SimSocket* socket = nullptr;
  };
  struct Ready {
    Op* op;
    Result result;
    SimSocket* socket;  // for the order within a socket
    bool closes;
  };
  struct Event {
    TimePoint when;
    std::uint64_t order;
    std::uint32_t peer;
    bool drain;  // else: the next segment arrives
    bool operator>(const Event& other) const noexcept {
      return when != other.when ? when > other.when : order > other.order;
    }
  };

  // SocketOverride
  [[nodiscard]] bool owns(NativeSocket socket) const noexcept override;
  void set_linger_zero(NativeSocket socket) noexcept override;
  void close(NativeSocket socket) noexcept override;
  [[nodiscard]] bool is_listening(NativeSocket socket) const noexcept override;
  [[nodiscard]] Expected<NativeSocket> duplicate(NativeSocket socket) noexcept override;

  [[nodiscard]] Handle& handle_of(NativeSocket socket) noexcept;
  [[nodiscard]] NativeSocket add_handle(const Handle& handle);
  [[nodiscard]] Peer& add_peer();
  void send_segment(Peer& peer, Peer::Kind kind, std::string bytes, bool may_be_late);
  void schedule_drain(Peer& peer);
  void drain(Peer& peer, std::size_t most);
  void end_server_side(Peer& peer);
  void reset_peer(Peer& peer);
  void deliver_due();
  void start(Op& op, const SimSocket& socket);
  void finish(Op& op, Result result, SimSocket& socket, bool closes = false);
  void report(Op& op, Result result);
  std::size_t report_ready();
  void touch(SimSocket& socket);
  [[nodiscard]] bool can_work(const SimSocket& socket) const noexcept;
  std::size_t work(SimSocket& socket);
  std::size_t work_recv(SimSocket& socket);
  void work_send(SimSocket& socket, bool first_try);
  void work_accept(SimSocket& socket);
  void wait_for_wake(TimePoint until);

  BufferSource& buffers_;
  const FaultPlan plan_;
  const ReactorOptions options_;
  Random random_;
  TimePoint now_;
  TimePoint alarm_ = TimePoint::max();
  std::uint64_t order_ = 0;
  std::uint32_t next_socket_id_ = 0;
  bool polling_ = false;
  bool abandoned_ = false;
  bool waits_for_threads_ = false;
  std::vector<Handle> handles_;
  std::vector<std::deque<NativeSocket>> backlogs_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::map<std::uint32_t, SimSocket*> active_;  // may have work; by id, so that runs repeat
  std::set<SimSocket*> live_;
  std::vector<SimSocket*> graveyard_;
  std::deque<Ready> ready_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  ReactorStats stats_;
  std::mutex mutex_;  // of the two below
  std::condition_variable woken_condition_;
  bool woken_ = false;
};

// Installs a simulation's clock and sockets on this thread, and takes them off again.
class SimScope {
 public:
  explicit SimScope(SimReactor& reactor) noexcept;
  ~SimScope();
  SimScope(const SimScope&) = delete;
  SimScope& operator=(const SimScope&) = delete;
};

}  // namespace pyre::platform::sim
