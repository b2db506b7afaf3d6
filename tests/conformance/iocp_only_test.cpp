// What only a completion port can show: packets that are skipped or lost, AcceptEx, TransmitFile, cancellation.
#include <winsock2.h>
// Keep this order.
#include <windows.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/native_harness.h"
#include "platform/memory.h"
#include "platform/windows/iocp_reactor.h"
#include "support/files.h"

namespace pyre::platform::test {
namespace {

class IocpOnly : public testing::Test {
 protected:
  Reactor& reactor() { return harness_.reactor(); }
  bool until(const std::function<bool()>& reached) { return run_until(harness_, reached); }

  struct Connection {
    std::unique_ptr<SocketClient> client;
    Socket* socket = nullptr;
    NativeSocket native = no_socket;
  };
  Connection connect() {
    Connection c;
    c.client.reset(static_cast<SocketClient*>(harness_.pair(c.native).release()));
    c.socket = reactor().attach(c.native).value();
    return c;
  }
  static IocpSocket& inside(Connection& c) { return static_cast<IocpSocket&>(*c.socket); }
  void close(Socket& socket) {
    TestOp closed;
    reactor().close(socket, closed);
    EXPECT_TRUE(until([&] { return closed.done(); }));
    EXPECT_EQ(closed.results.size(), 1U);
  }
  void settle_all() { settle(harness_); }
  void TearDown() override { winsock_for_tests() = real_; }

  // An accept that the kernel has until the test says otherwise: nothing cancels or completes it.
  AcceptSlot& accept_that_stays(TestAccept& accept) {
    winsock_for_tests().accept_ex = [](SOCKET, SOCKET, void*, DWORD, DWORD, DWORD, DWORD*, OVERLAPPED* io) -> BOOL {
      io->Internal = STATUS_PENDING;
      ::WSASetLastError(ERROR_IO_PENDING);
      return FALSE;
    };
    Socket* listener = reactor().attach(harness_.listen()).value();
    reactor().accept(*listener, accept);
    return *static_cast<IocpSocket*>(listener)->slots;
  }
  static bool is_handle(HANDLE handle) {
    DWORD flags = 0;
    return ::GetHandleInformation(handle, &flags) != 0;
  }
  static bool wait_for(const std::atomic<bool>& flag, std::chrono::milliseconds patience) {
    const TimePoint until_then = Clock::now() + patience;
    while (!flag && Clock::now() < until_then) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return flag;
  }
  // What a destroyed reactor has left to the kernel, when the kernel does not want it any more.
  static void free_leaked(AcceptSlot& slot) {
    ::CloseHandle(slot.event);
    ::closesocket(slot.peer);
    destroy(&slot);
  }

  NativeHarness harness_{false};
  const Winsock real_ = winsock();
};

// --- packets (P4, P7, P8)
// ----------------------------------------------------------------------------------------------

// P4: what succeeds at once sends no packet, and what had to wait sends one. Neither is lost or told twice, with the
// mode on or (as beside a layered provider) off.
TEST_F(IocpOnly, P4_skip_on_success_loses_and_doubles_nothing) {
  for (const bool skips : {true, false}) {
    winsock_for_tests().real_handles = skips;
    Connection c = connect();
    winsock_for_tests().real_handles = true;
    ASSERT_EQ(inside(c).skips, skips);
    Reader reader;
    reader.start(reactor(), *c.socket);
    const std::string text = pattern(4'000'000);
    const pyre::test::TemporaryFile file(text);
    std::string asked;
    std::string answered;
    for (int i = 0; i < 60; ++i) {
      const std::string word = std::to_string(i) + ",";
      asked += word;
      c.client->write(word);
      if (i % 3 == 0) {
        ASSERT_TRUE(until([&] { return reader.bytes == asked; }));
      }
      TestSend send;
      const std::string answer = i % 20 == 7 ? text : word;  // some have to wait for their reader
      send.add(answer);
      answered += answer;
      reactor().send(*c.socket, send);
      ASSERT_TRUE(until([&] { return send.done(); }));
      TestSendFile send_file;
      send_file.file = file.native();
      send_file.offset = static_cast<std::uint64_t>(i);
      send_file.count = i % 20 == 9 ? kMaxSendFileBytes : 10;
      answered += text.substr(send_file.offset, send_file.count);
      reactor().send_file(*c.socket, send_file);
      ASSERT_TRUE(until([&] { return send_file.done(); }));
      reactor().poll(TimePoint::min());
      EXPECT_EQ(send.results.size(), 1U);
      EXPECT_EQ(send_file.results.size(), 1U);
    }
    ASSERT_TRUE(until([&] { return reader.bytes == asked && c.client->received().size() == answered.size(); }));
    EXPECT_TRUE(c.client->received() == answered);
    close(*c.socket);
    EXPECT_EQ(reader.code(), Errc::cancelled);
  }
}

// P8: a reset ends the zero-byte read, and the read after it would say "end of file".
TEST_F(IocpOnly, P8_a_reset_of_a_connection_that_waits_is_a_reset) {
  for (int round = 0; round < 20; ++round) {
    Connection c = connect();
    TestRecv recv;
    reactor().recv(*c.socket, recv);
    ASSERT_TRUE(inside(c).recv_pending);
    c.client->reset();
    ASSERT_TRUE(until([&] { return recv.done(); }));
    EXPECT_EQ(recv.code(), Errc::reset);
    EXPECT_NE(recv.results.back().os_error, 0);
    EXPECT_EQ(harness_.buffers.lent, 0U);
    close(*c.socket);
  }
}

// A waiting connection holds one zero-byte read, and no buffer; a request costs one packet for it, and none for the
// rest.
TEST_F(IocpOnly, a_request_costs_one_packet) {
  Connection c = connect();
  Reader reader;
  reader.start(reactor(), *c.socket);
  settle_all();
  const ReactorStats before = reactor().stats();
  constexpr std::uint64_t kRequests = 100;
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    c.client->write("GET");
    ASSERT_TRUE(until([&] { return reader.bytes.size() == 3 * (i + 1); }));
    TestSend send;
    send.add("200");
    reactor().send(*c.socket, send);
    EXPECT_EQ(reactor().run_ready(), 1U);
    EXPECT_FALSE(reactor().has_ready());
    EXPECT_TRUE(inside(c).recv_pending);
  }
  EXPECT_LE(reactor().stats().events - before.events, kRequests);
  EXPECT_EQ(reactor().stats().control_calls, before.control_calls);
  close(*c.socket);
}

// --- accepting (P5, P6)
// ------------------------------------------------------------------------------------------------

// P5: a client that leaves while it waits is nobody's business; the next one gets its place.
TEST_F(IocpOnly, P5_a_client_that_left_does_not_cost_an_accept) {
  const NativeSocket native = harness_.listen();
  Socket* listener = reactor().attach(native).value();
  TestAccept accepts[2];
  std::vector<NativeSocket> peers;
  for (TestAccept& accept : accepts) {
    accept.then = [&] {
      if (accept.code() == Errc::cancelled) return;  // the end of this test
      ASSERT_EQ(accept.code(), Errc::ok);
      peers.push_back(accept.peer);
      reactor().accept(*listener, accept);
    };
    reactor().accept(*listener, accept);
  }
  for (int i = 0; i < 10; ++i) {
    auto dead = harness_.connect(native);
    dead->reset();
    auto alive = harness_.connect(native);
    const std::size_t before = peers.size();
    ASSERT_TRUE(until([&] { return peers.size() > before; }));
    settle_all();
    EXPECT_TRUE(accepts[0].in_flight && accepts[1].in_flight);
  }
  EXPECT_GE(peers.size(), 10U);
  close(*listener);
  EXPECT_EQ(accepts[0].code(), Errc::cancelled);
  for (const NativeSocket peer : peers) close_socket(peer);
}

TEST_F(IocpOnly, accepted_sockets_are_whole_sockets) {
  const NativeSocket native = harness_.listen();
  Socket* listener = reactor().attach(native).value();
  TestAccept accept;
  reactor().accept(*listener, accept);
  auto client = harness_.connect(native);
  ASSERT_TRUE(until([&] { return accept.done(); }));
  // Without SO_UPDATE_ACCEPT_CONTEXT these say "not connected".
  sockaddr_storage address{};
  int size = sizeof address;
  EXPECT_EQ(::getpeername(accept.peer, reinterpret_cast<sockaddr*>(&address), &size), 0);
  EXPECT_EQ(Endpoint::local_of(accept.peer).port, Endpoint::local_of(native).port);
  DWORD flags = HANDLE_FLAG_INHERIT;
  EXPECT_NE(::GetHandleInformation(handle_of(accept.peer), &flags), 0);
  EXPECT_EQ(flags & HANDLE_FLAG_INHERIT, 0U);
  BOOL no_delay = FALSE;
  size = sizeof no_delay;
  EXPECT_EQ(::getsockopt(accept.peer, IPPROTO_TCP, TCP_NODELAY, reinterpret_cast<char*>(&no_delay), &size), 0);
  EXPECT_TRUE(no_delay);
  char byte = 0;
  EXPECT_EQ(::recv(accept.peer, &byte, 1, 0), -1);  // hangs if it blocks
  EXPECT_EQ(::WSAGetLastError(), WSAEWOULDBLOCK);
  close_socket(accept.peer);
  close(*listener);
}

// P6: a listener belongs to no port, so two reactors (or processes) accept from it at the same time, and one that
// leaves takes only its own AcceptEx calls with it, however the other's handles share them.
TEST_F(IocpOnly, P6_two_reactors_share_a_listener_and_one_leaves) {
  NativeHarness other(false);
  const NativeSocket native = harness_.listen();
  Socket* ours = reactor().attach(native).value();
  Socket* theirs = other.reactor().attach(duplicate_socket(native).value()).value();
  TestAccept our_accept;
  TestAccept their_accept;
  reactor().accept(*ours, our_accept);
  other.reactor().accept(*theirs, their_accept);
  TestOp closed;
  other.reactor().close(*theirs, closed);
  ASSERT_TRUE(run_until(other, [&] { return closed.done(); }));
  EXPECT_EQ(their_accept.code(), Errc::cancelled);
  EXPECT_FALSE(our_accept.done());
  for (int i = 0; i < 5; ++i) {
    auto client = harness_.connect(native);
    ASSERT_TRUE(until([&] { return our_accept.results.size() == static_cast<std::size_t>(i) + 1; }));
    EXPECT_EQ(our_accept.code(), Errc::ok);
    close_socket(our_accept.peer);
    reactor().accept(*ours, our_accept);
  }
  close(*ours);
}

// A reloading process leaves while clients come: the one that AcceptEx has taken is ours to serve, as no other process
// will ever see it.
TEST_F(IocpOnly, a_client_that_was_accepted_before_the_close_is_delivered) {
  const NativeSocket native = harness_.listen();
  const NativeSocket kept = duplicate_socket(native).value();  // the reloader's
  Socket* listener = reactor().attach(native).value();
  TestAccept won;
  TestAccept lost;
  reactor().accept(*listener, won);
  const AcceptSlot& slot = *static_cast<IocpSocket*>(listener)->slots;
  auto client = harness_.connect(kept);
  ASSERT_TRUE(wait_for(slot.signalled, std::chrono::seconds(20))) << "accepted, and not told yet";
  reactor().accept(*listener, lost);
  close(*listener);
  EXPECT_EQ(won.code(), Errc::ok);
  EXPECT_EQ(lost.code(), Errc::cancelled);
  sockaddr_storage address{};
  int size = sizeof address;
  EXPECT_EQ(::getpeername(won.peer, reinterpret_cast<sockaddr*>(&address), &size), 0) << "a whole socket";
  close_socket(won.peer);
  close_socket(kept);
}

TEST_F(IocpOnly, accept_on_a_socket_that_does_not_listen_is_an_error) {
  Connection c = connect();
  TestAccept accept;
  reactor().accept(*c.socket, accept);
  ASSERT_TRUE(until([&] { return accept.done(); }));
  EXPECT_EQ(accept.code(), Errc::unsupported);
  EXPECT_EQ(accept.peer, no_socket);
  close(*c.socket);
}

// --- ends (P1, P15, P16)
// -----------------------------------------------------------------------------------------------

// P6: once in a socket's life.
TEST_F(IocpOnly, an_attach_that_fails_leaves_the_socket_with_the_caller) {
  EXPECT_FALSE(reactor().attach(no_socket).has_value());
  Connection c = connect();
  EXPECT_FALSE(reactor().attach(c.native).has_value());
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write("still fine");
  EXPECT_TRUE(until([&] { return reader.bytes == "still fine"; }));
  close(*c.socket);
}

// The kernel has the bytes of a send until it says otherwise, and `closed` waits for that.
TEST_F(IocpOnly, P1_close_with_a_send_in_the_kernel_waits_for_it) {
  for (const bool is_file : {false, true}) {
    Connection c = connect();
    c.client->stop_reading();
    const std::string text = pattern(8'000'000);
    const pyre::test::TemporaryFile file(text);
    TestSend send;
    TestSendFile send_file;
    send.add(text);
    send_file.file = file.native();
    send_file.count = kMaxSendFileBytes;
    send_file.then = [&] {
      if (send_file.code() == Errc::ok && send_file.results.size() < 100) reactor().send_file(*c.socket, send_file);
    };
    if (is_file) {
      reactor().send_file(*c.socket, send_file);
    } else {
      reactor().send(*c.socket, send);
    }
    // The kernel takes some megabytes, a piece in each poll: until nothing moves.
    std::uint64_t moved = 0;
    ASSERT_TRUE(until([&] {
      const std::uint64_t before = moved;
      settle_all();
      moved = send.progress + send_file.progress + send_file.results.size() * kMaxSendFileBytes;
      return moved == before && inside(c).send_pending;
    }));
    TestOp closed;
    reactor().close(*c.socket, closed);
    EXPECT_TRUE(is_file ? send_file.in_flight : send.in_flight);
    closed.then = [&] { EXPECT_FALSE(send.in_flight || send_file.in_flight); };
    ASSERT_TRUE(until([&] { return closed.done(); }));
    EXPECT_EQ(is_file ? send_file.code() : send.code(), Errc::cancelled);
  }
}

// P16: the destructor waits for no peer, and the peers learn of it.
TEST_F(IocpOnly, P16_a_reactor_may_be_destroyed_with_everything_in_flight) {
  Connection c = connect();
  Connection busy = connect();
  busy.client->stop_reading();
  const NativeSocket native = harness_.listen();
  Socket* listener = reactor().attach(native).value();
  TestRecv recv;
  TestAccept accepts[3];
  TestSend send;
  const std::string text = pattern(8'000'000);
  send.add(text);
  reactor().recv(*c.socket, recv);
  reactor().send(*busy.socket, send);
  for (TestAccept& accept : accepts) reactor().accept(*listener, accept);
  settle_all();
  const TimePoint before = now();
  harness_.destroy_reactor();
  EXPECT_LT(now() - before, std::chrono::milliseconds(900));  // it does not run out of patience
  for (int i = 0; i < 1000 && !c.client->saw_end() && !c.client->saw_reset(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_TRUE(c.client->saw_end() || c.client->saw_reset());
  EXPECT_FALSE(recv.done() || send.done() || accepts[0].done());
}

// P1: an accept that comes back after the destructor's patience has nobody to tell: it must not look for the reactor.
TEST_F(IocpOnly, P1_an_accept_that_outlives_the_reactor_is_left_to_the_kernel) {
  TestAccept accept;
  AcceptSlot& slot = accept_that_stays(accept);
  const HANDLE event = slot.event;
  const TimePoint before = Clock::now();
  harness_.destroy_reactor();
  // The whole patience, which is more than one wait: the clock is exact downwards, whatever the machine's load.
  EXPECT_GE(Clock::now() - before, std::chrono::milliseconds(1000));
  ASSERT_TRUE(is_handle(event)) << "freed, and the kernel has it";
  slot.io.Internal = 0;
  ::SetEvent(event);
  EXPECT_FALSE(wait_for(slot.signalled, std::chrono::milliseconds(300))) << "the callback used the dead reactor";
  EXPECT_EQ(::WaitForSingleObject(event, 0), WAIT_OBJECT_0) << "somebody took the signal";
  EXPECT_FALSE(accept.done());
  free_leaked(slot);
}

// The thread that waits could not post: the event alone tells that the accept is back.
TEST_F(IocpOnly, P16_the_farewell_finds_an_accept_whose_packet_is_lost) {
  TestAccept accept;
  AcceptSlot& slot = accept_that_stays(accept);
  const HANDLE event = slot.event;
  slot.io.Internal = 0;
  slot.signalled = true;
  harness_.destroy_reactor();
  EXPECT_FALSE(is_handle(event)) << "leaked";
}

// The packet of an accept that was found without it, and the slot is out again: it says nothing about that one.
TEST_F(IocpOnly, P1_the_farewell_does_not_believe_a_stale_accept_packet) {
  TestAccept accept;
  AcceptSlot& slot = accept_that_stays(accept);
  const HANDLE event = slot.event;
  ::SetEvent(event);
  ASSERT_TRUE(wait_for(slot.signalled, std::chrono::seconds(20)));
  slot.signalled = false;  // as look_for_lost_packets() does
  harness_.destroy_reactor();
  ASSERT_TRUE(is_handle(event)) << "freed, and the kernel has it";
  EXPECT_TRUE(slot.pending);
  free_leaked(slot);
}

// An event is no proof either, while the kernel says that it has the accept.
TEST_F(IocpOnly, P1_a_stray_event_ends_no_accept) {
  TestAccept accept;
  AcceptSlot& slot = accept_that_stays(accept);
  ::SetEvent(slot.event);
  ASSERT_TRUE(wait_for(slot.signalled, std::chrono::seconds(20)));
  ASSERT_TRUE(until([&] { return !slot.signalled; }));
  settle_all();
  EXPECT_TRUE(slot.pending && accept.in_flight);
  slot.io.Internal = 0xC0000120;  // STATUS_CANCELLED
  ::SetEvent(slot.event);
  EXPECT_TRUE(until([&] { return accept.done(); }));
  EXPECT_FALSE(slot.pending);
}

TEST_F(IocpOnly, send_file_from_something_that_is_no_file_is_an_error) {
  Connection c = connect();
  pyre::test::Pipe pipe;
  for (const NativeFile file : {no_file, pipe.writer()}) {
    TestSendFile send;
    send.file = file;
    send.count = 10;
    reactor().send_file(*c.socket, send);
    ASSERT_TRUE(until([&] { return send.done(); }));
    EXPECT_NE(send.code(), Errc::ok);
  }
  close(*c.socket);
}

// P24: no more than 64 KiB of a caller's memory is locked for a reader that does not read.
TEST_F(IocpOnly, P24_a_send_that_waits_hands_over_little_at_a_time) {
  Connection c = connect();
  c.client->stop_reading();
  const std::string text = pattern(12'000'000);
  TestSend send;
  send.add(text);
  reactor().send(*c.socket, send);
  std::uint64_t before = 0;
  for (int i = 0; i < 2000 && !inside(c).send_pending; ++i) {
    EXPECT_LE(send.progress - before, 1024U * 1024U);
    before = send.progress;
    reactor().poll(now() + std::chrono::milliseconds(1));
  }
  settle_all();
  ASSERT_TRUE(inside(c).send_pending);
  c.client->resume_reading();
  ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == text.size(); }));
  EXPECT_TRUE(c.client->received() == text);
  close(*c.socket);
}

// The sizes of the pieces that went to TransmitFile, which takes them at once, or as it does it.
struct Transmits {
  static inline std::vector<DWORD> sizes;
  static inline LPFN_TRANSMITFILE real = nullptr;
  static inline bool at_once = true;
  static BOOL PASCAL transmit(SOCKET socket, HANDLE file, DWORD count, DWORD per_send, OVERLAPPED* io,
                              TRANSMIT_FILE_BUFFERS* around, DWORD flags) {
    sizes.push_back(count);
    if (!at_once) return real(socket, file, count, per_send, io, around, flags);
    io->InternalHigh = count;
    return TRUE;
  }
};

// A piece's progress shows only when all of it is acknowledged, so a slow reader's must be small, or its download is
// cut by the write time-out. Large ones are for those who have been fast for longer than their window is large.
TEST_F(IocpOnly, a_file_goes_out_in_small_pieces_until_its_reader_is_known_to_be_fast) {
  constexpr DWORD kSmall = 64 * 1024;
  constexpr DWORD kLarge = 256 * 1024;
  Transmits::sizes.clear();
  Transmits::at_once = true;
  Transmits::real = winsock_for_tests().transmit_file;
  winsock_for_tests().transmit_file = &Transmits::transmit;
  Connection c = connect();
  ASSERT_TRUE(inside(c).skips);
  const pyre::test::TemporaryFile file(pattern(kMaxSendFileBytes));
  const auto send_some = [&](TestSendFile& send, std::uint32_t count) {
    send.file = file.native();
    send.count = count;
    reactor().send_file(*c.socket, send);
  };
  const auto send = [&](std::uint32_t count) {
    TestSendFile sending;
    send_some(sending, count);
    ASSERT_TRUE(until([&] { return sending.done(); }));
    EXPECT_EQ(sending.code(), Errc::ok);
  };
  const auto sizes = [] { return std::exchange(Transmits::sizes, {}); };
  for (int i = 0; i < 10; ++i) send(1000);  // these prove nothing
  sizes();
  send(2 * kLarge);
  EXPECT_EQ(sizes(), (std::vector<DWORD>{kSmall, kSmall, kSmall, kSmall, kLarge}));
  send(kLarge);
  EXPECT_EQ(sizes(), (std::vector<DWORD>{kLarge})) << "the next file of a fast connection";

  // One piece that takes long, and all is to be proved again.
  Transmits::at_once = false;
  c.client->stop_reading();
  TestSendFile waits;
  waits.then = [&] {
    if (waits.results.size() < 1000) send_some(waits, kSmall);  // one piece each, until one has to wait
  };
  send_some(waits, kSmall);
  ASSERT_TRUE(until([&] { return inside(c).send_pending; }));
  waits.then = nullptr;
  waits.results.clear();
  inside(c).transmit_began -= std::chrono::seconds(2);
  c.client->resume_reading();
  ASSERT_TRUE(until([&] { return waits.done(); }));
  sizes();
  Transmits::at_once = true;
  send(kLarge + kSmall);
  EXPECT_EQ(sizes(), (std::vector<DWORD>{kSmall, kSmall, kSmall, kSmall, kSmall}));
  send(kLarge);
  EXPECT_EQ(sizes(), (std::vector<DWORD>{kLarge}));
  close(*c.socket);
}

// P17: N wakes are one packet, and the next wake after it is taken is another one.
TEST_F(IocpOnly, P17_wakes_are_one_packet_until_it_is_taken) {
  for (int round = 0; round < 3; ++round) {
    const ReactorStats before = reactor().stats();
    for (int i = 0; i < 100; ++i) reactor().wake();
    reactor().poll(TimePoint::max());
    reactor().poll(TimePoint::min());
    EXPECT_EQ(reactor().stats().events - before.events, 1U);
    EXPECT_EQ(reactor().stats().wakes - before.wakes, 1U);
  }
}

TEST_F(IocpOnly, no_handle_is_for_another_event_loop) { EXPECT_EQ(reactor().pollable_handle(), no_socket); }

}  // namespace
}  // namespace pyre::platform::test
