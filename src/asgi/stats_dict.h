// Counters as the dicts that Engine.stats() returns.
#pragma once

#include "asgi/python_api.h"

#include <pybind11/pybind11.h>

#include "asgi/host.h"

namespace pyre::asgi {

[[nodiscard]] pybind11::dict loop_stats(const IoStats& io);
[[nodiscard]] pybind11::dict offload_stats();  // of the whole process

}  // namespace pyre::asgi
