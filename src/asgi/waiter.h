// Waiter: the future-like object that a suspended receive() or send() yields. asyncio's Task accepts any object with
// `_asyncio_future_blocking` (asyncio.futures.isfuture), and unlike asyncio.Future, whose callbacks take a trip through
// call_soon, its callbacks are run by the batch directly, in their own context. All functions need the GIL.
#pragma once

#include "asgi/python_api.h"
#include "asgi/thread_owner.h"

namespace pyre::asgi {

struct Waiter {
  enum class State : unsigned char { pending, done, cancelled };
  PyObject ob_base;
  PyObject* loop;
  PyObject* callback;  // the usual single one, with its context
  PyObject* context;   // null: none was given
  PyObject* more;      // a list of (callback, context or None) beyond the first; usually null
  PyObject* message;   // cancel(msg=...)
  Waiter* next;        // the owner's list
  State state;
  bool blocking;
  [[no_unique_address]] ThreadOwner owner;
};

extern PyObject* cancelled_error;  // asyncio.CancelledError

[[nodiscard]] bool init_waiter_type();
// A new pending waiter; null with an exception set.
[[nodiscard]] Waiter* new_waiter(PyObject* loop) noexcept;
// pending -> done, then runs the callbacks now, while no task runs. Exceptions go to the loop's exception handler, but
// KeyboardInterrupt and SystemExit to `fatal`. Does nothing if not pending.
void wake(Waiter* waiter, PyRef& fatal) noexcept;
// pending -> done; the event loop runs the callbacks: for where a task may be running, which cannot be interrupted by
// another's step.
void wake_soon(Waiter* waiter) noexcept;

}  // namespace pyre::asgi
