#include "asgi/task_starter.h"

#include "asgi/interned.h"

namespace pyre::asgi {

namespace {

#if PY_VERSION_HEX < 0x030C0000
constexpr bool kEager = false;
#else
constexpr bool kEager = true;
#endif

// Stands in for loop.call_soon while a Task is constructed on 3.11: keeps the step it is given.
struct Capture {
  PyObject ob_base;
  vectorcallfunc vectorcall;
  PyObject* step;
};
// `async def` around the cycle, for task factories that insist on a coroutine.
PyObject* await_helper = nullptr;
PyObject* registry = nullptr;  // asyncio's WeakSet of all tasks
unsigned long constructing_thread = 0;

// Stands in for WeakSet.add likewise: the task is entered afterwards, by register_task(). The set is everybody's:
// another thread's event loop may make a task while the constructor lets the GIL go.
PyObject* ignore_add(PyObject*, PyObject* task) noexcept {
  if (PyThread_get_thread_ident() == constructing_thread) Py_RETURN_NONE;
  return PyObject_CallMethod(reinterpret_cast<PyObject*>(Py_TYPE(registry)), "add", "OO", registry, task);
}
PyMethodDef ignore_add_method = {"add", ignore_add, METH_O, nullptr};
PyObject* ignore_add_function = nullptr;

PyTypeObject capture_type = {PyVarObject_HEAD_INIT(nullptr, 0)};
Capture* capture = nullptr;

PyObject* capture_call(PyObject* object, PyObject* const* arguments, size_t nargsf, PyObject*) noexcept {
  auto* self = reinterpret_cast<Capture*>(object);
  if (PyVectorcall_NARGS(nargsf) != 1 || self->step != nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "asyncio.Task scheduled its first step in an unexpected way");
    return nullptr;
  }
  self->step = Py_NewRef(arguments[0]);
  Py_RETURN_NONE;
}

}  // namespace

bool init_task_starter_types() {
  capture_type.tp_name = "pyre._core.Capture";
  capture_type.tp_basicsize = sizeof(Capture);
  capture_type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL;
  capture_type.tp_call = PyVectorcall_Call;
  capture_type.tp_vectorcall_offset = offsetof(Capture, vectorcall);
  if (PyType_Ready(&capture_type) != 0) return false;
  capture = PyObject_New(Capture, &capture_type);
  if (capture == nullptr) return false;
  capture->vectorcall = capture_call;
  capture->step = nullptr;
  ignore_add_function = PyCFunction_New(&ignore_add_method, nullptr);
  if (ignore_add_function == nullptr) return false;
  // Once, not for each loop: running source text from several threads is a race inside CPython 3.13.
  PyRef globals = PyRef::steal(Py_BuildValue("{s:s}", "__name__", "pyre._core"));
  if (!globals || PyDict_SetItemString(globals.get(), "__builtins__", PyEval_GetBuiltins()) != 0) return false;
  PyRef ran = PyRef::steal(
      PyRun_String("async def asgi_request(cycle):\n    await cycle\n", Py_file_input, globals.get(), globals.get()));
  if (!ran) return false;
  await_helper = Py_XNewRef(PyDict_GetItemString(globals.get(), "asgi_request"));
  return await_helper != nullptr;
}

bool TaskStarter::init(PyObject* loop) noexcept {
  loop_ = PyRef::borrow(loop);
  PyRef asyncio = PyRef::steal(PyImport_ImportModule("asyncio"));
  if (!asyncio) return false;
  task_type_ = PyRef::steal(PyObject_GetAttrString(asyncio.get(), "Task"));
  base_context_ = PyRef::steal(PyContext_CopyCurrent());
  keywords_ = PyRef::steal(PyDict_New());
  if (!task_type_ || !base_context_ || !keywords_) return false;
  if (PyDict_SetItem(keywords_.get(), names.loop, loop) != 0) return false;
  // A name of its own for each task costs a printf per request; "Task-N" says nothing that this does not.
  task_name_ = PyRef::steal(PyUnicode_InternFromString("asgi-request"));
  if (!task_name_ || PyDict_SetItem(keywords_.get(), names.name, task_name_.get()) != 0) return false;
  if (kEager && PyDict_SetItem(keywords_.get(), names.eager_start, Py_True) != 0) return false;
  if (!kEager) {
    loop_dict_ = PyRef::steal(PyObject_GenericGetDict(loop, nullptr));
    if (!loop_dict_) {  // a loop without an instance dict: its tasks start the ordinary way
      PyErr_Clear();
      plain_ = true;
    }
    PyRef all =
        PyRef::steal(PyObject_GetAttrString(PyRef::steal(PyImport_ImportModule("asyncio.tasks")).get(), "_all_tasks"));
    if (all) {
      Py_XSETREF(registry, Py_NewRef(all.get()));
      registry_dict_ = PyRef::steal(PyObject_GenericGetDict(all.get(), nullptr));
      registry_data_ = PyRef::steal(PyObject_GetAttrString(all.get(), "data"));
      registry_remove_ = PyRef::steal(PyObject_GetAttrString(all.get(), "_remove"));
    }
    PyErr_Clear();
    if (!registry_remove_ || !registry_dict_ || !registry_data_ || !PySet_CheckExact(registry_data_.get()))
      registry_dict_.reset();
  }
  return refresh();
}

bool TaskStarter::refresh() noexcept {
  PyRef factory = PyRef::steal(PyObject_CallMethodNoArgs(loop_.get(), names.get_task_factory));
  PyRef debug = PyRef::steal(PyObject_CallMethodNoArgs(loop_.get(), names.get_debug));
  if (!factory || !debug) return false;
  const int debugging = PyObject_IsTrue(debug.get());
  if (debugging < 0) return false;
  plain_ = factory.get() != Py_None || debugging > 0 || (!kEager && !loop_dict_);
  return true;
}

PyRef TaskStarter::start_plain(HttpCycle* cycle, PyObject* context) noexcept {
  PyRef method = PyRef::steal(PyObject_GetAttr(loop_.get(), names.create_task));
  if (!method) return {};
  PyRef coroutine = PyRef::steal(PyObject_CallOneArg(await_helper, reinterpret_cast<PyObject*>(cycle)));
  // Entered, not given as `context`: a task factory of the old kind takes no such argument.
  if (!coroutine || PyContext_Enter(context) != 0) return {};
  PyRef task = PyRef::steal(PyObject_CallOneArg(method.get(), coroutine.get()));
  PyRef failed = task ? PyRef() : take_exception();
  if (PyContext_Exit(context) != 0) PyErr_Clear();
  if (failed) restore_exception(std::move(failed));
  return task;
}

PyRef TaskStarter::construct_captured(HttpCycle* cycle, PyRef& step) noexcept {
  PyRef arguments = PyRef::steal(PyTuple_Pack(1, reinterpret_cast<PyObject*>(cycle)));
  if (!arguments) return {};
  // Somebody else may have put a call_soon on the instance (instrumentation): it comes back afterwards.
  PyRef before = PyRef::borrow(PyDict_GetItemWithError(loop_dict_.get(), names.call_soon));
  if (PyDict_SetItem(loop_dict_.get(), names.call_soon, reinterpret_cast<PyObject*>(capture)) != 0) return {};
  constructing_thread = PyThread_get_thread_ident();
  if (registry_dict_ && PyDict_SetItem(registry_dict_.get(), names.add, ignore_add_function) != 0) PyErr_Clear();
  // Making the task may start the garbage collector, and a finalizer that uses the event loop (redis-py's connections
  // close their transports in one) would give its callback to us. It starts with the next object instead.
  const int collecting = PyGC_Disable();
  PyRef task = PyRef::steal(PyObject_Call(task_type_.get(), arguments.get(), keywords_.get()));
  if (collecting != 0) PyGC_Enable();
  PyRef failed = task ? PyRef() : take_exception();
  if (registry_dict_ && PyDict_DelItem(registry_dict_.get(), names.add) != 0) PyErr_Clear();
  const int restored = before ? PyDict_SetItem(loop_dict_.get(), names.call_soon, before.get())
                              : PyDict_DelItem(loop_dict_.get(), names.call_soon);
  step = PyRef::steal(std::exchange(capture->step, nullptr));
  if (failed) {
    PyErr_Clear();
    restore_exception(std::move(failed));
    return {};
  }
  if (restored == 0 && step) return task;
  if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_RuntimeError, "asyncio.Task did not schedule its first step");
  return {};
}

PyRef TaskStarter::register_task(PyObject* task) noexcept {
  // WeakSet.add(): self.data.add(ref(item, self._remove))
  PyRef reference = PyRef::steal(PyWeakref_NewRef(task, registry_remove_.get()));
  if (reference && PySet_Add(registry_data_.get(), reference.get()) == 0) return reference;
  PyErr_Clear();
  return {};
}

PyRef TaskStarter::start_captured(HttpCycle* cycle, PyObject* context) noexcept {
  PyRef step;
  PyRef task = construct_captured(cycle, step);
  if (!task) return {};
  PyRef entry = registry_dict_ ? register_task(task.get()) : PyRef();
  if (PyContext_Enter(context) != 0) return {};
  PyRef result = PyRef::steal(PyObject_CallNoArgs(step.get()));
  PyRef failed = result ? PyRef() : take_exception();  // KeyboardInterrupt or SystemExit: the task has it, too
  if (PyContext_Exit(context) != 0) return {};
  // Done already: taken out by hand, while the reference lives, instead of by its callback.
  if (entry && cycle->finished && PySet_Discard(registry_data_.get(), entry.get()) < 0) PyErr_Clear();
  if (failed) {
    restore_exception(std::move(failed));
    return {};
  }
  return task;
}

bool TaskStarter::start(HttpCycle* cycle) noexcept {
  PyRef context = PyRef::steal(PyContext_Copy(base_context_.get()));
  if (!context) return false;
  PyRef task;
  if (plain_) {
    task = start_plain(cycle, context.get());
  } else {
    if (PyDict_SetItem(keywords_.get(), names.context, context.get()) != 0) return false;
    if (kEager) {
      PyRef arguments = PyRef::steal(PyTuple_Pack(1, reinterpret_cast<PyObject*>(cycle)));
      if (arguments) task = PyRef::steal(PyObject_Call(task_type_.get(), arguments.get(), keywords_.get()));
    } else {
      task = start_captured(cycle, context.get());
    }
  }
  // The context holds what the app has set in it: not until the next request comes.
  if (!task) return false;
  if (!plain_ && PyDict_SetItem(keywords_.get(), names.context, Py_None) != 0) PyErr_Clear();
  if (!cycle->finished) cycle->task = task.release();
  return true;
}

}  // namespace pyre::asgi
