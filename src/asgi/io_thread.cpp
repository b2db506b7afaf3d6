#include "asgi/io_thread.h"

#include <chrono>
#include <system_error>
#include <utility>

#include "asgi/decref_queue.h"
#include "asgi/scope_builder.h"
#include "net/file_pool.h"
#include "platform/clock.h"
#include "platform/signals.h"
#include "platform/wait.h"

namespace pyre::asgi {

namespace {

// Closing is asynchronous but local: a few ticks without waiting. Only a file that is being read can take longer (a
// cold one, on a network's disk), and its stream must have told the port before that goes. The bound is there so that
// nothing can hang the exit.
constexpr int kMaxClosingTicks = 10'000;
constexpr int kEagerTicks = 1'000;
constexpr std::chrono::milliseconds kClosingPause{1};

platform::TimePoint closing_limit(int tick) noexcept {
  return tick < kEagerTicks ? platform::TimePoint::min() : platform::now() + kClosingPause;
}

}  // namespace

IoThread::IoThread(std::unique_ptr<net::Loop> loop, net::Mailbox& inbox, http::RemotePort::Application& application,
                   http::ServerOptions options) noexcept
    : loop_(std::move(loop)), port_(*loop_, inbox, application, options.limits, &ScopeBuilder::release) {
  // Made now: later the streams would make it on their thread, and open() asks for it on ours.
  static_cast<void>(loop_->files());
  server_ = std::make_unique<http::Server>(*loop_, port_, std::move(options));
}

IoThread::~IoThread() = default;

bool IoThread::start() noexcept {
  const platform::SignalsBlocked blocked;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error&) {
    return false;
  }
  return true;
}

void IoThread::run() noexcept {
  platform::block_all_signals();
  for (int closing = 0; !stopping_ || (!server_->closed() && closing < kMaxClosingTicks);
       closing += stopping_ ? 1 : 0) {
    loop_->run_once(stopping_ ? closing_limit(closing) : platform::TimePoint::max());
    end_tick();
  }
  DecrefQueue::end_of_this_thread();
}

void IoThread::end_tick() noexcept {
  DecrefQueue& dead = DecrefQueue::of_this_thread();
  if (!dead.empty()) dead.hand_over([this](PyObject* object) noexcept { port_.hand_over(object); });
  const std::uint64_t unfinished = server_->unfinished();
  const http::ServerStats& stats = server_->stats();
  // One that came from another loop was counted when it was sent here, also if it came and went within this tick.
  const bool had_any = unfinished_.load(std::memory_order_relaxed) != 0 || stats.connections_total != seen_total_;
  const bool became_idle = unfinished == 0 && had_any;
  seen_total_ = stats.connections_total;
  connections_.store(stats.connections_open, std::memory_order_relaxed);
  unfinished_.store(unfinished, std::memory_order_release);
#ifdef Py_GIL_DISABLED
  {
    const std::lock_guard lock(mutex_);
    published_ = {stats, loop_->reactor().stats(), port_.refused()};
  }
#endif
  port_.end_tick(became_idle);  // somebody may wait for the last connection to end
}

// A letter on the caller's stack: it waits until the letter was delivered.
template <typename Function>
void IoThread::call(Function function) noexcept {
  struct Call : net::Letter {
    Call(IoThread& t, Function& f) noexcept
        : Letter([](Letter& letter) noexcept {
            auto& self = static_cast<Call&>(letter);
            IoThread& here = self.thread;
            self.function();
            here.end_tick();
            const std::lock_guard lock(here.mutex_);
            self.done = true;
            here.called_.notify_all();  // under the lock: the caller's frame goes with it
          }),
          thread(t),
          function(f) {}
    IoThread& thread;
    Function& function;
    bool done = false;
  };
  if (abandoned_) return;
  if (!thread_.joinable()) return function();
  port_.flush();  // in the order of the calls
  Call letter(*this, function);
  PyThreadState* state = PyEval_SaveThread();
  loop_->mailbox().post(letter);
  {
    std::unique_lock lock(mutex_);
    platform::wait_until_ready(called_, lock, [&letter] { return letter.done; });
  }
  PyEval_RestoreThread(state);
}

platform::Error IoThread::listen(platform::NativeSocket listener, bool unix_socket, bool keep) noexcept {
  platform::Error error;
  call([&] { error = server_->listen(listener, unix_socket, keep); });
  return error;
}

void IoThread::stop_listening() noexcept {
  call([this] { server_->stop_listening(); });
}

bool IoThread::listening() noexcept {
  bool listening = false;
  call([&] { listening = server_->listening(); });
  return listening;
}

void IoThread::drain() noexcept {
  call([this] { server_->drain(); });
}

void IoThread::abort() noexcept {
  call([this] { server_->abort(); });
}

IoStats IoThread::stats() noexcept {
  IoStats stats;
  call([&] { stats = {server_->stats(), loop_->reactor().stats(), port_.refused()}; });
  return stats;
}

#ifdef Py_GIL_DISABLED
IoStats IoThread::published() noexcept {
  const std::lock_guard lock(mutex_);
  return published_;
}
#endif

platform::Errc IoThread::open(FileOpening& request) noexcept {
  net::FilePool* files = loop_->files();
  return files == nullptr ? platform::Errc::exhausted : files->submit(*loop_, request);
}

void IoThread::begin_stop() noexcept {
  if (abandoned_ || !thread_.joinable()) return;
  call([this] {
    server_->stop_listening();
    server_->abort();
    stopping_ = true;
  });
}

void IoThread::join() noexcept {
  if (abandoned_ || !thread_.joinable()) return;
  PyThreadState* state = PyEval_SaveThread();
  thread_.join();
  PyEval_RestoreThread(state);
}

void IoThread::finish() noexcept {
  port_.run_commands_here();
  for (int i = 0; i < kMaxClosingTicks && (i == 0 || !server_->closed()); ++i) loop_->run_once(closing_limit(i));
  loop_->wait_for_tasks();
  connections_.store(server_->stats().connections_open, std::memory_order_relaxed);
  unfinished_.store(server_->unfinished(), std::memory_order_release);
  port_.end_tick(false);  // without what is to be dropped: that is on the right thread already
}

void IoThread::abandon_after_fork() noexcept {
  abandoned_ = true;
  loop_->abandon_after_fork();
}

}  // namespace pyre::asgi
