// HttpCycle: one request as Python sees it. It is the coroutine that the request's asyncio.Task runs (it delegates to
// the app's coroutine, so that the end of the app, or its exception, is seen without a done-callback), and the state
// behind the two callables that the app gets, `receive` and `send`.
//
// Life: made by the dispatcher for an exchange -> task started -> ... -> finish() when the app's coroutine ends, which
// releases the exchange. The app may keep `receive` and `send` for longer: receive() then gives http.disconnect, send()
// raises. All functions need the GIL and run on the loop's thread.
#pragma once

#include "asgi/python_api.h"
#include "asgi/thread_owner.h"
#include "asgi/waiter.h"
#include "http/app_exchange.h"

namespace pyre::asgi {

class Dispatcher;

struct HttpCycle {
  PyObject ob_base;
  http::AppExchange* exchange;  // null after finish()
  Dispatcher* dispatcher;       // null once the engine is gone
  PyObject* coroutine;          // the iterator that is driven; null after finish()
  PyObject* task;               // while it is suspended
  Waiter* receive_waiters;      // owned references, a list
  Waiter* send_waiters;
  HttpCycle* previous;  // the dispatcher's list of unfinished cycles
  HttpCycle* next;
  bool body_delivered;  // the last http.request event (more_body False) was given
  bool finished;
  bool running;  // its coroutine is being stepped
  bool aborted;  // cancelled by the server: not an error of the app's
  bool trailers_follow;
  bool path_opened;  // a pathsend's file was opened, and its send() has not seen it yet
  [[no_unique_address]] ThreadOwner owner;
};

[[nodiscard]] bool init_http_cycle_types();

// A new cycle for an exchange that has just been given; null with an exception set.
[[nodiscard]] HttpCycle* new_cycle(Dispatcher& dispatcher, http::AppExchange& exchange) noexcept;
// Calls app(scope, receive, send) and keeps its coroutine. False with an exception set.
[[nodiscard]] bool call_app(HttpCycle* cycle, PyObject* app, PyObject* scope) noexcept;
// The app is over. With an exception set, it is taken: it is logged and the response is failed (500 before the start,
// cut after it). Without one, an incomplete response is an error of the app's. Idempotent.
void finish(HttpCycle* cycle) noexcept;
// Something happened to the exchange (body, drained, disconnect): wakes those whose wait is over.
void wake_waiters(HttpCycle* cycle) noexcept;
// The engine goes away under a running app.
void detach(HttpCycle* cycle) noexcept;

// Registers a new waiter in `list`; a new reference, or null with an exception set.
[[nodiscard]] Waiter* add_waiter(HttpCycle* cycle, Waiter*& list) noexcept;
void remove_waiter(Waiter*& list, Waiter* waiter) noexcept;

// pyre.ClientDisconnected, an OSError.
extern PyObject* client_disconnected;

}  // namespace pyre::asgi
