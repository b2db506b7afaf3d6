#include "asgi/host.h"

#include "asgi/interned.h"

namespace pyre::asgi {

namespace {

// A callable without arguments that the event loop keeps. It outlives the host if the event loop still holds it.
struct HostCallback {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  Host* host;  // null once the host is gone
  PyObject* (Host::*method)() noexcept;
  [[no_unique_address]] ThreadOwner owner;
};
PyTypeObject callback_type = {PyVarObject_HEAD_INIT(nullptr, 0)};

PyObject* callback_call(PyObject* object, PyObject* const*, size_t, PyObject*) noexcept {
  auto* self = reinterpret_cast<HostCallback*>(object);
  if (!self->owner.is_here()) return raise_foreign_thread("a server's callback");
  if (self->host == nullptr) Py_RETURN_NONE;
  Host* host = self->host;
  host->enter();
  PyObject* result = (host->*self->method)();
  host->leave();
  return result;
}

PyRef new_callback(Host* host, PyObject* (Host::*method)() noexcept) noexcept {
  auto* self = PyObject_New(HostCallback, &callback_type);
  if (self == nullptr) return {};
  self->vectorcall = callback_call;
  self->host = host;
  self->method = method;
  self->owner = ThreadOwner::current();
  return PyRef::steal(reinterpret_cast<PyObject*>(self));
}

void disarm(PyRef& callback) noexcept {
  if (callback) reinterpret_cast<HostCallback*>(callback.get())->host = nullptr;
  callback.reset();
}

}  // namespace

bool init_host_types() {
  callback_type.tp_name = "pyre._core.HostCallback";
  callback_type.tp_basicsize = sizeof(HostCallback);
  callback_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL;
  callback_type.tp_call = PyVectorcall_Call;
  callback_type.tp_vectorcall_offset = offsetof(HostCallback, vectorcall);
  return PyType_Ready(&callback_type) == 0;
}

bool Host::init_host(const Dispatcher::Options& options, PyObject* on_max_requests) noexcept {
  loop_ = PyRef::borrow(options.loop);
  call_soon_ = PyRef::steal(PyObject_GetAttr(options.loop, names.call_soon));
  readable_callback_ = new_callback(this, &Host::on_readable);
  soon_callback_ = new_callback(this, &Host::on_soon);
  idle_futures_ = PyRef::steal(PyList_New(0));
  if (on_max_requests != nullptr && on_max_requests != Py_None) max_requests_callback_ = PyRef::borrow(on_max_requests);
  return call_soon_ && readable_callback_ && soon_callback_ && idle_futures_ && dispatcher_.init(options);
}

void Host::dispose(std::unique_ptr<Host> host, std::unique_ptr<http::AccessLog> log) noexcept {
  host->log_ = std::move(log);
  host->disposed_ = true;
  if (host->depth_ == 0) return;
  PyRef pending = take_exception();
  host->unregister();
  if (pending) restore_exception(std::move(pending));
  static_cast<void>(host.release());  // leave() deletes it
}

void Host::leave() noexcept {
  if (--depth_ == 0 && disposed_) delete this;
}

void Host::disarm_callbacks() noexcept {
  disarm(readable_callback_);
  disarm(soon_callback_);
}

void Host::schedule_tick() noexcept {
  if (scheduled_ || in_tick_ || !soon_callback_) return;
  scheduled_ = true;
  PyRef handle = PyRef::steal(PyObject_CallOneArg(call_soon_.get(), soon_callback_.get()));
  if (!handle) {  // the event loop is closing: nobody will run it
    scheduled_ = false;
    PyErr_Clear();
  }
}

PyObject* Host::on_soon() noexcept {
  scheduled_ = false;
  if (!has_work()) {
    after_tick();
    Py_RETURN_NONE;
  }
  return tick();
}

void Host::after_tick() noexcept {
  if (closed_) return;
  dispatcher_.clock_grows_old();
  before_sleep();
#ifdef Py_GIL_DISABLED
  if (!abandoned_) {
    const std::lock_guard lock(published_mutex_);
    published_dispatcher_ = dispatcher_.stats();
    published_stats_ = stats_;
  }
#endif
  if (has_work()) schedule_tick();
  if (max_requests_reached_ && max_requests_callback_) {
    PyRef callback = std::move(max_requests_callback_);
    PyRef result = PyRef::steal(PyObject_CallNoArgs(callback.get()));
    if (!result) PyErr_WriteUnraisable(callback.get());
  }
  if (PyList_GET_SIZE(idle_futures_.get()) > 0 && idle()) resolve_idle_futures();
}

PyObject* Host::finish_tick(bool ok) noexcept {
  PyRef pending = ok ? PyRef() : take_exception();
  after_tick();
  if (ok) Py_RETURN_NONE;
  restore_exception(std::move(pending));
  return nullptr;
}

void Host::resolve_idle_futures() noexcept {
  const PyRef futures = PyRef::steal(PyList_GetSlice(idle_futures_.get(), 0, PyList_GET_SIZE(idle_futures_.get())));
  if (!futures || PyList_SetSlice(idle_futures_.get(), 0, PyList_GET_SIZE(futures.get()), nullptr) != 0)
    return PyErr_Clear();
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures.get()); ++i) {
    PyObject* future = PyList_GET_ITEM(futures.get(), i);
    PyRef done = PyRef::steal(PyObject_CallMethodNoArgs(future, names.done));
    if (done && done.get() == Py_False)
      done = PyRef::steal(PyObject_CallMethodOneArg(future, names.set_result, Py_None));
    if (done) continue;
    if (!closed_)
      PyErr_WriteUnraisable(future);
    else
      PyErr_Clear();  // the event loop is closed, and nobody waits
  }
}

#ifdef Py_GIL_DISABLED
Snapshot Host::published() noexcept {
  const std::lock_guard lock(published_mutex_);
  return {published_io(), published_dispatcher_, published_stats_};
}
#endif

bool Host::add_idle_future(PyRef future) noexcept {
  if (PyList_Append(idle_futures_.get(), future.get()) != 0) return false;
  schedule_tick();
  return true;
}

}  // namespace pyre::asgi
