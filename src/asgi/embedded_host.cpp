#include "asgi/embedded_host.h"

#include "asgi/decref_queue.h"
#include "asgi/interned.h"
#include "platform/clock.h"

namespace pyre::asgi {

namespace {

constexpr std::chrono::milliseconds kSlowTake{1};
constexpr std::chrono::milliseconds kContendedFor{100};

// A callable without arguments that the event loop keeps. It outlives the host if the event loop still holds it.
struct HostCallback {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  EmbeddedHost* host;  // null once the host is gone
  PyObject* (EmbeddedHost::*method)() noexcept;
};
PyTypeObject callback_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

PyObject* callback_call(PyObject* object, PyObject* const*, size_t, PyObject*) noexcept {
  auto* self = reinterpret_cast<HostCallback*>(object);
  if (self->host == nullptr) Py_RETURN_NONE;
  EmbeddedHost* host = self->host;
  host->enter();
  PyObject* result = (host->*self->method)();
  host->leave();
  return result;
}

PyRef new_callback(EmbeddedHost* host, PyObject* (EmbeddedHost::*method)() noexcept) noexcept {
  auto* self = PyObject_New(HostCallback, &callback_type);
  if (self == nullptr) return {};
  self->vectorcall = callback_call;
  self->host = host;
  self->method = method;
  return PyRef::steal(reinterpret_cast<PyObject*>(self));
}

void disarm(PyRef& callback) noexcept {
  if (callback) reinterpret_cast<HostCallback*>(callback.get())->host = nullptr;
  callback.reset();
}

}  // namespace

bool init_embedded_host_types() {
  callback_type.tp_name = "pyre._core.HostCallback";
  callback_type.tp_basicsize = sizeof(HostCallback);
  callback_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL;
  callback_type.tp_call = PyVectorcall_Call;
  callback_type.tp_vectorcall_offset = offsetof(HostCallback, vectorcall);
  return PyType_Ready(&callback_type) == 0;
}

EmbeddedHost::EmbeddedHost(std::unique_ptr<net::Loop> loop) noexcept
    : net_loop_(std::move(loop)), dispatcher_(*net_loop_, *this) {}

EmbeddedHost::~EmbeddedHost() { close(); }

bool EmbeddedHost::init(const Dispatcher::Options& options, http::ServerOptions server_options,
                        PyObject* on_max_requests) noexcept {
  loop_ = PyRef::borrow(options.loop);
  call_soon_ = PyRef::steal(PyObject_GetAttr(options.loop, names.call_soon));
  readable_callback_ = new_callback(this, &EmbeddedHost::on_readable);
  soon_callback_ = new_callback(this, &EmbeddedHost::on_soon);
  idle_futures_ = PyRef::steal(PyList_New(0));
  if (on_max_requests != nullptr && on_max_requests != Py_None) max_requests_callback_ = PyRef::borrow(on_max_requests);
  if (!call_soon_ || !readable_callback_ || !soon_callback_ || !idle_futures_ || !dispatcher_.init(options))
    return false;
  server_ = std::make_unique<http::Server>(*net_loop_, dispatcher_, std::move(server_options));
  PyRef added = PyRef::steal(PyObject_CallMethod(loop_.get(), "add_reader", "iO",
                                                 static_cast<int>(net_loop_->reactor().pollable_handle()),
                                                 readable_callback_.get()));
  registered_ = static_cast<bool>(added);
  return registered_;
}

void EmbeddedHost::dispose(std::unique_ptr<EmbeddedHost> host, std::unique_ptr<http::AccessLog> log) noexcept {
  host->log_ = std::move(log);
  host->disposed_ = true;
  if (host->depth_ == 0) return;
  PyRef pending = take_exception();
  host->unregister();
  if (pending) restore_exception(std::move(pending));
  static_cast<void>(host.release());  // leave() deletes it
}

void EmbeddedHost::leave() noexcept {
  if (--depth_ == 0 && disposed_) delete this;
}

void EmbeddedHost::unregister() noexcept {
  if (registered_) {
    registered_ = false;
    PyRef removed = PyRef::steal(PyObject_CallMethod(loop_.get(), "remove_reader", "i",
                                                     static_cast<int>(net_loop_->reactor().pollable_handle())));
    if (!removed) PyErr_Clear();  // the event loop is closed already
  }
  disarm(readable_callback_);
  disarm(soon_callback_);
}

void EmbeddedHost::close() noexcept {
  if (!server_) return;
  PyRef pending = take_exception();
  unregister();
  server_->stop_listening();
  server_->abort();  // before the requests are detached: a request that is given up on a live connection would begin
                     // the next
  dispatcher_.detach_all();
  // Closing is asynchronous but local: a few ticks without waiting. The bound is only there so that a bug cannot hang
  // the exit.
  for (int i = 0; i < 10'000 && !server_->closed(); ++i) net_loop_->run_once(platform::TimePoint::min());
  if (abandoned_) static_cast<void>(server_.release());  // its connections can never be closed
  server_.reset();
  resolve_idle_futures();
  DecrefQueue::of_this_thread().drain();
  if (pending) restore_exception(std::move(pending));
}

void EmbeddedHost::abandon_after_fork() noexcept {
  abandoned_ = true;
  registered_ = false;
  disarm(readable_callback_);
  disarm(soon_callback_);
  net_loop_->abandon_after_fork();
}

void EmbeddedHost::schedule_tick() noexcept {
  if (scheduled_ || in_tick_ || !soon_callback_) return;
  scheduled_ = true;
  PyRef handle = PyRef::steal(PyObject_CallOneArg(call_soon_.get(), soon_callback_.get()));
  if (!handle) {  // the event loop is closing: nobody will run it
    scheduled_ = false;
    PyErr_Clear();
  }
}

PyObject* EmbeddedHost::on_readable() noexcept { return tick(); }

PyObject* EmbeddedHost::on_soon() noexcept {
  scheduled_ = false;
  if (!net_loop_->has_work() && !dispatcher_.has_pending()) {
    after_tick();
    Py_RETURN_NONE;
  }
  return tick();
}

void EmbeddedHost::io_section() noexcept {
  if (net_loop_->now() < contended_until_) {
    ++stats_.sections_with_gil;
    net_loop_->run_once(platform::TimePoint::min());
  } else {
    ++stats_.gil_releases;
    PyThreadState* state = PyEval_SaveThread();
    net_loop_->run_once(platform::TimePoint::min());
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
  if (!dispatcher_.has_pending()) io_section();
  bool ok = true;
  if (dispatcher_.has_pending()) {
    ok = dispatcher_.run_batch();
    PyRef pending = ok ? PyRef() : take_exception();
    io_section();
    if (pending) restore_exception(std::move(pending));
  }
  in_tick_ = false;
  if (!ok) {
    PyRef pending = take_exception();
    after_tick();
    restore_exception(std::move(pending));
    return nullptr;
  }
  after_tick();
  Py_RETURN_NONE;
}

void EmbeddedHost::after_tick() noexcept {
  if (!server_) return;
  dispatcher_.clock_grows_old();
  net_loop_->arm_alarm();
  if (dispatcher_.has_pending() || net_loop_->has_work()) schedule_tick();
  if (max_requests_reached_ && max_requests_callback_) {
    PyRef callback = std::move(max_requests_callback_);
    PyRef result = PyRef::steal(PyObject_CallNoArgs(callback.get()));
    if (!result) PyErr_WriteUnraisable(callback.get());
  }
  if (PyList_GET_SIZE(idle_futures_.get()) > 0 && idle()) resolve_idle_futures();
}

void EmbeddedHost::resolve_idle_futures() noexcept {
  const PyRef futures = PyRef::steal(PyList_GetSlice(idle_futures_.get(), 0, PyList_GET_SIZE(idle_futures_.get())));
  if (!futures || PyList_SetSlice(idle_futures_.get(), 0, PyList_GET_SIZE(futures.get()), nullptr) != 0)
    return PyErr_Clear();
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures.get()); ++i) {
    PyObject* future = PyList_GET_ITEM(futures.get(), i);
    PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(future, names.done));
    if (done && done.get() == Py_False)
      done = PyRef::steal(PyObject_CallMethodOneArg(future, names.set_result, Py_None));
    if (done) continue;
    if (server_)
      PyErr_WriteUnraisable(future);
    else
      PyErr_Clear();  // the event loop is closed, and nobody waits
  }
}

bool EmbeddedHost::idle() const noexcept {
  return !server_ || (server_->stats().connections_open == 0 && dispatcher_.active() == 0);
}

bool EmbeddedHost::add_idle_future(PyRef future) noexcept {
  if (PyList_Append(idle_futures_.get(), future.get()) != 0) return false;
  schedule_tick();
  return true;
}

}  // namespace pyre::asgi
