#include "asgi/response_event.h"

#include <string>

#include "asgi/decref_queue.h"
#include "asgi/dispatcher.h"
#include "asgi/interned.h"
#include "asgi/native_file.h"
#include "asgi/os_error.h"
#include "asgi/thread_owner.h"
#include "platform/file.h"

namespace pyre::asgi {

namespace {

// Copied up to here, referenced above: a copy of 4 KiB costs about what a reference, an iovec and a later decref cost.
constexpr Py_ssize_t kCopyBytes = 4096;

// event[key] as a bool; `fallback` if it is missing. -1: an exception is set.
int get_bool(PyObject* event, PyObject* key, int fallback) noexcept {
  const ItemRef value = dict_item(event, key);
  if (!value) return PyErr_Occurred() != nullptr ? -1 : fallback;
  if (value.get() == Py_True) return 1;
  if (value.get() == Py_False) return 0;
  return PyObject_IsTrue(value.get());
}

bool raise_field(http::FieldError error, std::string_view name) noexcept {
  std::string shown(name.substr(0, 100));
  PyErr_Format(PyExc_ValueError, "response header %R: %s",
               PyRef::steal(PyBytes_FromStringAndSize(shown.data(), static_cast<Py_ssize_t>(shown.size()))).get(),
               http::text_of(error));
  return false;
}

// Without a GIL a list that the app holds may change under our hands: only what is in a tuple stays.
bool is_pair_like(PyObject* item) noexcept { return PyTuple_Check(item) || (!kFreeThreaded && PyList_Check(item)); }

// A list or tuple of the items of `iterable`; null with an exception set.
PyRef items_of(PyObject* iterable, const char* or_else) noexcept {
  PyRef list = PyRef::steal(PySequence_Fast(iterable, or_else));
  if constexpr (kFreeThreaded) {
    if (list) list = PyRef::steal(PySequence_Tuple(list.get()));
  }
  return list;
}

// The headers of an event as a list or tuple whose items are lists or tuples, or null: there are none, or an exception
// is set. All code of the app's (generators, __iter__) runs in here: it may change the event, end the request or send
// something else.
PyRef materialize_fields(PyObject* event) noexcept {
  const PyRef headers = PyRef::borrow(dict_item(event, names.headers).get());
  if (!headers) return {};
  PyRef list = items_of(headers.get(), "headers must be an iterable of (name, value) pairs of bytes");
  if (!list) return list;
  Py_ssize_t odd = 0;
  while (odd < PySequence_Fast_GET_SIZE(list.get()) && is_pair_like(PySequence_Fast_GET_ITEM(list.get(), odd))) ++odd;
  if (odd == PySequence_Fast_GET_SIZE(list.get())) return list;
  list = PyRef::steal(PySequence_List(list.get()));  // a copy that only we have
  for (Py_ssize_t i = odd; list && i < PyList_GET_SIZE(list.get()); ++i) {
    PyObject* item = PyList_GET_ITEM(list.get(), i);
    if (is_pair_like(item)) continue;
    PyObject* pair = PySequence_Tuple(item);
    if (pair == nullptr || PyList_SetItem(list.get(), i, pair) != 0) {
      if (PyErr_ExceptionMatches(PyExc_TypeError))
        PyErr_SetString(PyExc_TypeError, "each header must be a (name, value) pair of bytes");
      return {};
    }
  }
  return list;
}

// The exchange, after code of the app's may have run: null, with an exception set, if that ended the request.
http::AppExchange* still_there(HttpCycle* cycle, const char* event) noexcept {
  if (cycle->exchange == nullptr) raise_outcome(http::Outcome::already_complete, event);
  return cycle->exchange;
}

// Calls add(name, value) for each of the fields that materialize_fields() gave. Runs no code of the app's.
template <typename Add>
bool for_each_field(PyObject* list, Add add) noexcept {
  const Py_ssize_t count = PySequence_Fast_GET_SIZE(list);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* item = PySequence_Fast_GET_ITEM(list, i);
    if (PySequence_Fast_GET_SIZE(item) != 2) {
      PyErr_SetString(PyExc_ValueError, "each header must be a (name, value) pair of bytes");
      return false;
    }
    PyObject* name = PySequence_Fast_GET_ITEM(item, 0);
    PyObject* value = PySequence_Fast_GET_ITEM(item, 1);
    if (!PyBytes_Check(name) || !PyBytes_Check(value)) {
      PyErr_Format(PyExc_TypeError, "header names and values must be bytes, not %.50s and %.50s",
                   Py_TYPE(name)->tp_name, Py_TYPE(value)->tp_name);
      return false;
    }
    const std::string_view name_view(PyBytes_AS_STRING(name), static_cast<std::size_t>(PyBytes_GET_SIZE(name)));
    const http::FieldError error =
        add(name_view, std::string_view(PyBytes_AS_STRING(value), static_cast<std::size_t>(PyBytes_GET_SIZE(value))));
    if (error != http::FieldError::ok) return raise_field(error, name_view);
  }
  return true;
}

// The queue lets go of a borrowed `bytes` on the loop's thread, perhaps without the GIL.
void release_object(void* owner) noexcept { DecrefQueue::of_this_thread().push(static_cast<PyObject*>(owner)); }

void release_file(void* owner) noexcept { platform::close_file(platform::file_from_context(owner)); }

bool check_outcome(HttpCycle* cycle, http::Outcome outcome, const char* event) noexcept {
  if (cycle->dispatcher != nullptr) {
    cycle->dispatcher->note_work();
    // Who waits in receive() learns that the response is complete (http.disconnect), who waits in send() need not wait
    // any longer.
    if (cycle->exchange != nullptr && cycle->exchange->complete()) cycle->dispatcher->wake_later(*cycle->exchange);
  }
  return outcome == http::Outcome::ok || raise_outcome(outcome, event);
}

}  // namespace

bool raise_outcome(http::Outcome outcome, const char* event) noexcept {
  switch (outcome) {
    case http::Outcome::ok:
      break;
    case http::Outcome::dead:
      PyErr_SetString(client_disconnected, "the client disconnected");
      break;
    case http::Outcome::body_too_long:
      PyErr_SetString(PyExc_RuntimeError, "Response content longer than Content-Length");
      break;
    case http::Outcome::body_too_short:
      PyErr_SetString(PyExc_RuntimeError, "Response content shorter than Content-Length");
      break;
    case http::Outcome::not_started:
      PyErr_Format(PyExc_RuntimeError, "Expected ASGI message 'http.response.start', but got '%s'.", event);
      break;
    case http::Outcome::already_started:
      PyErr_Format(PyExc_RuntimeError, "Expected ASGI message 'http.response.body', but got '%s'.", event);
      break;
    case http::Outcome::already_complete:
      PyErr_Format(PyExc_RuntimeError, "Unexpected ASGI message '%s' sent, after response already completed.", event);
      break;
    case http::Outcome::no_memory:
      PyErr_NoMemory();
      break;
    case http::Outcome::no_upgrade:
      PyErr_SetString(PyExc_RuntimeError, "the request does not ask for another protocol");
      break;
  }
  return false;
}

namespace {

// -1: an exception is set.
long read_status(PyObject* event) noexcept {
  const ItemRef given = dict_item(event, names.status);
  PyObject* status_object = given.get();
  if (status_object == nullptr || !PyLong_Check(status_object)) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "http.response.start needs an int 'status'");
    return -1;
  }
  const long status = PyLong_AsLong(status_object);
  if (status >= 200 && status <= 999) return status;
  PyErr_Clear();
  PyErr_Format(PyExc_ValueError, "status %R is not a final HTTP status (200 to 999)", status_object);
  return -1;
}

}  // namespace

bool read_start(HttpCycle* cycle, PyObject* event) noexcept {
  static const char* const kEvent = "http.response.start";
  const long status = read_status(event);
  if (status < 0) return false;
  const PyRef headers = materialize_fields(event);
  if (!headers && PyErr_Occurred() != nullptr) return false;
  const int trailers = get_bool(event, names.trailers, 0);
  if (trailers < 0 || still_there(cycle, kEvent) == nullptr) return false;
  http::AppExchange& exchange = *cycle->exchange;
  if (exchange.dead()) return raise_outcome(http::Outcome::dead, kEvent);
  if (exchange.complete()) return raise_outcome(http::Outcome::already_complete, kEvent);
  if (exchange.started()) return raise_outcome(http::Outcome::already_started, kEvent);
  http::ResponseHead& head = exchange.response_head();
  head.start(static_cast<std::uint16_t>(status));
  if (headers && !for_each_field(headers.get(), [&head](std::string_view name, std::string_view value) {
        return head.add(name, value);
      })) {
    head.reset();
    return false;
  }
  cycle->trailers_follow = trailers != 0;
  const http::Outcome outcome = exchange.start(trailers != 0);
  return outcome == http::Outcome::ok ? (cycle->dispatcher->note_work(), true) : raise_outcome(outcome, kEvent);
}

bool read_body(HttpCycle* cycle, PyObject* event) noexcept {
  static const char* const kEvent = "http.response.body";
  const int more = get_bool(event, names.more_body, 0);  // first: a __bool__ may change the event
  if (more < 0) return false;
  const ItemRef given = dict_item(event, names.body);
  if (!given && PyErr_Occurred() != nullptr) return false;
  PyObject* body = given ? given.get() : names.empty_bytes;
  if (PyBytes_Check(body)) {
    if (still_there(cycle, kEvent) == nullptr) return false;
    http::AppExchange& exchange = *cycle->exchange;
    const Py_ssize_t size = PyBytes_GET_SIZE(body);
    const std::span<const std::byte> piece(reinterpret_cast<const std::byte*>(PyBytes_AS_STRING(body)),
                                           static_cast<std::size_t>(size));
    if (size <= kCopyBytes) return check_outcome(cycle, exchange.write(piece, {}, more == 0), kEvent);
    Py_INCREF(body);
    const http::Outcome outcome = exchange.write(piece, {body, release_object}, more == 0);
    if (outcome != http::Outcome::ok) Py_DECREF(body);
    return check_outcome(cycle, outcome, kEvent);
  }
  if (PyUnicode_Check(body)) {
    PyErr_SetString(PyExc_TypeError, "http.response.body needs bytes for 'body', not str");
    return false;
  }
  const PyRef hold = PyRef::borrow(body);
  Py_buffer view;
  if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) != 0) {
    PyErr_Clear();
    PyErr_Format(PyExc_TypeError, "http.response.body needs bytes for 'body', not %.100s", Py_TYPE(body)->tp_name);
    return false;
  }
  if (still_there(cycle, kEvent) == nullptr) {  // a __buffer__ of the app's
    PyBuffer_Release(&view);
    return false;
  }
  const http::Outcome outcome = cycle->exchange->write(
      {static_cast<const std::byte*>(view.buf), static_cast<std::size_t>(view.len)}, {}, more == 0);
  PyBuffer_Release(&view);
  return check_outcome(cycle, outcome, kEvent);
}

bool read_trailers(HttpCycle* cycle, PyObject* event) noexcept {
  static const char* const kEvent = "http.response.trailers";
  const PyRef headers = materialize_fields(event);
  if (!headers && PyErr_Occurred() != nullptr) return false;
  const int more = get_bool(event, names.more_trailers, 0);
  if (more < 0 || still_there(cycle, kEvent) == nullptr) return false;
  http::AppExchange& exchange = *cycle->exchange;
  if (exchange.dead()) return raise_outcome(http::Outcome::dead, kEvent);
  if (exchange.complete()) return raise_outcome(http::Outcome::already_complete, kEvent);
  if (!exchange.started()) return raise_outcome(http::Outcome::not_started, kEvent);
  if (!cycle->trailers_follow) {
    PyErr_SetString(PyExc_RuntimeError, "http.response.trailers needs 'trailers': True in http.response.start");
    return false;
  }
  if (headers && !for_each_field(headers.get(), [&exchange](std::string_view name, std::string_view value) {
        return exchange.add_trailer(name, value);
      }))
    return false;
  if (more != 0) return true;
  return check_outcome(cycle, exchange.end_trailers(), kEvent);
}

bool read_early_hint(HttpCycle* cycle, PyObject* event) noexcept {
  static const char* const kEvent = "http.response.early_hint";
  const PyRef links = PyRef::borrow(dict_item(event, names.links).get());
  if (!links) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "http.response.early_hint needs 'links'");
    return false;
  }
  const PyRef list = items_of(links.get(), "'links' must be an iterable of bytes");
  if (!list || still_there(cycle, kEvent) == nullptr) return false;
  http::AppExchange& exchange = *cycle->exchange;
  if (exchange.dead()) return raise_outcome(http::Outcome::dead, kEvent);
  if (exchange.complete()) return raise_outcome(http::Outcome::already_complete, kEvent);
  if (exchange.started()) return raise_outcome(http::Outcome::already_started, kEvent);
  http::ResponseHead fields;
  fields.start(103);
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(list.get()); ++i) {
    PyObject* link = PySequence_Fast_GET_ITEM(list.get(), i);
    if (!PyBytes_Check(link)) {
      PyErr_SetString(PyExc_TypeError, "'links' must be an iterable of bytes");
      return false;
    }
    const http::FieldError error =
        fields.add("link", {PyBytes_AS_STRING(link), static_cast<std::size_t>(PyBytes_GET_SIZE(link))});
    if (error != http::FieldError::ok) return raise_field(error, "link");
  }
  return check_outcome(cycle, exchange.send_informational(103, fields.fields()), kEvent);
}

bool write_opened_file(HttpCycle* cycle, platform::NativeFile file, std::uint64_t offset, std::uint64_t count,
                       bool last) noexcept {
  const net::Borrowed owner{platform::to_context(file), release_file};
  if (cycle->exchange == nullptr) {
    platform::close_file(file);
    return raise_outcome(http::Outcome::already_complete, "http.response.pathsend");
  }
  const http::Outcome outcome = cycle->exchange->write_file(file, offset, count, owner, last);
  if (outcome != http::Outcome::ok) platform::close_file(file);
  return check_outcome(cycle, outcome, "http.response.pathsend");
}

namespace {

// An optional non-negative integer of an event. False: an exception is set.
bool get_size(PyObject* event, PyObject* key, bool* given, std::uint64_t* out) noexcept {
  const ItemRef item = dict_item(event, key);
  PyObject* value = item.get();
  *given = value != nullptr && value != Py_None;
  if (!*given) return PyErr_Occurred() == nullptr;
  if (!PyLong_Check(value)) {
    PyErr_Format(PyExc_TypeError, "'%U' must be an int", key);
    return false;
  }
  const long long number = PyLong_AsLongLong(value);
  if (number < 0) {
    if (PyErr_Occurred() == nullptr) PyErr_Format(PyExc_ValueError, "'%U' must not be negative", key);
    return false;
  }
  *out = static_cast<std::uint64_t>(number);
  return true;
}

}  // namespace

bool read_zerocopysend(HttpCycle* cycle, PyObject* event) noexcept {
  static const char* const kEvent = "http.response.zerocopysend";
  http::AppExchange& exchange = *cycle->exchange;
  if (exchange.dead()) return raise_outcome(http::Outcome::dead, kEvent);
  if (exchange.complete()) return raise_outcome(http::Outcome::already_complete, kEvent);
  if (!exchange.started()) return raise_outcome(http::Outcome::not_started, kEvent);
  const PyRef file_reference = PyRef::borrow(dict_item(event, names.file).get());
  PyObject* file = file_reference.get();
  if (file == nullptr) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_TypeError, "http.response.zerocopysend needs 'file'");
    return false;
  }
  const int descriptor = PyObject_AsFileDescriptor(file);
  if (descriptor < 0) return false;
  const int more = get_bool(event, names.more_body, 0);
  bool has_offset = false, has_count = false;
  std::uint64_t offset = 0, count = 0;
  if (more < 0 || !get_size(event, names.offset, &has_offset, &offset) ||
      !get_size(event, names.count, &has_count, &count))
    return false;
  if (!has_offset) {  // from where the file stands; it then stands behind what is sent
    PyRef position = PyLong_Check(file)
                         ? PyRef::steal(PyObject_CallMethod(PyRef::steal(PyImport_ImportModule("os")).get(), "lseek",
                                                            "Oii", file, 0, 1))
                         : PyRef::steal(PyObject_CallMethod(file, "tell", nullptr));
    if (!position) return false;
    const long long at = PyLong_AsLongLong(position.get());
    if (at < 0) return false;
    offset = static_cast<std::uint64_t>(at);
  }
  const platform::NativeFile native = native_file(descriptor);
  if (native == platform::no_file) {
    if (PyErr_Occurred() == nullptr) PyErr_SetString(PyExc_OSError, "http.response.zerocopysend: 'file' is closed");
    return false;
  }
  auto duplicate = platform::duplicate_file(native);
  if (!duplicate) {
    raise_os_error(duplicate.error());
    return false;
  }
  auto info = platform::stat_file(*duplicate);
  if (!info || !info->regular) {
    platform::close_file(*duplicate);
    PyErr_SetString(PyExc_ValueError, "http.response.zerocopysend needs a regular file");
    return false;
  }
  const std::uint64_t rest = info->size > offset ? info->size - offset : 0;
  if (has_count && count > rest) {
    platform::close_file(*duplicate);
    PyErr_Format(PyExc_ValueError,
                 "http.response.zerocopysend: the file has %llu bytes after offset %llu, fewer than 'count' %llu",
                 static_cast<unsigned long long>(rest), static_cast<unsigned long long>(offset),
                 static_cast<unsigned long long>(count));
    return false;
  }
  if (!has_count) count = rest;
  if (!has_offset) {
    const auto end = static_cast<long long>(offset + count);
    PyRef moved = PyLong_Check(file) ? PyRef::steal(PyObject_CallMethod(PyRef::steal(PyImport_ImportModule("os")).get(),
                                                                        "lseek", "OLi", file, end, 0))
                                     : PyRef::steal(PyObject_CallMethod(file, "seek", "L", end));
    if (!moved) {
      platform::close_file(*duplicate);
      return false;
    }
  }
  return write_opened_file(cycle, *duplicate, offset, count, more == 0);
}

}  // namespace pyre::asgi
