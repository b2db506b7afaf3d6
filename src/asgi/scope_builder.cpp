#include "asgi/scope_builder.h"

#include <array>
#include <cstring>

#include "asgi/decref_queue.h"
#include "asgi/interned.h"

namespace pyre::asgi {

namespace {

bool set(PyObject* dict, PyObject* key, PyRef value) noexcept {
  return value && PyDict_SetItem(dict, key, value.get()) == 0;
}

PyRef bytes_of(std::string_view text) noexcept {
  return PyRef::steal(PyBytes_FromStringAndSize(text.data(), static_cast<Py_ssize_t>(text.size())));
}

// (host, port), or None for a peer without an address.
PyObject* address_tuple(const platform::Endpoint& endpoint) noexcept {
  using Family = platform::Endpoint::Family;
  if (endpoint.family == Family::unix_socket || endpoint.family == Family::unknown) return Py_NewRef(Py_None);
  std::array<char, 64> buffer;
  const std::string_view host = endpoint.host_text(buffer);
  return Py_BuildValue("(s#i)", host.data(), static_cast<Py_ssize_t>(host.size()), static_cast<int>(endpoint.port));
}

// The tuple kept in the connection's cache. A borrowed reference.
PyObject* cached_address(void*& slot, const platform::Endpoint& endpoint) noexcept {
  if (slot == nullptr) slot = address_tuple(endpoint);
  return static_cast<PyObject*>(slot);
}

PyRef client_of(http::AppExchange& exchange) noexcept {
  const http::ForwardedInfo& forwarded = exchange.forwarded();
  if (!forwarded.client_text.empty())
    return PyRef::steal(Py_BuildValue("(s#i)", forwarded.client_text.data(),
                                      static_cast<Py_ssize_t>(forwarded.client_text.size()),
                                      static_cast<int>(forwarded.client.port)));
  if (forwarded.client_set) return PyRef::steal(address_tuple(forwarded.client));
  http::ConnectionInfo& info = exchange.connection_info();
  return PyRef::borrow(cached_address(info.app_cache[0], info.peer));
}

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// root_path + the percent-decoded path, as str. Bytes that are not UTF-8 become U+FFFD, as urllib.parse.unquote() has
// it.
PyRef decoded_path(std::string_view root, std::string_view path) {
  std::string decoded(root);
  decoded.reserve(root.size() + path.size());
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '%' && i + 2 < path.size()) {
      const int high = hex_value(path[i + 1]), low = hex_value(path[i + 2]);
      if (high >= 0 && low >= 0) {
        decoded.push_back(static_cast<char>(high * 16 + low));
        i += 2;
        continue;
      }
    }
    decoded.push_back(path[i]);
  }
  return PyRef::steal(PyUnicode_DecodeUTF8(decoded.data(), static_cast<Py_ssize_t>(decoded.size()), "replace"));
}

// ASCII (the parser lets nothing else through) to str: one allocation and a copy.
PyRef ascii(std::string_view text) noexcept {
  PyRef object = PyRef::steal(PyUnicode_New(static_cast<Py_ssize_t>(text.size()), 127));
  if (object && !text.empty()) std::memcpy(PyUnicode_1BYTE_DATA(object.get()), text.data(), text.size());
  return object;
}

PyRef headers_of(const http::RequestHead& head) noexcept {
  PyRef list = PyRef::steal(PyList_New(static_cast<Py_ssize_t>(head.fields.size())));
  if (!list) return list;
  Py_ssize_t index = 0;
  for (const http::HeaderField& field : head.fields) {
    PyRef pair = PyRef::steal(PyTuple_New(2));
    PyObject* known = names.header_names[static_cast<std::size_t>(field.id)];
    PyObject* name = known != nullptr ? Py_NewRef(known) : bytes_of(head.name(field)).release();
    PyObject* value = bytes_of(head.value(field)).release();
    if (!pair || name == nullptr || value == nullptr) {
      Py_XDECREF(name);
      Py_XDECREF(value);
      return {};
    }
    PyTuple_SET_ITEM(pair.get(), 0, name);
    PyTuple_SET_ITEM(pair.get(), 1, value);
    PyList_SET_ITEM(list.get(), index++, pair.release());
  }
  return list;
}

}  // namespace

bool ScopeBuilder::init(const char* scheme, const char* root_path, PyObject* state) noexcept {
  root_path_ = root_path;
  asgi_ = DictCopies(PyRef::steal(Py_BuildValue("{s:s,s:s}", "version", "3.0", "spec_version", "2.5")));
  extensions_ = DictCopies(
      PyRef::steal(Py_BuildValue("{s:{},s:{},s:{},s:{}}", "http.response.pathsend", "http.response.zerocopysend",
                                 "http.response.trailers", "http.response.early_hint")));
  if (state != nullptr && state != Py_None)
    state_ = DictCopies(PyRef::borrow(state));  // ASGI lifespan spec, "Lifespan State"
  PyRef scheme_object = PyRef::steal(PyUnicode_InternFromString(scheme));
  PyRef root_object = PyRef::steal(PyUnicode_InternFromString(root_path));
  template_ = PyRef::steal(PyDict_New());
  if (!asgi_ || !extensions_ || !scheme_object || !root_object || !template_) return false;
  PyObject* scope = template_.get();
  const std::pair<PyObject*, PyObject*> items[] = {{names.type, names.http},
                                                   {names.asgi, Py_None},
                                                   {names.http_version, names.v1_1},
                                                   {names.server, Py_None},
                                                   {names.client, Py_None},
                                                   {names.scheme, scheme_object.get()},
                                                   {names.method, names.GET},
                                                   {names.root_path, root_object.get()},
                                                   {names.path, Py_None},
                                                   {names.raw_path, Py_None},
                                                   {names.query_string, names.empty_bytes},
                                                   {names.headers, Py_None},
                                                   {names.extensions, Py_None}};
  for (const auto& [key, value] : items)
    if (PyDict_SetItem(scope, key, value) != 0) return false;
  return !state_ || PyDict_SetItem(scope, names.state, Py_None) == 0;
}

PyObject* ScopeBuilder::build(http::AppExchange& exchange) noexcept {
  const http::RequestHead& head = exchange.request();
  http::ConnectionInfo& info = exchange.connection_info();
  PyRef scope = PyRef::steal(PyDict_Copy(template_.get()));
  if (!scope) return nullptr;
  PyObject* dict = scope.get();
  const std::string_view path = head.path();
  PyRef path_object;
  PyRef raw_path;
  if (root_path_.empty()) {
    path_object = head.path_has_escape ? decoded_path({}, path) : ascii(path);
    raw_path = bytes_of(path);
  } else {  // as uvicorn: path and raw_path include the root_path
    path_object = decoded_path(root_path_, path);
    std::string raw(root_path_);
    raw.append(path);
    raw_path = bytes_of(raw);
  }
  bool ok = set(dict, names.asgi, asgi_.take()) && set(dict, names.path, std::move(path_object)) &&
            set(dict, names.raw_path, std::move(raw_path)) && set(dict, names.headers, headers_of(head)) &&
            set(dict, names.client, client_of(exchange)) &&
            set(dict, names.server, PyRef::borrow(cached_address(info.app_cache[1], info.local))) &&
            set(dict, names.extensions, extensions_.take());
  if (ok && head.query_size != 0) ok = set(dict, names.query_string, bytes_of(head.query()));
  if (ok && head.method() != "GET") ok = set(dict, names.method, PyRef::steal(method_object(head.method())));
  if (ok && head.minor_version == 0) ok = PyDict_SetItem(dict, names.http_version, names.v1_0) == 0;
  if (ok && state_) ok = set(dict, names.state, state_.take());
  if (const std::string_view scheme = exchange.forwarded().scheme; ok && !scheme.empty()) {
    // A proxy's ws or wss means http or https for an HTTP scope.
    PyObject* value = scheme == "https" || scheme == "wss" ? names.https : names.http;
    ok = PyDict_SetItem(dict, names.scheme, value) == 0;
  }
  return ok ? scope.release() : nullptr;
}

void ScopeBuilder::release(http::ConnectionInfo& info) noexcept {
  for (void*& slot : info.app_cache) {
    if (slot != nullptr) DecrefQueue::of_this_thread().push(static_cast<PyObject*>(slot));
    slot = nullptr;
  }
}

}  // namespace pyre::asgi
