#include "asgi/http_cycle.h"

#include "asgi/coroutine_like.h"
#include "asgi/dispatcher.h"
#include "asgi/freelist.h"
#include "asgi/interned.h"
#include "asgi/receive.h"
#include "asgi/send.h"

namespace pyre::asgi {

PyObject* client_disconnected = nullptr;

namespace {

PyTypeObject cycle_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
Freelist<HttpCycle> freelist;

HttpCycle* as_cycle(PyObject* object) noexcept { return reinterpret_cast<HttpCycle*>(object); }

void drop_waiters(Waiter*& list) noexcept {
  while (list != nullptr) {
    Waiter* waiter = list;
    list = waiter->next;
    waiter->next = nullptr;
    Py_DECREF(waiter);
  }
}

void dealloc(PyObject* object) noexcept {
  HttpCycle* self = as_cycle(object);
  // A task that was destroyed before its coroutine ended (the loop was closed under it). An exception that is on its
  // way through whoever let go of us is not the app's.
  if (!self->finished) {
    PyRef pending = take_exception();
    finish(self);
    if (pending) restore_exception(std::move(pending));
  }
  Py_CLEAR(self->coroutine);
  Py_CLEAR(self->task);
  drop_waiters(self->receive_waiters);
  drop_waiters(self->send_waiters);
  freelist.give(self);
}

// What the app's coroutine did, seen from the task. NEXT passes through; an end finishes the cycle.
PySendResult settle(HttpCycle* self, PySendResult status, PyObject** result) noexcept {
  if (status == PYGEN_NEXT) return status;
  if (status == PYGEN_RETURN) {
    Py_SETREF(*result, Py_NewRef(Py_None));
    finish(self);
    return PYGEN_RETURN;
  }
  // Cancellation must end the task as cancelled, else asyncio.timeout(), task groups and our own abort misread it.
  if (PyErr_ExceptionMatches(cancelled_error) || PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
    PyRef exception = take_exception();
    if (!self->aborted) restore_exception(PyRef::borrow(exception.get()));
    finish(self);
    restore_exception(std::move(exception));
    return PYGEN_ERROR;
  }
  finish(self);
  *result = Py_NewRef(Py_None);
  return PYGEN_RETURN;
}

// A step from inside a step (the app has its coroutine by Task.get_coro()) must not finish what is running; nor must
// one in another thread.
bool refuse_step(const HttpCycle* self) noexcept {
  if (!self->owner.is_here()) {
    raise_foreign_thread("the coroutine of a request");
    return true;
  }
  if (self->running) PyErr_SetString(PyExc_ValueError, "coroutine already executing");
  return self->running;
}

PySendResult am_send(PyObject* object, PyObject* value, PyObject** result) noexcept {
  HttpCycle* self = as_cycle(object);
  *result = nullptr;
  if (refuse_step(self)) return PYGEN_ERROR;
  if (self->coroutine == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse an ASGI request's coroutine that has ended");
    return PYGEN_ERROR;
  }
  PyRef hold = PyRef::borrow(object);  // finish() may drop the last other reference
  self->running = true;
  const PySendResult status = PyIter_Send(self->coroutine, value, result);
  self->running = false;
  return settle(self, status, result);
}

PyObject* to_object(PySendResult status, PyObject* result) noexcept {
  if (status == PYGEN_NEXT) return result;
  if (status == PYGEN_RETURN) set_stop_iteration(result);
  return nullptr;
}

PyObject* send_method(PyObject* object, PyObject* value) noexcept {
  PyObject* result = nullptr;
  const PySendResult status = am_send(object, value, &result);
  return to_object(status, result);
}

PyObject* next(PyObject* object) noexcept { return send_method(object, Py_None); }

PyObject* throw_method(PyObject* object, PyObject* const* arguments, Py_ssize_t count) noexcept {
  HttpCycle* self = as_cycle(object);
  if (refuse_step(self)) return nullptr;
  if (self->coroutine == nullptr) {
    restore_thrown(arguments, count);
    return nullptr;
  }
  PyRef hold = PyRef::borrow(object);
  PyRef method = PyRef::steal(PyObject_GetAttr(self->coroutine, names.throw_));
  if (!method) {  // an awaitable without throw(): it just ends
    PyErr_Clear();
    restore_thrown(arguments, count);
    PyObject* none = nullptr;
    return to_object(settle(self, PYGEN_ERROR, &none), none);
  }
  self->running = true;
  PyObject* result = PyObject_Vectorcall(method.get(), arguments, static_cast<size_t>(count), nullptr);
  self->running = false;
  if (result != nullptr) return result;
  PySendResult status = PYGEN_ERROR;
  if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
    PyErr_Clear();
    result = Py_NewRef(Py_None);
    status = PYGEN_RETURN;
  }
  status = settle(self, status, &result);
  return to_object(status, result);
}

PyObject* close_method(PyObject* object, PyObject*) noexcept {
  HttpCycle* self = as_cycle(object);
  if (refuse_step(self)) return nullptr;
  if (self->coroutine == nullptr) Py_RETURN_NONE;
  PyRef hold = PyRef::borrow(object);
  self->running = true;
  PyRef ignored = PyRef::steal(PyObject_CallMethodNoArgs(self->coroutine, names.close));
  self->running = false;
  finish(self);
  if (!ignored && PyErr_Occurred() != nullptr) return nullptr;
  Py_RETURN_NONE;
}

PyObject* iterate(PyObject* object) noexcept { return Py_NewRef(object); }

// cr_frame, cr_code, ... of the app's coroutine: Task.get_stack(), Task's repr and debuggers ask for them.
PyObject* get_from_coroutine(PyObject* object, void* attribute) noexcept {
  HttpCycle* self = as_cycle(object);
  if (!self->owner.is_here() || self->coroutine == nullptr) {  // it may end at any time, on its thread
    PyErr_SetString(PyExc_AttributeError, static_cast<const char*>(attribute));
    return nullptr;
  }
  return PyObject_GetAttrString(self->coroutine, static_cast<const char*>(attribute));
}

PyObject* get_name(PyObject* object, void* attribute) noexcept {
  HttpCycle* self = as_cycle(object);
  PyObject* value = !self->owner.is_here() || self->coroutine == nullptr
                        ? nullptr
                        : PyObject_GetAttrString(self->coroutine, static_cast<const char*>(attribute));
  if (value != nullptr) return value;
  PyErr_Clear();
  return PyUnicode_FromString("asgi_request");
}

// Those who still wait (another task of the app's) learn that it is over. By way of the event loop: a task may be
// running.
void release_waiters(HttpCycle* self) noexcept {
  for (Waiter** list : {&self->receive_waiters, &self->send_waiters}) {
    while (*list != nullptr) {
      Waiter* waiter = *list;
      *list = waiter->next;
      waiter->next = nullptr;
      wake_soon(waiter);
      Py_DECREF(waiter);
    }
  }
}

// The app gave up because its client went away: our OSError, or what a framework made of it (Starlette raises
// ClientDisconnect from it).
bool tells_of_disconnect(PyObject* exception) noexcept {
  constexpr int kChain = 16;  // a chain may be a ring
  PyRef link = PyRef::borrow(exception);
  for (int i = 0; link && i < kChain; ++i) {
    if (PyErr_GivenExceptionMatches(link.get(), PyExc_OSError) != 0) return true;
    PyRef next = PyRef::steal(PyException_GetCause(link.get()));
    if (!next) next = PyRef::steal(PyException_GetContext(link.get()));
    link = std::move(next);
  }
  return false;
}

void unlink(HttpCycle* self) noexcept {
  if (self->dispatcher != nullptr) self->dispatcher->forget(*self);
}

}  // namespace

PyObject* raise_foreign_thread(const char* what) noexcept {
  PyErr_Format(PyExc_RuntimeError,
               "%s was used in a thread that is not its event loop's; use asyncio.run_coroutine_threadsafe(), or "
               "loop.call_soon_threadsafe()",
               what);
  return nullptr;
}

bool init_http_cycle_types() {
  static PyAsyncMethods async_methods{};
  async_methods.am_await = iterate;
  async_methods.am_send = am_send;
  static PyMethodDef methods[] = {{"send", as_method(send_method), METH_O, nullptr},
                                  {"throw", as_method(throw_method), METH_FASTCALL, nullptr},
                                  {"close", as_method(close_method), METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static char cr_frame[] = "cr_frame", cr_code[] = "cr_code", cr_await[] = "cr_await", cr_running[] = "cr_running",
              cr_suspended[] = "cr_suspended", name[] = "__name__", qualname[] = "__qualname__";
  static PyGetSetDef getset[] = {{cr_frame, get_from_coroutine, nullptr, nullptr, cr_frame},
                                 {cr_code, get_from_coroutine, nullptr, nullptr, cr_code},
                                 {cr_await, get_from_coroutine, nullptr, nullptr, cr_await},
                                 {cr_running, get_from_coroutine, nullptr, nullptr, cr_running},
                                 {cr_suspended, get_from_coroutine, nullptr, nullptr, cr_suspended},
                                 {name, get_name, nullptr, nullptr, name},
                                 {qualname, get_name, nullptr, nullptr, qualname},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  cycle_type.tp_name = "pyre._core.HttpCycle";
  cycle_type.tp_doc = "The coroutine of one ASGI request.";
  cycle_type.tp_basicsize = sizeof(HttpCycle);
  cycle_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  cycle_type.tp_dealloc = dealloc;
  cycle_type.tp_as_async = &async_methods;
  cycle_type.tp_iter = iterate;
  cycle_type.tp_iternext = next;
  cycle_type.tp_methods = methods;
  cycle_type.tp_getset = getset;
  if (PyType_Ready(&cycle_type) != 0) return false;
  return init_receive_types() && init_send_types();
}

HttpCycle* new_cycle(Dispatcher& dispatcher, http::AppExchange& exchange) noexcept {
  HttpCycle* self = freelist.take(cycle_type);
  if (self == nullptr) return nullptr;
  self->exchange = &exchange;
  self->dispatcher = &dispatcher;
  self->coroutine = self->task = nullptr;
  self->receive_waiters = self->send_waiters = nullptr;
  self->previous = self->next = nullptr;
  self->body_delivered = self->finished = self->running = self->aborted = self->trailers_follow = self->path_opened =
      false;
  self->owner = ThreadOwner::current();
  exchange.app = self;
  dispatcher.remember(*self);
  return self;
}

bool call_app(HttpCycle* cycle, PyObject* app, PyObject* scope) noexcept {
  PyRef receive = PyRef::steal(new_receive(cycle));
  PyRef send = PyRef::steal(new_send(cycle));
  if (!receive || !send) return false;
  PyObject* arguments[4] = {nullptr, scope, receive.get(), send.get()};
  PyRef awaitable = PyRef::steal(PyObject_Vectorcall(app, arguments + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
  if (!awaitable) return false;
  if (PyCoro_CheckExact(awaitable.get())) {
    cycle->coroutine = awaitable.release();
    return true;
  }
  const PyAsyncMethods* async_methods = Py_TYPE(awaitable.get())->tp_as_async;
  if (async_methods == nullptr || async_methods->am_await == nullptr) {
    if (PyGen_CheckExact(awaitable.get())) {  // @types.coroutine
      cycle->coroutine = awaitable.release();
      return true;
    }
    PyErr_Format(PyExc_TypeError,
                 "the ASGI app returned %.100s, which cannot be awaited; is it a WSGI or ASGI 2 app (--interface)?",
                 Py_TYPE(awaitable.get())->tp_name);
    return false;
  }
  cycle->coroutine = async_methods->am_await(awaitable.get());
  return cycle->coroutine != nullptr;
}

void finish(HttpCycle* self) noexcept {
  if (self->finished) return;
  self->finished = true;
  PyRef exception = take_exception();
  if (http::AppExchange* exchange = self->exchange; exchange != nullptr && self->dispatcher != nullptr) {
    if (exception) {
      const bool expected = exchange->dead() && tells_of_disconnect(exception.get());
      if (!expected) self->dispatcher->report_app_error(exception.get(), exchange->request());
    } else if (!exchange->complete() && !exchange->dead() && !self->aborted) {
      PyErr_SetString(PyExc_RuntimeError, exchange->started() ? "the ASGI app returned without completing its response"
                                                              : "the ASGI app returned without starting a response");
      PyRef error = take_exception();
      self->dispatcher->report_app_error(error.get(), exchange->request());
    }
  }
  // Only now: whoever was told of the error may have closed the engine, which detaches us.
  if (http::AppExchange* exchange = std::exchange(self->exchange, nullptr);
      exchange != nullptr && self->dispatcher != nullptr) {
    exchange->app = nullptr;
    if (!exchange->complete()) exchange->fail(self->aborted ? 503 : 500);
    self->dispatcher->release(*exchange);
    // Outside of a tick nobody else would write the answer, or see that all requests are over.
    self->dispatcher->note_work();
  }
  unlink(self);
  self->dispatcher = nullptr;
  release_waiters(self);
  Py_CLEAR(self->coroutine);
  Py_CLEAR(self->task);
}

void wake_waiters(HttpCycle* self) noexcept {
  PyRef hold = PyRef::borrow(reinterpret_cast<PyObject*>(self));
  PyRef fatal;  // KeyboardInterrupt or SystemExit: left set for the event loop
  auto wake_all = [&fatal](Waiter*& list) {
    Waiter* taken = std::exchange(list, nullptr);
    while (taken != nullptr) {
      Waiter* waiter = std::exchange(taken, taken->next);
      waiter->next = nullptr;
      wake(waiter, fatal);
      Py_DECREF(waiter);
    }
  };
  if (self->receive_waiters != nullptr && receive_ready(self)) wake_all(self->receive_waiters);
  if (self->send_waiters != nullptr && send_ready(self)) wake_all(self->send_waiters);
  if (fatal) restore_exception(std::move(fatal));
}

void detach(HttpCycle* self) noexcept {
  PyRef hold = PyRef::borrow(reinterpret_cast<PyObject*>(self));
  if (http::AppExchange* exchange = std::exchange(self->exchange, nullptr); exchange != nullptr) {
    exchange->app = nullptr;
    exchange->release();
  }
  self->dispatcher = nullptr;
  release_waiters(self);
  Py_CLEAR(self->task);  // else the task, which owns this coroutine, would be kept for ever
}

Waiter* add_waiter(HttpCycle* cycle, Waiter*& list) noexcept {
  if (cycle->dispatcher == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the server of this request was closed");
    return nullptr;
  }
  Waiter* waiter = new_waiter(cycle->dispatcher->loop());
  if (waiter == nullptr) return nullptr;
  waiter->next = list;
  list = waiter;
  Py_INCREF(waiter);
  return waiter;
}

void remove_waiter(Waiter*& list, Waiter* waiter) noexcept {
  for (Waiter** link = &list; *link != nullptr; link = &(*link)->next) {
    if (*link != waiter) continue;
    *link = waiter->next;
    waiter->next = nullptr;
    Py_DECREF(waiter);
    return;
  }
}

}  // namespace pyre::asgi
