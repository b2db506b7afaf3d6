// A pybind11 module of somebody else's, for test_other_extensions.py: strings and vectors that cross the border,
// exceptions, a class, and malloc.
#include <dlfcn.h>
#include <malloc.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

struct Box {
  explicit Box(int v) : value(v) {}
  int value;
};

std::vector<std::string> words(int count) {
  std::vector<std::string> result;
  for (int i = 0; i < count; ++i) result.push_back("word " + std::to_string(i) + " " + std::string(100, 'x'));
  return result;
}

// malloc is the C library's (or a sanitizer's, or the interpreter's way to it), not that of another extension module,
// and no mimalloc is to be seen from outside of the module that has one.
bool malloc_is_libc() {
  Dl_info where{};
  if (dladdr(reinterpret_cast<void*>(&std::malloc), &where) == 0 || where.dli_fname == nullptr) return false;
  return std::string(where.dli_fname).find("_core.") == std::string::npos &&
         dlsym(RTLD_DEFAULT, "mi_malloc") == nullptr;
}

}  // namespace

PYBIND11_MODULE(pyre_second, module) {
  module.def("words", &words);
  module.def("fail", [](const std::string& what) { throw py::key_error(what); });
  module.def("malloc_is_libc", &malloc_is_libc);
  py::class_<Box>(module, "Box")
      .def(py::init<int>(), py::arg("value") = 0)
      .def("add", [](const Box& box, int more) { return box.value + more; })
      .def("take", [](Box& box, const Box& other) { box.value = other.value; });
}
