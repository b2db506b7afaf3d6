#include "asgi/receive.h"

#include "asgi/coroutine_like.h"
#include "asgi/dispatcher.h"
#include "asgi/freelist.h"
#include "asgi/interned.h"
#include "asgi/send.h"

namespace pyre::asgi {

namespace {

struct Receive {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  HttpCycle* cycle;
};

struct ReceiveAwaitable {
  PyObject ob_base;
  HttpCycle* cycle;  // null when it is over
  Waiter* waiter;
  [[no_unique_address]] ThreadOwner owner;
};

PyTypeObject receive_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyTypeObject awaitable_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
Freelist<Receive> receive_freelist;
Freelist<ReceiveAwaitable> awaitable_freelist;
#ifndef Py_GIL_DISABLED
PyObject* disconnect_template = nullptr;  // copied for each event: an app may change its event
PyObject* request_template = nullptr;     // {"type": "http.request", "body": b"", "more_body": False}
#endif

// Without a GIL this may be another thread, in which the collector runs, or the last reference was dropped: then the
// waiter stays in its list. Nobody waits for it any more.
void drop(ReceiveAwaitable* self) noexcept {
  if (self->cycle != nullptr && self->waiter != nullptr && self->owner.is_here())
    remove_waiter(self->cycle->receive_waiters, self->waiter);
  Py_CLEAR(self->waiter);
  Py_CLEAR(self->cycle);
}

bool stop(ReceiveAwaitable* self) noexcept {
  if (!self->owner.is_here()) return raise_foreign_thread("receive()") != nullptr;
  drop(self);
  return true;
}

#ifdef Py_GIL_DISABLED
// Not from the templates: to copy a dict is to lock it, and all loops would wait for one.
PyObject* new_request() noexcept {
  PyRef event = PyRef::steal(PyDict_New());
  const bool made = event && PyDict_SetItem(event.get(), names.type, names.http_request) == 0 &&
                    PyDict_SetItem(event.get(), names.body, names.empty_bytes) == 0 &&
                    PyDict_SetItem(event.get(), names.more_body, Py_False) == 0;
  return made ? event.release() : nullptr;
}
PyObject* new_disconnect() noexcept {
  PyRef event = PyRef::steal(PyDict_New());
  return event && PyDict_SetItem(event.get(), names.type, names.http_disconnect) == 0 ? event.release() : nullptr;
}
#else
PyObject* new_request() noexcept { return PyDict_Copy(request_template); }
PyObject* new_disconnect() noexcept { return PyDict_Copy(disconnect_template); }
#endif

// A new http.request event with what has arrived.
PyObject* request_event(HttpCycle* cycle) noexcept {
  PyRef event = PyRef::steal(new_request());  // may run the garbage collector, and thereby any code
  if (!event) return nullptr;
  if (cycle->exchange == nullptr) return new_disconnect();
  http::AppExchange& exchange = *cycle->exchange;
  const std::uint64_t size = exchange.body_available();
  if (size > 0) {
    PyRef body = PyRef::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
    if (!body) return nullptr;
    exchange.read_body({reinterpret_cast<std::byte*>(PyBytes_AS_STRING(body.get())), static_cast<std::size_t>(size)});
    if (PyDict_SetItem(event.get(), names.body, body.get()) != 0) return nullptr;
  }
  if (exchange.body_complete() && exchange.body_available() == 0) {
    cycle->body_delivered = true;
  } else if (PyDict_SetItem(event.get(), names.more_body, Py_True) != 0) {
    return nullptr;
  }
  if (cycle->dispatcher != nullptr) cycle->dispatcher->note_work();  // reading may go on
  return event.release();
}

// The next event: a new reference; or null, with *wait true if there is none yet, or an exception set.
PyObject* next_event(HttpCycle* cycle, bool* wait) noexcept {
  *wait = false;
  if (!receive_ready(cycle)) {
    *wait = true;
    return nullptr;
  }
  const http::AppExchange* exchange = cycle->exchange;
  const bool body_waits = exchange != nullptr && !exchange->dead() && !exchange->complete() && !cycle->body_delivered &&
                          (exchange->body_available() > 0 || exchange->body_complete());
  return body_waits ? request_event(cycle) : new_disconnect();
}

PySendResult step(ReceiveAwaitable* self, PyObject*, PyObject** result) noexcept {
  *result = nullptr;
  // Here, not where receive() is called: a2wsgi calls it in a thread and runs it on the loop.
  if (!self->owner.is_here()) {
    raise_foreign_thread("receive()");
    return PYGEN_ERROR;
  }
  if (self->cycle == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited receive()");
    return PYGEN_ERROR;
  }
  if (is_foreign(self->cycle)) {
    raise_foreign_thread("receive()");
    return PYGEN_ERROR;
  }
  if (self->waiter != nullptr) {
    remove_waiter(self->cycle->receive_waiters, self->waiter);
    Py_CLEAR(self->waiter);
  }
  bool wait = false;
  *result = next_event(self->cycle, &wait);
  if (*result != nullptr) {
    Py_CLEAR(self->cycle);
    return PYGEN_RETURN;
  }
  if (!wait) {
    Py_CLEAR(self->cycle);
    return PYGEN_ERROR;
  }
  self->waiter = add_waiter(self->cycle, self->cycle->receive_waiters);
  if (self->waiter == nullptr) return PYGEN_ERROR;
  if (!self->cycle->body_delivered && self->cycle->exchange != nullptr) {
    self->cycle->exchange->want_body();
    self->cycle->dispatcher->note_work();
  }
  *result = Py_NewRef(reinterpret_cast<PyObject*>(self->waiter));
  return PYGEN_NEXT;
}

using Awaitable = CoroutineLike<ReceiveAwaitable, step, stop>;

void awaitable_dealloc(PyObject* object) noexcept {
  auto* self = reinterpret_cast<ReceiveAwaitable*>(object);
  drop(self);
  awaitable_freelist.give(self);
}

PyObject* call(PyObject* object, PyObject* const*, size_t nargsf, PyObject* keywords) noexcept {
  auto* self = reinterpret_cast<Receive*>(object);
  if (PyVectorcall_NARGS(nargsf) != 0 || (keywords != nullptr && PyTuple_GET_SIZE(keywords) != 0)) {
    PyErr_SetString(PyExc_TypeError, "receive() takes no arguments");
    return nullptr;
  }
  ReceiveAwaitable* awaitable = awaitable_freelist.take(awaitable_type);
  if (awaitable == nullptr) return nullptr;
  awaitable->cycle = reinterpret_cast<HttpCycle*>(Py_NewRef(reinterpret_cast<PyObject*>(self->cycle)));
  awaitable->waiter = nullptr;
  awaitable->owner = self->cycle->owner;
  return reinterpret_cast<PyObject*>(awaitable);
}

void receive_dealloc(PyObject* object) noexcept {
  auto* self = reinterpret_cast<Receive*>(object);
  Py_CLEAR(self->cycle);
  receive_freelist.give(self);
}

}  // namespace

bool init_receive_types() {
  Awaitable::fill(awaitable_type);
  awaitable_type.tp_name = "pyre._core.ReceiveAwaitable";
  awaitable_type.tp_basicsize = sizeof(ReceiveAwaitable);
  awaitable_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  awaitable_type.tp_dealloc = awaitable_dealloc;
  receive_type.tp_name = "pyre._core.receive";
  receive_type.tp_doc = "await receive() -> the next ASGI event of this request.";
  receive_type.tp_basicsize = sizeof(Receive);
  receive_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL;
  receive_type.tp_dealloc = receive_dealloc;
  receive_type.tp_call = PyVectorcall_Call;
  receive_type.tp_vectorcall_offset = offsetof(Receive, vectorcall);
#ifndef Py_GIL_DISABLED
  request_template = Py_BuildValue("{O:O,O:O,O:O}", names.type, names.http_request, names.body, names.empty_bytes,
                                   names.more_body, Py_False);
  disconnect_template = Py_BuildValue("{O:O}", names.type, names.http_disconnect);
  if (request_template == nullptr || disconnect_template == nullptr) return false;
#endif
  return PyType_Ready(&awaitable_type) == 0 && PyType_Ready(&receive_type) == 0;
}

PyObject* new_receive(HttpCycle* cycle) noexcept {
  Receive* self = receive_freelist.take(receive_type);
  if (self == nullptr) return nullptr;
  self->vectorcall = call;
  self->cycle = reinterpret_cast<HttpCycle*>(Py_NewRef(reinterpret_cast<PyObject*>(cycle)));
  return reinterpret_cast<PyObject*>(self);
}

bool receive_ready(const HttpCycle* cycle) noexcept {
  const http::AppExchange* exchange = cycle->exchange;
  if (exchange == nullptr || exchange->dead() || exchange->complete()) return true;  // http.disconnect
  if (!cycle->body_delivered) return exchange->body_available() > 0 || exchange->body_complete();
  return exchange->peer_finished();
}

}  // namespace pyre::asgi
