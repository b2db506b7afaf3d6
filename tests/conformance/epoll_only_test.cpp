// What only a kernel can show: descriptors, limits, forks, nesting, and how many system calls a request costs.
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "conformance/native_harness.h"

namespace pyre::platform::test {
namespace {

// Answers a failed call of the test's own with its name and errno.
int must(int result, const char* call) {
  if (result < 0) {
    std::perror(call);
    std::abort();
  }
  return result;
}

class EpollOnly : public testing::Test {
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
  void close(Socket& socket) {
    TestOp closed;
    reactor().close(socket, closed);
    EXPECT_TRUE(until([&] { return closed.done(); }));
  }
  static bool readable(int fd, int timeout_ms = 0) {
    pollfd entry{fd, POLLIN, 0};
    return ::poll(&entry, 1, timeout_ms) == 1;
  }

  NativeHarness harness_{false};
};

// Runs `child` in a forked process; true if it ended with 0. Only async-signal-safe matters there, and this program has
// one thread then.
bool in_child(const std::function<bool()>& child) {
  const pid_t pid = must(::fork(), "fork");
  if (pid == 0) ::_exit(child() ? 0 : 1);
  int status = 0;
  must(::waitpid(pid, &status, 0), "waitpid");
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// --- the embedded loop's side
// ----------------------------------------------------------------------------------------------

TEST_F(EpollOnly, pollable_handle_nests_in_another_epoll) {
  const int outer = must(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  epoll_event event{};
  event.events = EPOLLIN;  // level-triggered, as asyncio and uvloop watch
  must(::epoll_ctl(outer, EPOLL_CTL_ADD, reactor().pollable_handle(), &event), "epoll_ctl");
  const auto outer_readable = [&](int timeout_ms) { return ::epoll_wait(outer, &event, 1, timeout_ms) == 1; };

  Connection c = connect();
  Reader reader;
  reader.start(reactor(), *c.socket);
  reactor().poll(TimePoint::min());
  EXPECT_FALSE(outer_readable(0));

  c.client->write("x");
  EXPECT_TRUE(outer_readable(5000));
  reactor().poll(TimePoint::min());
  EXPECT_EQ(reader.bytes, "x");
  EXPECT_FALSE(outer_readable(0));

  reactor().wake();
  EXPECT_TRUE(outer_readable(5000));
  reactor().poll(TimePoint::min());
  EXPECT_FALSE(outer_readable(0));

  reactor().arm_alarm(now() + std::chrono::milliseconds(2));
  EXPECT_TRUE(outer_readable(5000));
  reactor().poll(TimePoint::min());
  EXPECT_FALSE(outer_readable(0));

  // What is left on the ready queue does not show: that is what has_ready() is for.
  TestSend send;
  send.add("y");
  reactor().send(*c.socket, send);
  EXPECT_FALSE(outer_readable(0));
  EXPECT_TRUE(reactor().has_ready());
  reactor().poll(TimePoint::min());
  close(*c.socket);
  ::close(outer);
}

TEST_F(EpollOnly, more_events_than_one_poll_takes_keep_the_handle_readable) {
  NativeHarness small(false, ReactorOptions{4, 16});
  std::vector<NativeSocket> natives(10);
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<std::unique_ptr<Reader>> readers;
  std::vector<Socket*> sockets;
  for (NativeSocket& native : natives) {
    clients.push_back(small.pair(native));
    sockets.push_back(small.reactor().attach(native).value());
    readers.push_back(std::make_unique<Reader>());
    readers.back()->start(small.reactor(), *sockets.back());
    clients.back()->write("x");
  }
  int polls = 0;
  while (readable(small.reactor().pollable_handle()) && polls < 100) {
    EXPECT_LE(small.reactor().poll(TimePoint::min()), 4U + 16U);
    ++polls;
  }
  EXPECT_GE(polls, 3);
  for (auto& reader : readers) EXPECT_EQ(reader->bytes, "x");
  TestOp closed[10];
  for (std::size_t i = 0; i < sockets.size(); ++i) small.reactor().close(*sockets[i], closed[i]);
  while (small.reactor().has_ready()) small.reactor().poll(TimePoint::min());
  for (TestOp& op : closed) EXPECT_TRUE(op.done());
}

// --- descriptors
// -----------------------------------------------------------------------------------------------------------

// P21: short of descriptors, an accept says so, nothing spins, and the peer is still there afterwards.
TEST_F(EpollOnly, P21_emfile_is_exhausted_and_the_peer_waits) {
  const NativeSocket native = harness_.listen();
  Socket* listener = reactor().attach(native).value();
  auto client = harness_.connect(native);
  rlimit before{};
  must(::getrlimit(RLIMIT_NOFILE, &before), "getrlimit");
  rlimit none = before;
  none.rlim_cur = 3;  // every new descriptor would be above it
  must(::setrlimit(RLIMIT_NOFILE, &none), "setrlimit");
  TestAccept accepts[2];
  for (TestAccept& accept : accepts) reactor().accept(*listener, accept);
  EXPECT_TRUE(until([&] { return accepts[0].done() && accepts[1].done(); }));
  for (TestAccept& accept : accepts) {
    EXPECT_EQ(accept.code(), Errc::exhausted);
    EXPECT_EQ(accept.results.back().os_error, EMFILE);
    EXPECT_EQ(accept.peer, no_socket);
  }
  const auto events = reactor().stats().events;
  for (int i = 0; i < 5; ++i) reactor().poll(now() + std::chrono::milliseconds(1));
  EXPECT_EQ(reactor().stats().events, events);
  EXPECT_FALSE(reactor().has_ready());
  EXPECT_FALSE(duplicate_socket(native).has_value());
  must(::setrlimit(RLIMIT_NOFILE, &before), "setrlimit");

  TestAccept again;
  reactor().accept(*listener, again);
  EXPECT_TRUE(until([&] { return again.done(); }));
  EXPECT_EQ(again.code(), Errc::ok);
  close_socket(again.peer);
  close(*listener);
}

TEST_F(EpollOnly, accepted_sockets_are_nonblocking_cloexec_and_without_delay) {
  const NativeSocket native = harness_.listen();
  pyre::test::set_blocking(native, true);  // as a supervisor may hand it down
  Socket* listener = reactor().attach(native).value();
  TestAccept accept;
  reactor().accept(*listener, accept);
  auto client = harness_.connect(native);
  ASSERT_TRUE(until([&] { return accept.done(); }));
  TestAccept waits;
  reactor().accept(*listener, waits);  // hangs here, or in poll, if the listener still blocks
  reactor().poll(TimePoint::min());
  EXPECT_NE(::fcntl(accept.peer, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(::fcntl(accept.peer, F_GETFD) & FD_CLOEXEC, 0);
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  must(::getsockopt(accept.peer, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), "getsockopt");
  EXPECT_NE(no_delay, 0);
  ::close(accept.peer);
  close(*listener);
}

TEST_F(EpollOnly, no_descriptor_of_ours_survives_an_exec) {
  Connection c = connect();
  for (int fd = 3; fd < 64; ++fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0 || fd == c.client->native()) continue;
    char target[64] = {};
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    if (::readlink(link.c_str(), target, sizeof target - 1) < 0) continue;
    const std::string_view kind(target);
    if (kind.find("eventpoll") != std::string_view::npos || kind.find("eventfd") != std::string_view::npos ||
        kind.find("timerfd") != std::string_view::npos || fd == c.native) {
      EXPECT_NE(flags & FD_CLOEXEC, 0) << kind;
    }
  }
  close(*c.socket);
}

TEST_F(EpollOnly, an_attach_that_fails_leaves_the_socket_with_the_caller) {
  EXPECT_FALSE(reactor().attach(no_socket).has_value());
  Connection c = connect();
  const auto twice = reactor().attach(c.native);
  ASSERT_FALSE(twice.has_value());
  EXPECT_EQ(twice.error().os_error, EEXIST);
  Reader reader;
  reader.start(reactor(), *c.socket);
  c.client->write("still fine");
  EXPECT_TRUE(until([&] { return reader.bytes == "still fine"; }));
  close(*c.socket);
}

// P16: the destructor waits for nothing, and the peers learn of it.
TEST_F(EpollOnly, P16_a_reactor_may_be_destroyed_with_sockets_attached) {
  Connection c = connect();
  TestRecv recv;
  reactor().recv(*c.socket, recv);
  const int epoll = reactor().pollable_handle();
  harness_.destroy_reactor();
  EXPECT_LT(::fcntl(c.native, F_GETFD), 0);
  EXPECT_LT(::fcntl(epoll, F_GETFD), 0);
  for (int i = 0; i < 1000 && !c.client->saw_end(); ++i) readable(c.client->native(), 10);
  EXPECT_TRUE(c.client->saw_end());
  EXPECT_FALSE(recv.done());
}

// --- children of the app
// ---------------------------------------------------------------------------------------------------

TEST_F(EpollOnly, close_ends_the_connection_although_a_child_holds_the_descriptor) {
  Connection c = connect();
  const int held = must(::fcntl(c.native, F_DUPFD_CLOEXEC, 3), "dup");  // as a fork()ed child has it
  close(*c.socket);
  ASSERT_TRUE(until([&] { return c.client->saw_end(); }));
  // And its events are nobody's any more.
  c.client->write("anyone?");
  const auto events = reactor().stats().events;
  reactor().poll(now() + std::chrono::milliseconds(2));
  EXPECT_EQ(reactor().stats().events, events);
  ::close(held);

  Connection cut = connect();
  const int held_too = must(::fcntl(cut.native, F_DUPFD_CLOEXEC, 3), "dup");
  set_linger_zero(cut.native);
  close(*cut.socket);
  ASSERT_TRUE(until([&] { return cut.client->saw_reset() || cut.client->saw_end(); }));
  EXPECT_TRUE(cut.client->saw_reset());
  ::close(held_too);
}

TEST_F(EpollOnly, fork_abandon_leaves_the_parents_reactor_alone) {
  Connection c = connect();
  Reader reader;
  reader.start(reactor(), *c.socket);
  reactor().poll(TimePoint::min());
  reactor().arm_alarm(now() + std::chrono::hours(1));
  EXPECT_TRUE(in_child([&] {
    reactor().abandon_after_fork();
    TestOp closed;
    reactor().close(*c.socket, closed);
    reactor().wake();
    reactor().arm_alarm(now());
    const bool quiet = reactor().poll(TimePoint::max()) == 0 && !reactor().has_ready();
    harness_.destroy_reactor();
    return quiet;
  }));
  EXPECT_FALSE(readable(reactor().pollable_handle(), 5));  // neither wake nor alarm came through
  c.client->write("parent?");
  EXPECT_TRUE(until([&] { return reader.bytes == "parent?"; }));
  EXPECT_FALSE(c.client->saw_end());
  close(*c.socket);
}

// --- the finer points of the kernel
// ----------------------------------------------------------------------------------------

// recv() stops short at urgent data although more follows, and the bytes behind it are no new edge.
TEST_F(EpollOnly, bytes_behind_urgent_data_are_read) {
  for (int round = 0; round < 10; ++round) {
    Connection c = connect();
    Reader reader;
    reader.start(reactor(), *c.socket);
    c.client->write("before");
    must(static_cast<int>(::send(c.client->native(), "!", 1, MSG_OOB)), "send");
    c.client->write("after");
    ASSERT_TRUE(until([&] { return reader.bytes == "beforeafter"; })) << reader.bytes;
    close(*c.socket);
  }
}

TEST_F(EpollOnly, send_file_to_a_dead_peer_is_an_error_and_no_signal) {
  EXPECT_TRUE(in_child([&] {
    ::signal(SIGPIPE, SIG_DFL);
    Connection c = connect();
    std::FILE* file = std::tmpfile();
    const std::string text = pattern(100'000);
    std::fwrite(text.data(), 1, text.size(), file);
    std::fflush(file);
    c.client->reset();
    Errc last = Errc::ok;
    for (int i = 0; i < 3; ++i) {
      TestSendFile send;
      send.file = ::fileno(file);
      send.count = 100'000;
      reactor().send_file(*c.socket, send);
      if (!until([&] { return send.done(); })) return false;
      last = send.code();
    }
    sigset_t pending;
    ::sigpending(&pending);
    sigset_t mask;
    ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    TestSend send;
    send.add("x");
    reactor().send(*c.socket, send);
    if (!until([&] { return send.done(); })) return false;
    return last == Errc::reset && send.code() == Errc::reset && ::sigismember(&pending, SIGPIPE) == 0 &&
           ::sigismember(&mask, SIGPIPE) == 0;
  }));
}

TEST_F(EpollOnly, send_file_from_something_that_is_no_file_is_unsupported) {
  Connection c = connect();
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2");
  TestSendFile send;
  send.file = ends[0];
  send.offset = 1;
  send.count = 10;
  reactor().send_file(*c.socket, send);
  ASSERT_TRUE(until([&] { return send.done(); }));
  EXPECT_NE(send.code(), Errc::ok);
  EXPECT_NE(send.results.back().os_error, 0);
  ::close(ends[0]);
  ::close(ends[1]);
  close(*c.socket);
}

// A connection that was reset while it waited in the backlog must not disturb the next one.
TEST_F(EpollOnly, a_peer_that_died_in_the_backlog_does_not_disturb) {
  const NativeSocket native = harness_.listen();
  Socket* listener = reactor().attach(native).value();
  auto dead = harness_.connect(native);
  dead->reset();
  auto alive = harness_.connect(native);
  TestAccept accepts[2];
  for (TestAccept& accept : accepts) reactor().accept(*listener, accept);
  ASSERT_TRUE(until([&] { return accepts[0].done(); }));
  std::vector<NativeSocket> peers;
  for (TestAccept& accept : accepts) {
    if (!accept.done()) continue;
    EXPECT_EQ(accept.code(), Errc::ok);
    peers.push_back(accept.peer);
  }
  close(*listener);
  for (const NativeSocket peer : peers) close_socket(peer);
}

TEST_F(EpollOnly, a_send_that_waits_costs_one_control_call_for_the_whole_connection) {
  Connection c = connect();
  const auto before = reactor().stats().control_calls;
  const std::string text = pattern(12 * 1024 * 1024);
  std::size_t expected = 0;
  for (int round = 0; round < 3; ++round) {
    c.client->stop_reading();
    TestSend send;
    send.add(text);
    reactor().send(*c.socket, send);
    for (int i = 0; i < 5; ++i) reactor().poll(now() + std::chrono::milliseconds(1));
    EXPECT_FALSE(send.done());
    c.client->resume_reading();
    expected += text.size();
    ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == expected; }));
  }
  EXPECT_EQ(reactor().stats().control_calls - before, 1U);
  close(*c.socket);
}

// P24 for this system: one turn of one send is 1 MiB at most, so that a fast reader cannot hold the loop.
TEST_F(EpollOnly, P24_a_huge_send_takes_turns) {
  Connection c = connect();
  const std::string text = pattern(12 * 1024 * 1024);
  TestSend send;
  send.add(text);
  reactor().send(*c.socket, send);
  std::uint64_t before = 0;
  while (!send.done() && send.progress < text.size()) {
    EXPECT_LE(send.progress - before, 1024U * 1024U);
    before = send.progress;
    c.client->pump();
    reactor().poll(now() + std::chrono::milliseconds(2));
  }
  ASSERT_TRUE(until([&] { return send.done() && c.client->received().size() == text.size(); }));
  close(*c.socket);
}

// A connection that has sent and received costs no kernel event that nobody asked for.
TEST_F(EpollOnly, a_request_costs_one_event_and_one_poll) {
  Connection c = connect();
  Reader reader;
  reader.start(reactor(), *c.socket);
  reactor().poll(TimePoint::min());
  const ReactorStats before = reactor().stats();
  constexpr std::uint64_t kRequests = 100;
  for (std::uint64_t i = 0; i < kRequests; ++i) {
    c.client->write("GET");
    ASSERT_TRUE(readable(reactor().pollable_handle(), 5000));
    const std::uint32_t lent = harness_.buffers.total;
    EXPECT_EQ(reactor().poll(TimePoint::min()), 1U);
    EXPECT_EQ(harness_.buffers.total - lent, 1U);  // one buffer: one recv, no second one to be sure
    EXPECT_FALSE(reactor().has_ready());
    TestSend send;
    send.add("200");
    reactor().send(*c.socket, send);
    EXPECT_EQ(reactor().run_ready(), 1U);
    EXPECT_FALSE(reactor().has_ready());
  }
  EXPECT_EQ(reader.bytes.size(), 3 * kRequests);
  EXPECT_EQ(reactor().stats().events - before.events, kRequests);
  EXPECT_EQ(reactor().stats().polls - before.polls, kRequests);
  EXPECT_EQ(reactor().stats().completions - before.completions, 2 * kRequests);
  close(*c.socket);
}

#ifndef NDEBUG
TEST_F(EpollOnly, debug_builds_count_and_name_slow_callbacks) {
  Connection c = connect();
  TestRecv recv;
  recv.then = [] { std::this_thread::sleep_for(std::chrono::milliseconds(3)); };
  reactor().recv(*c.socket, recv);
  c.client->write("x");
  testing::internal::CaptureStderr();
  const bool done = until([&] { return recv.done(); });
  const std::string said = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(done);
  EXPECT_GE(reactor().stats().slow_callbacks, 1U);
  if (std::getenv("PYRE_DEBUG_SLOW_CALLBACKS") == nullptr) {
    EXPECT_NE(said.find("a reactor callback ("), std::string::npos) << said;
  }
  close(*c.socket);
}
#endif

// The memory of an idle connection's socket. 128 bytes is what the plan allows; EpollSocket asserts it at compile time.
TEST_F(EpollOnly, many_sockets_at_once_need_little_memory_and_all_close) {
  rlimit limit{};
  must(::getrlimit(RLIMIT_NOFILE, &limit), "getrlimit");
  const std::size_t count = std::min<std::size_t>(1500, (limit.rlim_cur - 100) / 2);
  std::vector<int> clients;
  std::vector<Socket*> sockets;
  for (std::size_t i = 0; i < count; ++i) {
    int ends[2];
    must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), "socketpair");
    clients.push_back(ends[1]);
    sockets.push_back(reactor().attach(ends[0]).value());
  }
  std::vector<TestRecv> recvs(count);
  for (std::size_t i = 0; i < count; ++i) reactor().recv(*sockets[i], recvs[i]);
  for (const int client : clients) must(static_cast<int>(::send(client, "x", 1, 0)), "send");
  ASSERT_TRUE(
      until([&] { return std::all_of(recvs.begin(), recvs.end(), [](TestRecv& recv) { return recv.done(); }); }));
  std::vector<TestOp> closed(count);
  for (std::size_t i = 0; i < count; ++i) reactor().close(*sockets[i], closed[i]);
  ASSERT_TRUE(until([&] { return std::all_of(closed.begin(), closed.end(), [](TestOp& op) { return op.done(); }); }));
  for (const int client : clients) ::close(client);
  EXPECT_EQ(harness_.buffers.lent, 0U);
}

}  // namespace
}  // namespace pyre::platform::test
