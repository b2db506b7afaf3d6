#include "asgi/embedded_host.h"

#include "asgi/decref_queue.h"
#include "platform/clock.h"

namespace pyre::asgi {

namespace {

constexpr std::chrono::milliseconds kSlowTake{1};
constexpr std::chrono::milliseconds kContendedFor{100};
// Less than where the loop has a thread of its own: while this thread compresses, no Python runs here.
constexpr std::uint32_t kOffloadFrom = 2048;

}  // namespace

EmbeddedHost::EmbeddedHost(std::unique_ptr<net::Loop> loop) noexcept : Host(loop.get()), net_loop_(std::move(loop)) {}

EmbeddedHost::~EmbeddedHost() { close(); }

bool EmbeddedHost::init(const Dispatcher::Options& options, http::ServerOptions server_options,
                        PyObject* on_max_requests, std::shared_ptr<LoopGroup> group) noexcept {
  if (!init_host(options, on_max_requests)) return false;
  server_options.offload_from = kOffloadFrom;
  group_ = std::move(group);
  group_index_ = options.group_index;
  if (group_) {
    group_->join(group_index_, net_loop_->mailbox(), *this);
    giver_ = std::make_unique<Giver>(*group_, group_index_, *net_loop_, dispatcher_, server_options.limits);
  }
  http::RequestHandler& handler = giver_ ? static_cast<http::RequestHandler&>(*giver_) : dispatcher_;
  server_ = std::make_unique<http::Server>(*net_loop_, handler, std::move(server_options));
  closed_ = false;
  PyRef added = PyRef::steal(PyObject_CallMethod(loop_.get(), "add_reader", "iO",
                                                 static_cast<int>(net_loop_->reactor().pollable_handle()),
                                                 readable_callback_.get()));
  registered_ = static_cast<bool>(added);
  return registered_;
}

void EmbeddedHost::unregister() noexcept {
  if (registered_) {
    registered_ = false;
    PyRef removed = PyRef::steal(PyObject_CallMethod(loop_.get(), "remove_reader", "i",
                                                     static_cast<int>(net_loop_->reactor().pollable_handle())));
    if (!removed) PyErr_Clear();  // the event loop is closed already
  }
  disarm_callbacks();
}

void EmbeddedHost::close() noexcept {
  if (!server_) return;
  PyRef pending = take_exception();
  unregister();
  if (group_) group_->leaving(group_index_);
  server_->stop_listening();
  server_->abort();  // before the requests are detached: a request that is given up on a live connection would begin
                     // the next
  dispatcher_.detach_all();
  flush_lanes();
  if (group_) group_->takes_no_more(group_index_);
  // Closing is asynchronous but local: a few ticks without waiting. The bound is only there so that a bug cannot hang
  // the exit.
  for (int i = 0; i < 10'000 && !server_->closed(); ++i) net_loop_->run_once(platform::TimePoint::min());
  net_loop_->wait_for_tasks();  // they hold what is the app's
  if (abandoned_) {             // its connections can never be closed
    static_cast<void>(server_.release());
    static_cast<void>(giver_.release());
  }
  if (group_ && server_) {
    giver_->end_tick();
    group_->left(group_index_, std::move(net_loop_), std::move(giver_), std::move(server_));
  }
  server_.reset();
  closed_ = true;
  resolve_idle_futures();
  DecrefQueue::of_this_thread().drain();
  if (group_) DecrefQueue::end_of_this_thread();  // the thread will end, too
  if (pending) restore_exception(std::move(pending));
}

void EmbeddedHost::abandon_after_fork() noexcept {
  abandoned_ = true;
  registered_ = false;
  disarm_callbacks();
  net_loop_->abandon_after_fork();
  if (group_) group_->abandon_after_fork();
}

platform::Error EmbeddedHost::listen(platform::NativeSocket listener, bool unix_socket,
                                     std::int32_t io_thread) noexcept {
  if (io_thread > 0) return {platform::Errc::unsupported, 0};
  const platform::Error error = server_->listen(listener, unix_socket);
  if (error.code == platform::Errc::ok) schedule_tick();  // the first accept is tried there
  return error;
}

void EmbeddedHost::stop_listening() noexcept {
  server_->stop_listening();
  schedule_tick();
}

void EmbeddedHost::drain() noexcept {
  if (group_) group_->set_idle(group_index_, false);  // and no longer true
  server_->drain();
  schedule_tick();
}

void EmbeddedHost::abort() noexcept {
  if (group_) group_->set_idle(group_index_, false);
  server_->abort();
  schedule_tick();
}

std::uint64_t EmbeddedHost::connections() const noexcept { return server_ ? server_->stats().connections_open : 0; }

std::uint64_t EmbeddedHost::unfinished() const noexcept { return server_ ? server_->unfinished() : 0; }

std::vector<IoStats> EmbeddedHost::io_stats() noexcept { return {{server_->stats(), net_loop_->reactor().stats()}}; }

platform::Errc EmbeddedHost::open(FileOpening& request) noexcept {
  net::FilePool* files = net_loop_->files();
  return files == nullptr ? platform::Errc::exhausted : files->submit(*net_loop_, request);
}

void EmbeddedHost::io_section() noexcept {
  if (net_loop_->now() < contended_until_) {
    ++stats_.sections_with_gil;
    net_loop_->run_once(platform::TimePoint::min());
  } else {
    ++stats_.gil_releases;
    PyThreadState* state = PyEval_SaveThread();
    if constexpr (kFreeThreaded) may_call_python_ = false;
    net_loop_->run_once(platform::TimePoint::min());
    if constexpr (kFreeThreaded) may_call_python_ = true;
    const platform::TimePoint before = platform::now();
    PyEval_RestoreThread(state);
    if (const platform::TimePoint after = platform::now(); after - before > kSlowTake)
      contended_until_ = after + kContendedFor;
  }
  DecrefQueue::of_this_thread().drain();
}

PyObject* EmbeddedHost::tick() noexcept {
  // An app that runs a nested event loop (nest_asyncio) comes here from inside a batch: it is served, or the nested
  // loop would spin on a readable handle, and wait for ever for an answer of our own.
  in_tick_ = true;
  ++stats_.ticks;
  if constexpr (kFreeThreaded) {
    if (group_) group_->set_idle(group_index_, false);
  }
  if (!dispatcher_.has_pending()) io_section();
  bool ok = true;
  if (dispatcher_.has_pending()) {
    if constexpr (kFreeThreaded) {
      if (giver_ && !server_->draining()) giver_->share();
    }
    ok = dispatcher_.run_batch();
    if constexpr (kFreeThreaded) flush_lanes();
    PyRef pending = ok ? PyRef() : take_exception();
    io_section();
    if (pending) restore_exception(std::move(pending));
  }
  if constexpr (kFreeThreaded) {
    if (giver_) giver_->end_tick();
    flush_lanes();
  }
  in_tick_ = false;
  return finish_tick(ok);
}

void EmbeddedHost::on_lane_commands(Lane& lane) noexcept {
  lane.next_waiting = waiting_lanes_;
  waiting_lanes_ = &lane;
  if (may_call_python_) schedule_tick();  // else the tick whose section this is looks itself: has_work()
}

void EmbeddedHost::flush_lanes() noexcept {
  while (waiting_lanes_ != nullptr) {
    Lane& lane = *std::exchange(waiting_lanes_, waiting_lanes_->next_waiting);
    lane.flush();
  }
}

bool EmbeddedHost::has_work() const noexcept {
  return dispatcher_.has_pending() || net_loop_->has_work() || (kFreeThreaded && waiting_lanes_ != nullptr);
}

void EmbeddedHost::before_sleep() noexcept {
  net_loop_->arm_alarm();
#ifdef Py_GIL_DISABLED
  if (group_) group_->set_idle(group_index_, !has_work() && !server_->draining());
  if (abandoned_) return;
  const std::lock_guard lock(published_mutex_);
  published_io_ = {server_->stats(), net_loop_->reactor().stats(), 0};
#endif
}

}  // namespace pyre::asgi
