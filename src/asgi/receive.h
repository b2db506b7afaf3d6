// receive(): the app's callable for request events (ASGI HTTP spec, "Request" and "Disconnect"). Calling it gives an
// awaitable that is evaluated when it is awaited, as an `async def receive` would be.
#pragma once

#include "asgi/http_cycle.h"

namespace pyre::asgi {

[[nodiscard]] bool init_receive_types();
[[nodiscard]] PyObject* new_receive(HttpCycle* cycle) noexcept;  // a new reference
// True if receive() would not wait now.
[[nodiscard]] bool receive_ready(const HttpCycle* cycle) noexcept;

}  // namespace pyre::asgi
