// send(): the app's callable for response events (ASGI HTTP spec, "Response", and the extensions pathsend,
// zerocopysend, trailers and early_hint). The event is taken when send() is called; the awaitable it returns is already
// done unless the output is above high water (it then waits for it to drain) or a path is being opened.
//
// Errors raised: TypeError, ValueError (an event of the wrong shape), RuntimeError (the wrong event at this time),
// OSError (a file), pyre.ClientDisconnected (the connection is gone).
#pragma once

#include "asgi/http_cycle.h"

namespace pyre::asgi {

[[nodiscard]] bool init_send_types();
[[nodiscard]] PyObject* new_send(HttpCycle* cycle) noexcept;  // a new reference
// True if a send() that waits could go on now.
[[nodiscard]] bool send_ready(const HttpCycle* cycle) noexcept;

}  // namespace pyre::asgi
