#include "asgi/detached_host.h"

#include "asgi/decref_queue.h"

namespace pyre::asgi {

using platform::Wakeup;

DetachedHost::DetachedHost(std::unique_ptr<net::Loop> loop, http::ServerOptions server_options) noexcept
    : Host(nullptr),
      io_(std::make_unique<IoThread>(std::move(loop), inbox_, static_cast<http::RemotePort::Application&>(*this),
                                     std::move(server_options))) {}

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
  if (io_->start()) return true;
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
    static_cast<void>(io_.release());
  } else if (io_) {
    io_->stop();
    // From here on there is one thread. What was on its way to the app is let go of, as far as that leads.
    do {
      while (inbox_.deliver() != 0) {
      }
      dispatcher_.detach_all();
      commands_wait_ = false;
      io_->finish();
    } while (!inbox_.empty());
    io_.reset();  // waits for the files that are being opened
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
  io_->abandon_after_fork();
}

platform::Error DetachedHost::listen(platform::NativeSocket listener, bool unix_socket) noexcept {
  return io_->listen(listener, unix_socket);
}

platform::Errc DetachedHost::open(FileOpening& request) noexcept {
  request.inbox = &inbox_;
  request.deliver = [](net::Letter& letter) noexcept {
    auto& opening = static_cast<FileOpening&>(letter);
    opening.deliver = opening.on_app_thread;
    opening.inbox->post(opening);
  };
  return io_->open(request);
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
    io_->port().flush();
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
