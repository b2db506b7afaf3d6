#include "asgi/interned.h"

namespace pyre::asgi {

Interned names{};

namespace {

bool intern(PyObject*& slot, const char* text) {
  slot = PyUnicode_InternFromString(text);
  return slot != nullptr;
}

}  // namespace

bool init_interned() {
  struct Entry {
    PyObject** slot;
    const char* text;
  };
  const Entry entries[] = {
      {&names.type, "type"},
      {&names.asgi, "asgi"},
      {&names.http_version, "http_version"},
      {&names.server, "server"},
      {&names.client, "client"},
      {&names.scheme, "scheme"},
      {&names.method, "method"},
      {&names.root_path, "root_path"},
      {&names.path, "path"},
      {&names.raw_path, "raw_path"},
      {&names.query_string, "query_string"},
      {&names.headers, "headers"},
      {&names.state, "state"},
      {&names.extensions, "extensions"},
      {&names.version, "version"},
      {&names.spec_version, "spec_version"},
      {&names.status, "status"},
      {&names.body, "body"},
      {&names.more_body, "more_body"},
      {&names.trailers, "trailers"},
      {&names.more_trailers, "more_trailers"},
      {&names.file, "file"},
      {&names.offset, "offset"},
      {&names.count, "count"},
      {&names.links, "links"},
      {&names.http, "http"},
      {&names.https, "https"},
      {&names.ws, "ws"},
      {&names.wss, "wss"},
      {&names.http_request, "http.request"},
      {&names.http_disconnect, "http.disconnect"},
      {&names.v1_0, "1.0"},
      {&names.v1_1, "1.1"},
      {&names.empty_str, ""},
      {&names.call_soon, "call_soon"},
      {&names.context, "context"},
      {&names.loop, "loop"},
      {&names.name, "name"},
      {&names.eager_start, "eager_start"},
      {&names.create_task, "create_task"},
      {&names.cancel, "cancel"},
      {&names.result, "result"},
      {&names.throw_, "throw"},
      {&names.close, "close"},
      {&names.msg, "msg"},
      {&names.fileno, "fileno"},
      {&names.get_debug, "get_debug"},
      {&names.get_task_factory, "get_task_factory"},
      {&names.set_result, "set_result"},
      {&names.done, "done"},
      {&names.send, "send"},
      {&names.add, "add"},
      {&names.GET, "GET"},
      {&names.HEAD, "HEAD"},
      {&names.POST, "POST"},
      {&names.PUT, "PUT"},
      {&names.PATCH, "PATCH"},
      {&names.DELETE_, "DELETE"},
      {&names.OPTIONS, "OPTIONS"},
  };
  for (const Entry& entry : entries)
    if (!intern(*entry.slot, entry.text)) return false;
  names.empty_bytes = PyBytes_FromStringAndSize(nullptr, 0);
  if (names.empty_bytes == nullptr) return false;
  for (std::size_t id = 1; id < names.header_names.size(); ++id) {
    const std::string_view text = http::text_of(static_cast<http::HeaderName>(id));
    names.header_names[id] = PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size()));
    if (names.header_names[id] == nullptr) return false;
  }
  return true;
}

PyObject* method_object(std::string_view method) noexcept {
  PyObject* known = nullptr;
  switch (method.size()) {
    case 3:
      known = method == "GET" ? names.GET : method == "PUT" ? names.PUT : nullptr;
      break;
    case 4:
      known = method == "POST" ? names.POST : method == "HEAD" ? names.HEAD : nullptr;
      break;
    case 5:
      if (method == "PATCH") known = names.PATCH;
      break;
    case 6:
      if (method == "DELETE") known = names.DELETE_;
      break;
    case 7:
      if (method == "OPTIONS") known = names.OPTIONS;
      break;
    default:
      break;
  }
  if (known != nullptr) return Py_NewRef(known);
  return PyUnicode_DecodeASCII(method.data(), static_cast<Py_ssize_t>(method.size()), "replace");
}

}  // namespace pyre::asgi
