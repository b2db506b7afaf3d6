// IocpReactor: the contract of platform/reactor.h on Windows. Completions come from one I/O completion port.
//
// A connection is associated with the port once, at attach(), and from then on costs no control call. Work is tried
// first, without an OVERLAPPED, and only what has to wait is handed to the kernel:
//   recv    a zero-byte WSARecv waits (it pins no buffer); then real reads into a lent one, until a short one
//   send    plain WSASends until "would block"; then one gathered overlapped WSASend, and so on
//   file    TransmitFile, with the head in front of it
// A listener is NOT associated: a socket belongs to one port for life, and a listener is shared, between this process's
// handles and with others. Its AcceptEx calls signal events, which a thread of the system's pool posts to the port.
//
// Where the work waits:
//   ready_      ops that are finished and wait to be reported (FIFO, threaded through Op::next)
//   work_       sockets that have something to do without a completion
//   graveyard_  closed sockets, freed at the end of poll()
// Every OVERLAPPED lives in memory of the reactor's (a socket or an accept slot), never in an Op: what the kernel
// writes to outlives the callers whatever they do, and a slot whose completion is out is not used for anything else.
#pragma once

#include "platform/windows/winsock.h"
// Keep this order.
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

#include "platform/callback_watch.h"
#include "platform/reactor.h"
#include "platform/work_link.h"

namespace pyre::platform {

class IocpReactor;
struct AcceptSlot;

struct IocpSocket final : Socket, WorkLink {
  enum class State : std::uint8_t { unused, open, closing, buried };

  SOCKET handle = INVALID_SOCKET;
  State state = State::unused;
  bool listener : 1 = false;  // it listens, so it is not associated
  bool skips : 1 = false;     // a call that succeeds at once sends no packet: set per socket, as it can fail for one
  bool readable : 1 = false;  // a real read is worth its system call; else a zero-byte read has to wait first
  bool recv_pending : 1 = false;  // the kernel has recv_io
  bool send_pending : 1 = false;  // the kernel has send_io, and the bytes behind it
  bool send_is_file : 1 = false;
  bool finished : 1 = false;        // finish_sending() was called
  std::uint8_t fast_transmits = 0;  // whole file pieces in a row that were acknowledged soon, at most kFastTransmits
  std::uint16_t attempts = 0;       // reads in the poll `turn`
  std::uint32_t turn = 0;
  std::uint32_t send_turn = 0;  // the poll in which the send had its turn: one in each
  std::int32_t failed = 0;      // what ended the connection: the kernel tells it once, we tell it every time
  std::uint32_t slots_out = 0;  // a listener's accept slots that the kernel has
  int family = 0;               // a listener's
  RecvOp* recv = nullptr;       // operations in flight
  Op* send = nullptr;
  AcceptSlot* slots = nullptr;  // a listener's, all of them
  Op* closed = nullptr;
  IocpSocket* next_free = nullptr;  // freelist or graveyard
  TimePoint transmit_began{};       // when the kernel got the file piece that it has
  OVERLAPPED recv_io{};
  OVERLAPPED send_io{};

  IocpSocket() noexcept = default;
  ~IocpSocket() = default;
};
static_assert(sizeof(IocpSocket) <= 192, "an idle connection's share");

// One AcceptEx. Owned by the reactor, lent to a listener; its event and the wait on it stay with it.
struct AcceptSlot {
  OVERLAPPED io{};
  HANDLE event = nullptr;
  HANDLE wait = nullptr;
  IocpReactor* reactor = nullptr;
  IocpSocket* listener = nullptr;
  AcceptOp* op = nullptr;
  SOCKET peer = INVALID_SOCKET;
  bool pending = false;
  std::atomic<bool> signalled{false};  // the event came; taken by whoever handles the completion
  AcceptSlot* next = nullptr;          // of its listener, or the freelist
  AcceptSlot* next_made = nullptr;     // all slots of the reactor
  // The room that AcceptEx wants for two addresses: 16 bytes more than the longest, each.
  static constexpr DWORD kAddressBytes = sizeof(sockaddr_storage) + 16;
  alignas(8) std::array<std::byte, std::size_t{2} * kAddressBytes> addresses{};
};

class IocpReactor final : public Reactor {
 public:
  [[nodiscard]] static Expected<std::unique_ptr<Reactor>> make(BufferSource& buffers,
                                                               const ReactorOptions& options) noexcept;
  // Sockets that are still attached are closed; their operations are never reported.
  ~IocpReactor() override;

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
  // A completion port cannot be watched by another event loop; hosts use a thread of their own here.
  [[nodiscard]] NativeSocket pollable_handle() const noexcept override { return no_socket; }
  void arm_alarm(TimePoint when) noexcept override { armed_ = when; }
  void abandon_after_fork() noexcept override;
  [[nodiscard]] const ReactorStats& stats() const noexcept override { return stats_; }

 private:
  // What Op::os holds here.
  struct OpState {
    Result result;
    IocpSocket* closing = nullptr;   // the op of a close(): the socket that goes with it
    std::uint32_t piece = 0;         // SendOp: first piece that is not done
    std::uint64_t piece_offset = 0;  // and how much of it is
  };
  static_assert(sizeof(OpState) <= sizeof(Op::os));

  // 64 pieces are 1 KiB of stack and what a stream gathers.
  static constexpr std::size_t kMaxPieces = 64;
  // One turn of one send: a fast reader must not hold the loop through a huge op, nor one call lock much memory.
  static constexpr std::uint64_t kMaxSendBytesPerTurn = 1024 * 1024;
  // What one overlapped send or TransmitFile carries. Its pages are locked until it is done, and its progress shows
  // only then: at 64 KiB a reader of 1.1 KiB/s still makes progress within the write time-out of 60 s.
  static constexpr std::uint64_t kMaxOverlappedBytes = 64 * 1024;
  // TransmitFile waits for the acknowledgement of what it sent, so one piece per round trip is its top speed, and who
  // reads fast gets more. Who does not would have to read 4.4 KiB/s, or 26 with a time-out of 10 s, not to be cut.
  static constexpr std::uint64_t kMaxTransmitBytes = 256 * 1024;
  // Fast: so many pieces of 64 KiB in a row took less than a second each, in this file or those before it. One would
  // prove nothing: it may fit the window of a client that reads nothing, 64 KiB at first with most systems.
  static constexpr std::uint8_t kFastTransmits = 4;
  static constexpr std::chrono::seconds kFastTransmitTime{1};
  // Packets taken by one GetQueuedCompletionStatusEx; more would only make the others wait longer.
  static constexpr std::uint32_t kMaxEntries = 128;
  // Callbacks of finished ops in one poll, as a multiple of the packets: a send and a close may come with each.
  static constexpr std::uint32_t kCompletionsPerEvent = 4;
  // Clients that leave during AcceptEx itself are skipped without telling, this many in one call.
  static constexpr int kMaxDeadAccepts = 16;
  // The longest single wait. PostQueuedCompletionStatus can fail (the non-paged pool is short), and then a wake or an
  // accepted client is found by looking: asio's figure.
  static constexpr DWORD kLongestWaitMs = 500;
  // The destructor's patience with the kernel; what it still has then is leaked rather than freed under it. Two of the
  // longest waits: an accept whose packet is lost in the first is found after it.
  static constexpr DWORD kFarewellMs = 1000;
  static constexpr std::size_t kSlabSockets = 64;
  enum Key : ULONG_PTR { kWakeKey = 1, kAcceptKey = 2 };  // no IocpSocket has these addresses

  struct Slab {
    Slab* next = nullptr;
    std::array<IocpSocket, kSlabSockets> sockets;
  };

  IocpReactor(BufferSource& buffers, const ReactorOptions& options) noexcept;
  [[nodiscard]] Error open() noexcept;

  static IocpSocket& native(Socket& socket) noexcept { return static_cast<IocpSocket&>(socket); }
  static OpState& state_of(Op& op) noexcept;
  OpState& start(Op& op) noexcept;
  void finish(Op& op, Result result) noexcept;  // to the ready queue
  void report(Op& op, Result result) noexcept;  // runs done
  std::size_t report_ready() noexcept;

  [[nodiscard]] IocpSocket* allocate_socket() noexcept;
  void empty_graveyard() noexcept;
  [[nodiscard]] static bool in_kernel(const IocpSocket& socket) noexcept {
    return socket.recv_pending || socket.send_pending || socket.slots_out != 0;
  }
  void finish_close(IocpSocket& socket) noexcept;
  void end_handle(IocpSocket& socket) noexcept;
  void say_farewell() noexcept;

  [[nodiscard]] ULONG wait(TimePoint until) noexcept;
  [[nodiscard]] static DWORD timeout_ms(TimePoint until) noexcept;
  std::size_t handle_packets(ULONG count) noexcept;
  std::size_t handle_socket_packet(IocpSocket& socket, const OVERLAPPED_ENTRY& packet) noexcept;
  void look_for_lost_packets() noexcept;
  void take_wake() noexcept;
  std::size_t run_work() noexcept;
  [[nodiscard]] static bool has_work(const IocpSocket& socket) noexcept;
  void queue_work(IocpSocket& socket) noexcept;
  [[nodiscard]] bool take_attempt(IocpSocket& socket) noexcept;

  // iocp_ops.cpp
  std::size_t try_recv(IocpSocket& socket) noexcept;
  void await_readable(IocpSocket& socket) noexcept;
  void start_send(IocpSocket& socket, Op& op, bool is_file) noexcept;
  void try_send(IocpSocket& socket) noexcept;
  void on_send_packet(IocpSocket& socket, DWORD bytes) noexcept;
  static void skip_taken(SendOp& op, std::uint64_t taken) noexcept;
  enum class Sent : std::uint8_t { all, pending, turn_over, failed };
  [[nodiscard]] Sent send_pieces(IocpSocket& socket, SendOp& op, Result& failure) noexcept;
  [[nodiscard]] Sent send_range(IocpSocket& socket, SendFileOp& op, Result& failure) noexcept;
  // Given to the kernel, or taken by it at once (`taken`), or refused (an error number).
  struct Handed {
    std::int32_t error = 0;
    bool pending = false;
    std::uint64_t taken = 0;
  };
  [[nodiscard]] static Handed send_overlapped(IocpSocket& socket, WSABUF* buffers, DWORD count) noexcept;
  [[nodiscard]] static Handed transmit(IocpSocket& socket, const SendFileOp& op, std::uint64_t in_file) noexcept;
  static void note_transmit(IocpSocket& socket, std::uint64_t bytes, Clock::duration took) noexcept;
  [[nodiscard]] static std::int32_t outcome(SOCKET socket, OVERLAPPED& io) noexcept;

  // iocp_accept.cpp
  [[nodiscard]] AcceptSlot* take_slot(IocpSocket& listener) noexcept;
  void give_back(AcceptSlot& slot) noexcept;
  void post_accept(AcceptSlot& slot) noexcept;
  static bool take_back(AcceptSlot& slot) noexcept;
  void on_accept_packet(AcceptSlot& slot) noexcept;
  void end_accept(AcceptSlot& slot, Result result) noexcept;
  static void CALLBACK on_event(void* slot, BOOLEAN timed_out);
  static void destroy_slot(AcceptSlot& slot) noexcept;

  BufferSource& buffers_;
  const ReactorOptions options_;
  HANDLE port_ = nullptr;
  bool polling_ = false;
  bool abandoned_ = false;
  std::uint32_t turn_ = 0;
  std::uint32_t max_entries_ = kMaxEntries;
  TimePoint armed_ = TimePoint::max();
  Op* ready_first_ = nullptr;
  Op* ready_last_ = nullptr;
  WorkLink work_;
  IocpSocket* free_ = nullptr;
  IocpSocket* graveyard_ = nullptr;
  Slab* slabs_ = nullptr;
  AcceptSlot* free_slots_ = nullptr;
  AcceptSlot* made_slots_ = nullptr;
  std::unique_ptr<OVERLAPPED_ENTRY[]> entries_;
  ReactorStats stats_;
  CallbackWatch watch_;
  alignas(64) std::atomic<bool> woken_{false};  // a line of its own: other threads write it
  std::atomic<bool> post_failed_{false};        // a packet could not be posted: look for what it would have told
};

}  // namespace pyre::platform
