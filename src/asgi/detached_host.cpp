#include "asgi/detached_host.h"

#include <algorithm>
#include <utility>

#include "asgi/decref_queue.h"

namespace pyre::asgi {

using platform::Wakeup;

DetachedHost::DetachedHost(std::vector<std::unique_ptr<net::Loop>> loops, const http::ServerOptions& server_options)
    : Host(nullptr) {
  const auto count = static_cast<std::uint32_t>(loops.size());
  if (count > 1) placement_ = std::make_unique<http::Placement>(count, server_options.limits.connections);
  for (std::uint32_t i = 0; i < count; ++i) {
    http::ServerOptions options = server_options;
    options.loop_index = i;
    // What may wait for the application to look at is bounded in all, so each loop has its share of that; connections
    // are counted by the placement.
    options.limits.connections = (server_options.limits.connections + count - 1) / count;
    options.placement = placement_.get();
    io_.push_back(std::make_unique<IoThread>(std::move(loops[i]), inbox_,
                                             static_cast<http::RemotePort::Application&>(*this), std::move(options)));
  }
}

DetachedHost::~DetachedHost() { close(); }

bool DetachedHost::init(const Dispatcher::Options& options, PyObject* on_max_requests, std::string_view wake) noexcept {
  if (!init_host(options, on_max_requests)) return false;
  bool watched = wake != "socket_pair" && watch(Wakeup::Kind::event);
  if (!watched && wake != "event") {
    // A loop that has no add_reader says so by raising.
    if (PyErr_Occurred() != nullptr && PyErr_ExceptionMatches(PyExc_NotImplementedError)) PyErr_Clear();
    watched = PyErr_Occurred() == nullptr && watch(Wakeup::Kind::socket_pair);
  }
  if (!watched) {
    if (PyErr_Occurred() == nullptr)
      PyErr_SetString(PyExc_RuntimeError, "there is no way to wake this event loop from the I/O thread");
    return false;
  }
  inbox_.bind(*wakeup_);
  closed_ = false;
  if (std::all_of(io_.begin(), io_.end(), [](const auto& io) { return io->start(); })) return true;
  PyErr_SetString(PyExc_RuntimeError, "the I/O thread could not be started");
  return false;
}

bool DetachedHost::watch(Wakeup::Kind kind) noexcept {
  platform::Expected<std::unique_ptr<Wakeup>> made = Wakeup::make(kind);
  if (!made) return false;
  wakeup_ = std::move(*made);
  if (kind == Wakeup::Kind::event) {
    PyRef added = PyRef::steal(PyObject_CallMethod(loop_.get(), "add_reader", "iO", static_cast<int>(wakeup_->handle()),
                                                   readable_callback_.get()));
    registered_ = static_cast<bool>(added);
    return registered_;
  }
  PyRef module = PyRef::steal(PyImport_ImportModule("pyre.wake"));
  if (!module) return false;
  receiver_ =
      PyRef::steal(PyObject_CallMethod(module.get(), "Receiver", "OLO", loop_.get(),
                                       static_cast<long long>(wakeup_->take_handle()), readable_callback_.get()));
  registered_ = static_cast<bool>(receiver_);
  return registered_;
}

void DetachedHost::unregister() noexcept {
  if (registered_) {
    registered_ = false;
    PyRef done =
        receiver_
            ? PyRef::steal(PyObject_CallMethod(receiver_.get(), "close", nullptr))
            : PyRef::steal(PyObject_CallMethod(loop_.get(), "remove_reader", "i", static_cast<int>(wakeup_->handle())));
    if (!done) PyErr_Clear();  // the event loop is closed already
    receiver_.reset();
  }
  disarm_callbacks();
}

void DetachedHost::close() noexcept {
  PyRef pending = take_exception();
  unregister();
  if (abandoned_) {
    dispatcher_.detach_all();
    for (auto& io : io_) static_cast<void>(io.release());
    static_cast<void>(placement_.release());
  } else {
    // In their order: the first gives the others no more sockets when it has ended.
    for (std::size_t i = 0; i < io_.size(); ++i) {
      io_[i]->begin_stop();
      if (i == 0) io_[i]->join();
    }
    for (const auto& io : io_) io->join();
    // From here on there is one thread. What was on its way to the app is let go of, as far as that leads.
    do {
      while (inbox_.deliver() != 0) {
      }
      dispatcher_.detach_all();
      commands_wait_ = false;
      for (const auto& io : io_) io->finish();
    } while (!inbox_.empty());
    io_.clear();  // waits for the files that are being opened
    while (inbox_.deliver() != 0) {
    }
  }
  closed_ = true;
  if (idle_futures_) resolve_idle_futures();
  DecrefQueue::of_this_thread().drain();
  if (pending) restore_exception(std::move(pending));
}

void DetachedHost::abandon_after_fork() noexcept {
  abandoned_ = true;
  registered_ = false;
  disarm_callbacks();
  // The descriptors are shared with the parent: neither written nor read any more, only closed with the host.
  for (const auto& io : io_) io->abandon_after_fork();
}

platform::Error DetachedHost::listen(platform::NativeSocket listener, bool unix_socket,
                                     std::int32_t io_thread) noexcept {
  if (io_thread == kAnyThread) return io_.front()->listen(listener, unix_socket, false);
  if (io_thread < 0 || static_cast<std::size_t>(io_thread) >= io_.size()) return {platform::Errc::unsupported, 0};
  return io_[static_cast<std::size_t>(io_thread)]->listen(listener, unix_socket, true);
}

void DetachedHost::stop_listening() noexcept {
  for (const auto& io : io_) io->stop_listening();
}

void DetachedHost::drain() noexcept {
  for (const auto& io : io_) io->drain();
}

void DetachedHost::abort() noexcept {
  for (const auto& io : io_) io->abort();
}

std::uint64_t DetachedHost::connections() const noexcept {
  if (placement_ != nullptr) return placement_->total();
  return io_.empty() ? 0 : io_.front()->connections();
}

// What is on its way between two threads is in the placement's count before the one that sent it says that it has
// nothing left.
std::uint64_t DetachedHost::unfinished() const noexcept {
  std::uint64_t sum = 0;
  for (const auto& io : io_) sum += io->unfinished();
  if (sum == 0 && placement_ != nullptr && !io_.empty()) sum = placement_->total();
  return sum;
}

bool DetachedHost::listening() noexcept {
  return std::any_of(io_.begin(), io_.end(), [](const auto& io) { return io->listening(); });
}

std::vector<IoStats> DetachedHost::io_stats() noexcept {
  std::vector<IoStats> all;
  all.reserve(io_.size());
  for (const auto& io : io_) all.push_back(io->stats());
  return all;
}

#ifdef Py_GIL_DISABLED
std::vector<IoStats> DetachedHost::published_io() noexcept {
  std::vector<IoStats> all;
  all.reserve(io_.size());
  for (const auto& io : io_) all.push_back(io->published());
  return all;
}
#endif

platform::Errc DetachedHost::open(FileOpening& request) noexcept {
  request.inbox = &inbox_;
  request.deliver = [](net::Letter& letter) noexcept {
    auto& opening = static_cast<FileOpening&>(letter);
    opening.deliver = opening.on_app_thread;
    opening.inbox->post(opening);
  };
  // In turn: a disk that hangs holds one loop's two threads up, not everybody's.
  next_opener_ = (next_opener_ + 1) % io_.size();
  return io_[next_opener_]->open(request);
}

void DetachedHost::on_wake() noexcept {
  ++stats_.wakes;
  // Before the inbox takes its flag back: a wake that comes in between is seen by the delivery, one after it is kept.
  wakeup_->clear();
}

PyObject* DetachedHost::tick() noexcept {
  in_tick_ = true;
  ++stats_.ticks;
  inbox_.deliver();
  DecrefQueue::of_this_thread().drain();
  const bool ok = !dispatcher_.has_pending() || dispatcher_.run_batch();
  if (commands_wait_) {
    commands_wait_ = false;
    for (const auto& io : io_) io->port().flush();
  }
  in_tick_ = false;
  return finish_tick(ok);
}

bool DetachedHost::has_work() const noexcept {
  return commands_wait_ || dispatcher_.has_pending() || !inbox_.empty() || !DecrefQueue::of_this_thread().empty();
}

void DetachedHost::on_request(http::AppExchange& exchange) noexcept { dispatcher_.start_later(exchange); }

void DetachedHost::on_object(void* object) noexcept {
  DecrefQueue::of_this_thread().push(static_cast<PyObject*>(object));
}

void DetachedHost::on_commands() noexcept {
  commands_wait_ = true;
  schedule_tick();
}

}  // namespace pyre::asgi
