#include "asgi/send.h"

#include <atomic>
#include <cstring>
#include <new>

#include "asgi/coroutine_like.h"
#include "asgi/decref_queue.h"
#include "asgi/dispatcher.h"
#include "asgi/freelist.h"
#include "asgi/interned.h"
#include "asgi/os_error.h"
#include "asgi/response_event.h"

namespace pyre::asgi {

namespace {

struct Send {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  HttpCycle* cycle;
};

// Returned when nothing is to be waited for: one object for all.
struct SendDone {
  PyObject ob_base;
};

// The opening of a path, shared by the awaitable and the file pool: the last of the two to let go deletes it. Without a
// GIL the awaitable may die on any thread, while the answer arrives.
struct PathOpen : FileOpening {
  enum class State : unsigned char { under_way, completed, abandoned };
  explicit PathOpen(HttpCycle* c) noexcept
      : FileOpening(delivered), cycle(PyRef::borrow(reinterpret_cast<PyObject*>(c))) {}
  [[nodiscard]] HttpCycle* owner() const noexcept { return reinterpret_cast<HttpCycle*>(cycle.get()); }
  [[nodiscard]] bool completed() const noexcept { return state.load(std::memory_order_acquire) == State::completed; }
  // The last one's.
  static void destroy(PathOpen* path) noexcept {
    if (path->file != platform::no_file) platform::close_file(path->file);
    delete path;
  }
  static void delivered(net::Letter& letter) noexcept;

  PyRef cycle;
  std::atomic<State> state{State::under_way};
};

struct SendWait {
  PyObject ob_base;
  HttpCycle* cycle;  // null when it is over
  Waiter* waiter;
  PathOpen* path;
  PyObject* event;  // not taken yet: send() was called in another thread
  [[no_unique_address]] ThreadOwner owner;
};

PyTypeObject send_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyTypeObject done_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyTypeObject wait_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
Freelist<Send> send_freelist;
Freelist<SendWait> wait_freelist;
// Static: without a GIL it is immortal so, and its reference count no memory that all loops write to.
SendDone send_done_object = {PyObject_HEAD_INIT(&done_type)};
PyObject* const send_done = &send_done_object.ob_base;

PyObject* send_event(HttpCycle* cycle, PyObject* given) noexcept;

PySendResult done_step(SendDone*, PyObject*, PyObject** result) noexcept {
  *result = Py_NewRef(Py_None);
  return PYGEN_RETURN;
}
bool done_stop(SendDone*) noexcept { return true; }
using Done = CoroutineLike<SendDone, done_step, done_stop>;

// On the app's thread, with or without the GIL.
void PathOpen::delivered(net::Letter& letter) noexcept {
  auto& self = static_cast<PathOpen&>(letter);
  if (self.state.load(std::memory_order_acquire) != PathOpen::State::abandoned) {
    HttpCycle* cycle = self.owner();
    cycle->path_opened = true;
    if (cycle->exchange != nullptr && cycle->dispatcher != nullptr) cycle->dispatcher->wake_later(*cycle->exchange);
  }
  if (self.state.exchange(PathOpen::State::completed, std::memory_order_acq_rel) != PathOpen::State::abandoned) return;
  DecrefQueue::of_this_thread().push(self.cycle.release());
  PathOpen::destroy(&self);
}

void drop_path(SendWait* self) noexcept {
  PathOpen* path = std::exchange(self->path, nullptr);
  if (path == nullptr) return;
  if (path->state.exchange(PathOpen::State::abandoned, std::memory_order_acq_rel) == PathOpen::State::completed)
    PathOpen::destroy(path);
}

// Without a GIL this may be another thread, in which the collector runs, or the last reference was dropped: then the
// waiter stays in its list. Nobody waits for it any more.
void drop_wait(SendWait* self) noexcept {
  if (self->cycle != nullptr && self->waiter != nullptr && self->owner.is_here())
    remove_waiter(self->cycle->send_waiters, self->waiter);
  Py_CLEAR(self->waiter);
  Py_CLEAR(self->event);
  drop_path(self);
  Py_CLEAR(self->cycle);
}

bool wait_stop(SendWait* self) noexcept {
  if (!self->owner.is_here()) return raise_foreign_thread("send()") != nullptr;
  drop_wait(self);
  return true;
}

// The path is open, or could not be opened: queues the file. False with an exception set.
bool use_path(SendWait* self) noexcept {
  self->cycle->path_opened = false;
  PathOpen* path = self->path;
  if (path->error.code != platform::Errc::ok) {
    raise_os_error(path->error, path->path.c_str());
    drop_path(self);
    return false;
  }
  if (!path->info.regular) {
    PyErr_Format(PyExc_OSError, "http.response.pathsend: not a regular file: '%s'", path->path.c_str());
    drop_path(self);
    return false;
  }
  const platform::NativeFile file = std::exchange(path->file, platform::no_file);
  const std::uint64_t size = path->info.size;
  drop_path(self);
  return write_opened_file(self->cycle, file, 0, size, true);
}

// Takes the event of a send() that was called in another thread. False with an exception set.
bool take_event(SendWait* self) noexcept {
  if (is_foreign(self->cycle)) {
    raise_foreign_thread("send()");
    return false;
  }
  PyRef event = PyRef::steal(std::exchange(self->event, nullptr));
  PyRef awaitable = PyRef::steal(send_event(self->cycle, event.get()));
  if (!awaitable) return false;
  if (Py_IS_TYPE(awaitable.get(), &wait_type))
    self->path = std::exchange(reinterpret_cast<SendWait*>(awaitable.get())->path, nullptr);
  return true;
}

PySendResult wait_step(SendWait* self, PyObject*, PyObject** result) noexcept {
  *result = nullptr;
  if (!self->owner.is_here()) {
    raise_foreign_thread("send()");
    return PYGEN_ERROR;
  }
  if (self->cycle == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited send()");
    return PYGEN_ERROR;
  }
  if (self->waiter != nullptr) {
    remove_waiter(self->cycle->send_waiters, self->waiter);
    Py_CLEAR(self->waiter);
  }
  if ((self->event != nullptr && !take_event(self)) ||
      (self->path != nullptr && self->path->completed() && !use_path(self))) {
    drop_wait(self);
    return PYGEN_ERROR;
  }
  http::AppExchange* exchange = self->cycle->exchange;
  if (exchange != nullptr && exchange->dead()) {
    raise_outcome(http::Outcome::dead, "");
    drop_wait(self);
    return PYGEN_ERROR;
  }
  if (exchange == nullptr || (self->path == nullptr && !exchange->should_wait())) {
    drop_wait(self);
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
  }
  self->waiter = add_waiter(self->cycle, self->cycle->send_waiters);
  if (self->waiter == nullptr) return PYGEN_ERROR;
  *result = Py_NewRef(reinterpret_cast<PyObject*>(self->waiter));
  return PYGEN_NEXT;
}
using Wait = CoroutineLike<SendWait, wait_step, wait_stop>;

void wait_dealloc(PyObject* object) noexcept {
  auto* self = reinterpret_cast<SendWait*>(object);
  drop_wait(self);
  wait_freelist.give(self);
}

PyObject* new_wait(HttpCycle* cycle, PathOpen* path) noexcept {
  SendWait* self = wait_freelist.take(wait_type);
  if (self == nullptr) return nullptr;
  self->cycle = reinterpret_cast<HttpCycle*>(Py_NewRef(reinterpret_cast<PyObject*>(cycle)));
  self->waiter = nullptr;
  self->path = path;
  self->event = nullptr;
  self->owner = cycle->owner;
  return reinterpret_cast<PyObject*>(self);
}

PyObject* start_path(HttpCycle* cycle, PyObject* event) noexcept {
  static const char* const kEvent = "http.response.pathsend";
  http::AppExchange& exchange = *cycle->exchange;
  http::Outcome outcome = http::Outcome::ok;
  if (exchange.dead())
    outcome = http::Outcome::dead;
  else if (exchange.complete())
    outcome = http::Outcome::already_complete;
  else if (!exchange.started())
    outcome = http::Outcome::not_started;
  if (outcome != http::Outcome::ok) {
    raise_outcome(outcome, kEvent);
    return nullptr;
  }
  PyRef key = PyRef::steal(PyUnicode_FromString("path"));
  const PyRef value = PyRef::borrow(key ? dict_item(event, key.get()).get() : nullptr);
  if (!value) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "http.response.pathsend needs 'path'");
    return nullptr;
  }
  PyObject* encoded = nullptr;  // str or PathLike -> bytes in the filesystem encoding, without NUL
  if (PyUnicode_FSConverter(value.get(), &encoded) == 0) return nullptr;
  PyRef holder = PyRef::steal(encoded);
  auto* path = new (std::nothrow) PathOpen(cycle);
  if (path == nullptr) return PyErr_NoMemory();
  path->path.assign(PyBytes_AS_STRING(encoded), static_cast<std::size_t>(PyBytes_GET_SIZE(encoded)));
  if (cycle->dispatcher == nullptr) {  // a __fspath__ that ended the request
    delete path;
    raise_outcome(http::Outcome::already_complete, kEvent);
    return nullptr;
  }
  if (cycle->dispatcher->open(*path) != platform::Errc::ok) {
    delete path;
    PyErr_SetString(PyExc_BlockingIOError, "http.response.pathsend: too many files are being opened");
    return nullptr;
  }
  PyObject* wait = new_wait(cycle, path);
  if (wait == nullptr) path->state.store(PathOpen::State::abandoned, std::memory_order_release);  // no tick was between
  return wait;
}

bool same_text(PyObject* text, std::string_view expected) noexcept {
  if (PyUnicode_GET_LENGTH(text) != static_cast<Py_ssize_t>(expected.size())) return false;
  // A subclass (a StrEnum, say) does not keep its text behind its head.
  if (!PyUnicode_IS_COMPACT_ASCII(text)) return PyUnicode_CompareWithASCIIString(text, expected.data()) == 0;
  return std::memcmp(PyUnicode_DATA(text), expected.data(), expected.size()) == 0;
}

PyObject* dispatch(HttpCycle* cycle, PyObject* event) noexcept {
  const ItemRef given = dict_item(event, names.type);
  PyObject* type = given.get();
  if (type == nullptr || !PyUnicode_Check(type)) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "an ASGI event needs a str 'type'");
    return nullptr;
  }
  if (cycle->exchange == nullptr) {
    PyErr_Format(PyExc_RuntimeError, "Unexpected ASGI message '%U' sent, after response already completed.", type);
    return nullptr;
  }
  bool ok = false;
  if (same_text(type, "http.response.body")) {
    ok = read_body(cycle, event);
  } else if (same_text(type, "http.response.start")) {
    return read_start(cycle, event) ? Py_NewRef(send_done) : nullptr;
  } else if (same_text(type, "http.response.pathsend")) {
    return start_path(cycle, event);
  } else if (same_text(type, "http.response.zerocopysend")) {
    ok = read_zerocopysend(cycle, event);
  } else if (same_text(type, "http.response.trailers")) {
    ok = read_trailers(cycle, event);
  } else if (same_text(type, "http.response.early_hint")) {
    ok = read_early_hint(cycle, event);
  } else {
    PyErr_Format(PyExc_RuntimeError, "Unexpected ASGI message '%U'.", type);
    return nullptr;
  }
  if (!ok) return nullptr;
  return cycle->exchange != nullptr && cycle->exchange->should_wait() ? new_wait(cycle, nullptr) : Py_NewRef(send_done);
}

// On the loop's thread. A new reference to what is to be awaited, or null.
PyObject* send_event(HttpCycle* cycle, PyObject* given) noexcept {
  PyRef hold =
      PyRef::borrow(reinterpret_cast<PyObject*>(cycle));  // an event's code (__iter__, fileno) may end the request
  if (cycle->dispatcher != nullptr) cycle->dispatcher->touch_clock();
  if (PyDict_Check(given)) return dispatch(cycle, given);
  PyRef event = PyRef::steal(PyDict_New());
  if (!event) return nullptr;
  if (PyDict_Update(event.get(), given) != 0) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "an ASGI event must be a dict, not %.100s", Py_TYPE(given)->tp_name);
    return nullptr;
  }
  return dispatch(cycle, event.get());
}

PyObject* call(PyObject* object, PyObject* const* arguments, size_t nargsf, PyObject* keywords) noexcept {
  HttpCycle* cycle = reinterpret_cast<Send*>(object)->cycle;
  const Py_ssize_t count = PyVectorcall_NARGS(nargsf);
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  if (count + named != 1) {  // send(event) or send(message=event)
    PyErr_SetString(PyExc_TypeError, "send() takes exactly one event");
    return nullptr;
  }
  if (is_foreign(cycle)) {
    // a2wsgi calls send() in a thread and runs it on the loop: taken there.
    PyObject* wait = new_wait(cycle, nullptr);
    if (wait != nullptr) reinterpret_cast<SendWait*>(wait)->event = Py_NewRef(arguments[0]);
    return wait;
  }
  return send_event(cycle, arguments[0]);
}

void send_dealloc(PyObject* object) noexcept {
  auto* self = reinterpret_cast<Send*>(object);
  Py_CLEAR(self->cycle);
  send_freelist.give(self);
}

}  // namespace

bool init_send_types() {
  constexpr unsigned long kFlags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  Done::fill(done_type);
  done_type.tp_name = "pyre._core.SendDone";
  done_type.tp_basicsize = sizeof(SendDone);
  done_type.tp_flags = kFlags;
  Wait::fill(wait_type);
  wait_type.tp_name = "pyre._core.SendWait";
  wait_type.tp_basicsize = sizeof(SendWait);
  wait_type.tp_flags = kFlags;
  wait_type.tp_dealloc = wait_dealloc;
  send_type.tp_name = "pyre._core.send";
  send_type.tp_doc = "await send(event): one ASGI event of this request's response.";
  send_type.tp_basicsize = sizeof(Send);
  send_type.tp_flags = kFlags | Py_TPFLAGS_HAVE_VECTORCALL;
  send_type.tp_dealloc = send_dealloc;
  send_type.tp_call = PyVectorcall_Call;
  send_type.tp_vectorcall_offset = offsetof(Send, vectorcall);
  if (PyType_Ready(&done_type) != 0 || PyType_Ready(&wait_type) != 0 || PyType_Ready(&send_type) != 0) return false;
  return true;
}

PyObject* new_send(HttpCycle* cycle) noexcept {
  Send* self = send_freelist.take(send_type);
  if (self == nullptr) return nullptr;
  self->vectorcall = call;
  self->cycle = reinterpret_cast<HttpCycle*>(Py_NewRef(reinterpret_cast<PyObject*>(cycle)));
  return reinterpret_cast<PyObject*>(self);
}

bool send_ready(const HttpCycle* cycle) noexcept {
  http::AppExchange* exchange = cycle->exchange;
  return exchange == nullptr || exchange->dead() || !exchange->should_wait() || cycle->path_opened;
}

}  // namespace pyre::asgi
