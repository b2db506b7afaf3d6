#include "asgi/waiter.h"

#include "asgi/freelist.h"
#include "asgi/interned.h"

namespace pyre::asgi {

PyObject* cancelled_error = nullptr;

namespace {

PyTypeObject waiter_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
Freelist<Waiter> freelist;
PyObject* invalid_state_error = nullptr;

Waiter* as_waiter(PyObject* object) noexcept { return reinterpret_cast<Waiter*>(object); }

// As asyncio's futures it belongs to its loop's thread; without a GIL another one must not even look. False with an
// exception set.
bool check_thread(const Waiter* self) noexcept {
  return self->owner.is_here() || raise_foreign_thread("a future of receive() or send()") != nullptr;
}

void drop_references(Waiter* self) noexcept {
  Py_CLEAR(self->loop);
  Py_CLEAR(self->callback);
  Py_CLEAR(self->context);
  Py_CLEAR(self->more);
  Py_CLEAR(self->message);
}

void dealloc(PyObject* object) noexcept {
  Waiter* self = as_waiter(object);
  drop_references(self);
  freelist.give(self);
}

// loop.call_soon(callback, self, context=context)
bool schedule(Waiter* self, PyObject* callback, PyObject* context) noexcept {
  PyRef method = PyRef::steal(PyObject_GetAttr(self->loop, names.call_soon));
  if (!method) return false;
  PyObject* arguments[3] = {callback, reinterpret_cast<PyObject*>(self), context};
  static PyObject* keywords = PyTuple_Pack(1, names.context);
  const bool has_context = context != nullptr && context != Py_None;
  PyRef handle = PyRef::steal(PyObject_Vectorcall(method.get(), arguments, 2, has_context ? keywords : nullptr));
  return static_cast<bool>(handle);
}

void report(Waiter* self) noexcept {
  PyRef value = take_exception();
  PyRef context = PyRef::steal(Py_BuildValue("{s:s,s:O}", "message", "Exception in the wake-up of an ASGI task",
                                             "exception", value ? value.get() : Py_None));
  PyRef ignored =
      context ? PyRef::steal(PyObject_CallMethod(self->loop, "call_exception_handler", "O", context.get())) : PyRef();
  if (!ignored) PyErr_WriteUnraisable(reinterpret_cast<PyObject*>(self));
}

void run_one(Waiter* self, PyObject* callback, PyObject* context, PyRef& fatal) noexcept {
  const bool enter = context != nullptr && context != Py_None;
  // A context that is entered already (the callback belongs to the task that is running) cannot be entered twice: the
  // loop does it later.
  if (enter && PyContext_Enter(context) != 0) {
    PyErr_Clear();
    if (!schedule(self, callback, context)) report(self);
    return;
  }
  PyRef result = PyRef::steal(PyObject_CallOneArg(callback, reinterpret_cast<PyObject*>(self)));
  if (!result) {
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
      fatal = take_exception();  // as asyncio.Handle has it: these end the loop
    else
      report(self);
  }
  if (enter && PyContext_Exit(context) != 0) report(self);
}

// Takes the callbacks off the waiter and gives each to `action`.
template <typename Action>
void take_callbacks(Waiter* self, Action action) noexcept {
  PyRef callback = PyRef::steal(std::exchange(self->callback, nullptr));
  PyRef context = PyRef::steal(std::exchange(self->context, nullptr));
  PyRef more = PyRef::steal(std::exchange(self->more, nullptr));
  if (callback) action(callback.get(), context.get());
  if (more)
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(more.get()); ++i) {
      PyObject* pair = PyList_GET_ITEM(more.get(), i);
      action(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1));
    }
}

PyObject* add_done_callback(PyObject* object, PyObject* const* arguments, Py_ssize_t count,
                            PyObject* keywords) noexcept {
  Waiter* self = as_waiter(object);
  if (!check_thread(self)) return nullptr;
  if (count != 1 || (keywords != nullptr && (PyTuple_GET_SIZE(keywords) != 1 ||
                                             PyUnicode_Compare(PyTuple_GET_ITEM(keywords, 0), names.context) != 0))) {
    PyErr_SetString(PyExc_TypeError, "add_done_callback(fn, *, context=None)");
    return nullptr;
  }
  PyObject* callback = arguments[0];
  PyObject* context = keywords != nullptr ? arguments[1] : nullptr;
  PyRef current;
  if (context == nullptr || context == Py_None) {  // as asyncio.Future: the caller's context
    current = PyRef::steal(PyContext_CopyCurrent());
    if (!current) return nullptr;
    context = current.get();
  }
  if (self->state != Waiter::State::pending) {
    if (!schedule(self, callback, context)) return nullptr;
    Py_RETURN_NONE;
  }
  if (self->callback == nullptr) {
    self->callback = Py_NewRef(callback);
    self->context = Py_XNewRef(context);
    Py_RETURN_NONE;
  }
  if (self->more == nullptr && (self->more = PyList_New(0)) == nullptr) return nullptr;
  PyRef pair = PyRef::steal(PyTuple_Pack(2, callback, context));
  if (!pair || PyList_Append(self->more, pair.get()) != 0) return nullptr;
  Py_RETURN_NONE;
}

PyObject* remove_done_callback(PyObject* object, PyObject* callback) noexcept {
  Waiter* self = as_waiter(object);
  if (!check_thread(self)) return nullptr;
  long removed = 0;
  // The comparison may run the app's code, which may change what is compared: each callback is held, and looked for
  // again.
  const PyRef more = PyRef::borrow(self->more);
  for (Py_ssize_t i = more ? PyList_GET_SIZE(more.get()) - 1 : -1; i >= 0; --i) {
    if (i >= PyList_GET_SIZE(more.get())) continue;
    const PyRef pair = PyRef::borrow(PyList_GET_ITEM(more.get(), i));
    const int same = PyObject_RichCompareBool(PyTuple_GET_ITEM(pair.get(), 0), callback, Py_EQ);
    if (same < 0) return nullptr;
    if (same == 0 || i >= PyList_GET_SIZE(more.get()) || PyList_GET_ITEM(more.get(), i) != pair.get()) continue;
    if (PySequence_DelItem(more.get(), i) != 0) return nullptr;
    ++removed;
  }
  if (self->callback != nullptr) {
    const PyRef first = PyRef::borrow(self->callback);
    const int same = PyObject_RichCompareBool(first.get(), callback, Py_EQ);
    if (same < 0) return nullptr;
    if (same > 0 && self->callback == first.get()) {
      Py_CLEAR(self->callback);
      Py_CLEAR(self->context);
      ++removed;
    }
  }
  return PyLong_FromLong(removed);
}

PyObject* cancel(PyObject* object, PyObject* const* arguments, Py_ssize_t count, PyObject* keywords) noexcept {
  Waiter* self = as_waiter(object);
  if (!check_thread(self)) return nullptr;
  if (self->state != Waiter::State::pending) Py_RETURN_FALSE;
  const Py_ssize_t given = count + (keywords != nullptr ? PyTuple_GET_SIZE(keywords) : 0);
  self->state = Waiter::State::cancelled;
  if (given > 0 && arguments[0] != Py_None) self->message = Py_NewRef(arguments[0]);
  bool ok = true;
  take_callbacks(self, [&](PyObject* callback, PyObject* context) { ok = schedule(self, callback, context) && ok; });
  if (!ok) return nullptr;
  Py_RETURN_TRUE;
}

// True: the waiter is done without an error. False: an exception is set.
bool check_done(Waiter* self) noexcept {
  if (!check_thread(self)) return false;
  if (self->state == Waiter::State::done) return true;
  if (self->state == Waiter::State::pending) {
    PyErr_SetString(invalid_state_error, "Result is not set.");
  } else if (self->message != nullptr) {
    PyRef error = PyRef::steal(PyObject_CallOneArg(cancelled_error, self->message));
    if (error) PyErr_SetObject(cancelled_error, error.get());
  } else {
    PyErr_SetNone(cancelled_error);
  }
  return false;
}

PyObject* result(PyObject* object, PyObject*) noexcept {
  return check_done(as_waiter(object)) ? Py_NewRef(Py_None) : nullptr;
}
PyObject* get_loop(PyObject* object, PyObject*) noexcept { return Py_NewRef(as_waiter(object)->loop); }
PyObject* is_done(PyObject* object, PyObject*) noexcept {
  if (!check_thread(as_waiter(object))) return nullptr;
  return PyBool_FromLong(as_waiter(object)->state != Waiter::State::pending);
}
PyObject* is_cancelled(PyObject* object, PyObject*) noexcept {
  if (!check_thread(as_waiter(object))) return nullptr;
  return PyBool_FromLong(as_waiter(object)->state == Waiter::State::cancelled);
}
PyObject* get_blocking(PyObject* object, void*) noexcept {
  if (!check_thread(as_waiter(object))) return nullptr;
  return PyBool_FromLong(as_waiter(object)->blocking ? 1 : 0);
}
int set_blocking(PyObject* object, PyObject* value, void*) noexcept {
  if (!check_thread(as_waiter(object))) return -1;
  const int truth = value == nullptr ? 0 : PyObject_IsTrue(value);
  if (truth < 0) return -1;
  as_waiter(object)->blocking = truth != 0;
  return 0;
}

// `await waiter` from plain Python code (nobody should need it, but a future can be awaited).
PyObject* iterate(PyObject* object) noexcept { return Py_NewRef(object); }
PyObject* next(PyObject* object) noexcept {
  Waiter* self = as_waiter(object);
  if (!check_thread(self)) return nullptr;
  if (self->state == Waiter::State::pending) {
    self->blocking = true;
    return Py_NewRef(object);
  }
  check_done(self);  // done: no exception is set, which means StopIteration(None)
  return nullptr;
}

template <typename F>
PyCFunction method_cast(F function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace

bool init_waiter_type() {
  PyRef asyncio = PyRef::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return false;
  cancelled_error = PyObject_GetAttrString(asyncio.get(), "CancelledError");
  invalid_state_error = PyObject_GetAttrString(asyncio.get(), "InvalidStateError");
  if (cancelled_error == nullptr || invalid_state_error == nullptr) return false;
  static PyMethodDef methods[] = {
      {"add_done_callback", method_cast(add_done_callback), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"remove_done_callback", method_cast(remove_done_callback), METH_O, nullptr},
      {"cancel", method_cast(cancel), METH_FASTCALL | METH_KEYWORDS, nullptr},
      {"result", method_cast(result), METH_NOARGS, nullptr},
      {"exception", method_cast(result), METH_NOARGS, nullptr},
      {"get_loop", method_cast(get_loop), METH_NOARGS, nullptr},
      {"done", method_cast(is_done), METH_NOARGS, nullptr},
      {"cancelled", method_cast(is_cancelled), METH_NOARGS, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {{"_asyncio_future_blocking", get_blocking, set_blocking, nullptr, nullptr},
                                 {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyAsyncMethods async_methods{};
  async_methods.am_await = iterate;
  waiter_type.tp_name = "pyre._core.Waiter";
  waiter_type.tp_doc = "What a suspended receive() or send() waits on: a future without a value.";
  waiter_type.tp_basicsize = sizeof(Waiter);
  waiter_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  waiter_type.tp_dealloc = dealloc;
  waiter_type.tp_methods = methods;
  waiter_type.tp_getset = getset;
  waiter_type.tp_as_async = &async_methods;
  waiter_type.tp_iter = iterate;
  waiter_type.tp_iternext = next;
  return PyType_Ready(&waiter_type) == 0;
}

Waiter* new_waiter(PyObject* loop) noexcept {
  Waiter* self = freelist.take(waiter_type);
  if (self == nullptr) return nullptr;
  self->loop = Py_NewRef(loop);
  self->callback = self->context = self->more = self->message = nullptr;
  self->next = nullptr;
  self->state = Waiter::State::pending;
  self->blocking = true;  // it is made to be yielded at once
  self->owner = ThreadOwner::current();
  return self;
}

void wake(Waiter* self, PyRef& fatal) noexcept {
  if (self->state != Waiter::State::pending) return;
  self->state = Waiter::State::done;
  take_callbacks(self, [&](PyObject* callback, PyObject* context) { run_one(self, callback, context, fatal); });
}

void wake_soon(Waiter* self) noexcept {
  if (self->state != Waiter::State::pending) return;
  self->state = Waiter::State::done;
  take_callbacks(self, [&](PyObject* callback, PyObject* context) {
    if (!schedule(self, callback, context)) PyErr_Clear();  // the event loop is closed: nobody runs there any more
  });
}

}  // namespace pyre::asgi
