// The extension module pyre._core.
#include "asgi/python_api.h"

#include <pybind11/pybind11.h>

#include "asgi/bind_engine.h"
#include "asgi/host.h"
#include "asgi/http_cycle.h"
#include "asgi/interned.h"
#include "asgi/task_starter.h"
#include "asgi/waiter.h"
#include "platform/cpus.h"
#include "platform/memory.h"

namespace py = pybind11;

// What Python reaches is one thread's (ThreadOwner), or does not change, or has a lock of its own: a free-threaded
// interpreter need not bring its GIL back for us (docs/free-threading.md).
PYBIND11_MODULE(_core, module, py::mod_gil_not_used()) {
  namespace asgi = pyre::asgi;
  module.doc() = "The native core of Pyre.";
  if (!asgi::init_interned() || !asgi::init_waiter_type() || !asgi::init_http_cycle_types() ||
      !asgi::init_task_starter_types() || !asgi::init_host_types())
    throw py::error_already_set();
  asgi::client_disconnected = PyErr_NewExceptionWithDoc(
      "pyre.ClientDisconnected",
      "Raised by `await send()` once the client's connection is gone (ASGI spec_version 2.4).", PyExc_OSError, nullptr);
  if (asgi::client_disconnected == nullptr) throw py::error_already_set();
  module.attr("ClientDisconnected") = py::handle(asgi::client_disconnected);
  asgi::bind_engine(module);
  module.attr("__version__") = PYRE_VERSION;
  module.def("usable_cpus", &pyre::platform::usable_cpus);
  module.def("build_info", [] {
    py::dict info;
    info["version"] = PYRE_VERSION;
    info["allocator"] = pyre::platform::allocator_name();
    info["compiler"] = __VERSION__;
#ifdef NDEBUG
    info["build"] = "release";
#else
    info["build"] = "debug";
#endif
    return info;
  });
}
