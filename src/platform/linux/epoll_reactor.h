// EpollReactor: the contract of platform/reactor.h on Linux. Completion is built from readiness: try, park on EAGAIN,
// try again on the edge.
//
// A socket is registered once, edge-triggered, for reading. The first send that does not fit adds EPOLLOUT, which then
// stays (asio's scheme: asking for OUT at once would wake up for every new connection). A request on a kept-alive
// connection costs one recv, one send, and its share of an epoll_wait; no epoll_ctl.
//
// Where the work waits:
//   ready_      ops that are finished and wait to be reported (FIFO, threaded through Op::next)
//   work_       sockets that have something to do and whose kernel buffers are not known to be empty or full
//   graveyard_  closed sockets, freed at the end of poll(): events later in the same batch may still point at them
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "platform/callback_watch.h"
#include "platform/reactor.h"
#include "platform/work_link.h"

namespace pyre::platform {

struct EpollSocket final : Socket, WorkLink {
  enum class State : std::uint8_t { unused, open, closing, buried };

  int fd = -1;
  State state = State::unused;
  bool readable : 1 = false;        // the kernel may have bytes (or a peer to accept): a recv is worth its system call
  bool sticky : 1 = false;          // RDHUP, HUP, ERR or urgent data was seen: a short read does not mean "drained"
  bool blocked : 1 = false;         // a send met EAGAIN: wait for the EPOLLOUT edge
  bool out_registered : 1 = false;  // EPOLLOUT is part of the registration
  bool send_is_file : 1 = false;
  bool listener : 1 = false;   // accept() was called
  bool used : 1 = false;       // recv() or send() was called, so it is no listener
  std::uint16_t attempts = 0;  // reads and accepts in the poll `turn`
  std::uint32_t turn = 0;
  std::uint32_t send_turn = 0;  // the poll in which the send had its turn: one in each
  std::int32_t failed = 0;      // the errno that ended the connection: the kernel tells it once, we tell it every time
  RecvOp* recv = nullptr;       // parked operations
  Op* send = nullptr;
  AcceptOp* accepts = nullptr;  // FIFO through Op::next
  AcceptOp* last_accept = nullptr;
  Op* closed = nullptr;
  EpollSocket* next_free = nullptr;  // freelist or graveyard

  EpollSocket() noexcept = default;
  ~EpollSocket() = default;
};
static_assert(sizeof(EpollSocket) <= 128, "an idle connection's share");

class EpollReactor final : public Reactor {
 public:
  [[nodiscard]] static Expected<std::unique_ptr<Reactor>> make(BufferSource& buffers,
                                                               const ReactorOptions& options) noexcept;
  // Sockets that are still attached are closed; their operations are never reported.
  ~EpollReactor() override;

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
  [[nodiscard]] NativeSocket pollable_handle() const noexcept override { return epoll_; }
  void arm_alarm(TimePoint when) noexcept override;
  void abandon_after_fork() noexcept override;
  [[nodiscard]] const ReactorStats& stats() const noexcept override { return stats_; }

 private:
  // What Op::os holds here.
  struct OpState {
    Result result;
    EpollSocket* closing = nullptr;  // the op of a close(): the socket that goes with it
    std::uint32_t piece = 0;         // SendOp: first piece that is not done
    std::uint64_t piece_offset = 0;  // and how much of it is
  };
  static_assert(sizeof(OpState) <= sizeof(Op::os));

  // 64 pieces are 1 KiB of stack and what a stream gathers; the kernel's own limit is 1024.
  static constexpr std::size_t kMaxPieces = 64;
  // One turn of one send: a fast reader must not hold the loop through a huge op.
  static constexpr std::uint64_t kMaxSendBytesPerTurn = 1024 * 1024;
  // Callbacks of finished ops in one poll, as a multiple of the kernel events: a send and a close may come with each
  // event.
  static constexpr std::uint32_t kCompletionsPerEvent = 4;
  // Connections that died while they waited to be accepted are skipped without telling, this many in one turn.
  static constexpr int kMaxDeadAccepts = 64;
  static constexpr std::size_t kSlabSockets = 64;

  struct Slab {
    Slab* next = nullptr;
    std::array<EpollSocket, kSlabSockets> sockets;
  };

  EpollReactor(BufferSource& buffers, const ReactorOptions& options) noexcept;
  [[nodiscard]] Error open() noexcept;
  [[nodiscard]] int control(int action, int fd, std::uint32_t events, void* tag) noexcept;

  static EpollSocket& native(Socket& socket) noexcept { return static_cast<EpollSocket&>(socket); }
  static OpState& state_of(Op& op) noexcept;
  OpState& start(Op& op) noexcept;
  void finish(Op& op, Result result) noexcept;  // to the ready queue
  void report(Op& op, Result result) noexcept;  // runs done
  std::size_t report_ready() noexcept;

  [[nodiscard]] EpollSocket* allocate_socket() noexcept;
  void bury(EpollSocket& socket) noexcept;
  void empty_graveyard() noexcept;

  [[nodiscard]] int timeout_ms(TimePoint until) const noexcept;
  std::size_t handle_events(int count) noexcept;
  std::size_t handle_socket_event(EpollSocket& socket, std::uint32_t events) noexcept;
  std::size_t run_work() noexcept;
  [[nodiscard]] static bool has_work(const EpollSocket& socket) noexcept;
  void queue_work(EpollSocket& socket) noexcept;
  [[nodiscard]] bool take_attempt(EpollSocket& socket) noexcept;

  // One try each; epoll_ops.cpp.
  std::size_t try_recv(EpollSocket& socket) noexcept;
  void try_accept(EpollSocket& socket) noexcept;
  void try_send(EpollSocket& socket) noexcept;
  enum class Sent : std::uint8_t { all, blocked, turn_over, failed };
  [[nodiscard]] static Sent send_pieces(const EpollSocket& socket, SendOp& op, OpState& state,
                                        Result& failure) noexcept;
  [[nodiscard]] static Sent send_range(const EpollSocket& socket, SendFileOp& op, Result& failure) noexcept;
  void start_send(EpollSocket& socket, Op& op, bool is_file) noexcept;
  [[nodiscard]] int await_writable(EpollSocket& socket) noexcept;

  BufferSource& buffers_;
  const ReactorOptions options_;
  int epoll_ = -1;
  int event_ = -1;  // eventfd, for wake()
  int timer_ = -1;  // timerfd, for arm_alarm()
  bool polling_ = false;
  bool timer_registered_ = false;
  std::uint32_t turn_ = 0;
  TimePoint armed_ = TimePoint::max();
  Op* ready_first_ = nullptr;
  Op* ready_last_ = nullptr;
  WorkLink work_;
  EpollSocket* free_ = nullptr;
  EpollSocket* graveyard_ = nullptr;
  Slab* slabs_ = nullptr;
  std::unique_ptr<epoll_event[]> events_;
  ReactorStats stats_;
  CallbackWatch watch_;
  alignas(64) std::atomic<bool> woken_{false};  // a line of its own: other threads write it
  std::atomic<bool> abandoned_{false};
};

}  // namespace pyre::platform
