// A loop inside another event loop, and in a forked child: what only Linux has.
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "unit/net/native_streams.h"

namespace pyre::net {
namespace {

// What asyncio sees: a handle that becomes readable, and has_work(). The host sleeps for ever otherwise, so anything
// that the two do not tell (kept bytes, an unflushed stream, a timer, mail, a read-ahead) would hang here.
TEST_F(StreamNativeFileTest, an_embedding_host_never_sleeps_on_pending_work) {
  loop_->set_is_cached_for_tests(&never_cached);
  Echo echo(*loop_);
  open(echo);
  struct Nap : Timer {
    explicit Nap(Echo& e)
        : Timer([](Timer& timer) noexcept { static_cast<Nap&>(timer).echo.stream.set_reading(true); }), echo(e) {}
    Echo& echo;
  } nap(echo);
  ASSERT_TRUE(echo.stream.output().append_file(file_->native(), 0, contents_.size(), owner()));
  echo.stream.request_flush();
  loop_->timers().set(nap, loop_->now() + std::chrono::milliseconds(100));
  std::string sent(2 * 1024 * 1024, '\0');
  for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 + (i >> 9));
  std::thread writer([&] {
    test::write_all(peer_, sent);
    test::finish_writing(peer_);
  });
  std::string received;
  std::thread reader([&] { received = test::read_all(peer_); });
  bool finished = false;
  while (!finished) {
    if (!loop_->has_work()) {
      loop_->arm_alarm();
      pollfd handle{loop_->reactor().pollable_handle(), POLLIN, 0};
      ASSERT_GE(::poll(&handle, 1, -1), 0);
    }
    loop_->run_once(TimePoint::min());
    finished = echo.ended && echo.stream.output().empty() && !loop_->has_work();
  }
  writer.join();
  reader.join();
  EXPECT_TRUE(received == contents_ + sent);
  close(echo);
}

TEST_F(StreamNativeTest, a_forked_child_leaves_the_parents_loop_alone) {
  Echo echo(*loop_);
  open(echo);
  echo.stream.set_reading(true);
  loop_->run_once(TimePoint::min());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    loop_->abandon_after_fork();
    const bool quiet = loop_->run_once(TimePoint::max()) == 0 && !loop_->has_work();
    ::_exit(quiet ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  ASSERT_TRUE(test::write_all(peer_, "ping"));
  EXPECT_EQ(receive(4), "ping");
  close(echo);
}

}  // namespace
}  // namespace pyre::net
