// Adds the class Engine to the extension module.
#pragma once

#include <pybind11/pybind11.h>

namespace pyre::asgi {

void bind_engine(pybind11::module_& module);

}  // namespace pyre::asgi
