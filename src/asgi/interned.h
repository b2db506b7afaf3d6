// Python objects that every request needs, made once when the module is loaded: interned keys, event types, common
// methods, `bytes` of common header names. They live as long as the process.
#pragma once

#include <array>
#include <string_view>

#include "asgi/python_api.h"
#include "http/header_name.h"

namespace pyre::asgi {

struct Interned {
  // scope keys
  PyObject *type, *asgi, *http_version, *server, *client, *scheme, *method, *root_path, *path, *raw_path, *query_string,
      *headers, *state, *extensions, *version, *spec_version;
  // event keys
  PyObject *status, *body, *more_body, *trailers, *more_trailers, *file, *offset, *count, *links;
  // values
  PyObject *http, *https, *ws, *wss, *http_request, *http_disconnect, *v1_0, *v1_1, *empty_str, *empty_bytes;
  // attribute and method names
  PyObject *call_soon, *context, *loop, *name, *eager_start, *create_task, *cancel, *result, *throw_, *close, *msg,
      *fileno, *get_debug, *get_task_factory, *set_result, *done, *send, *add;
  std::array<PyObject*, static_cast<std::size_t>(http::HeaderName::kCount)> header_names;  // [other] is null

  PyObject* GET;
  PyObject* HEAD;
  PyObject* POST;
  PyObject* PUT;
  PyObject* PATCH;
  PyObject* DELETE_;
  PyObject* OPTIONS;
};

extern Interned names;

// False with a Python exception set. Called once, from the module's initialisation.
[[nodiscard]] bool init_interned();

// A new reference: a cached string for the usual methods.
[[nodiscard]] PyObject* method_object(std::string_view method) noexcept;

}  // namespace pyre::asgi
