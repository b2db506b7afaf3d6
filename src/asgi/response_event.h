// Reads the events that an app sends into an exchange. Each function returns false with a Python exception set; what
// was refused changed nothing on the wire.
#pragma once

#include "asgi/http_cycle.h"

namespace pyre::asgi {

// http.response.start {status: int, headers: iterable of (bytes, bytes), trailers: bool}
[[nodiscard]] bool read_start(HttpCycle* cycle, PyObject* event) noexcept;
// http.response.body {body: bytes-like, more_body: bool}
[[nodiscard]] bool read_body(HttpCycle* cycle, PyObject* event) noexcept;
// http.response.trailers {headers, more_trailers: bool}
[[nodiscard]] bool read_trailers(HttpCycle* cycle, PyObject* event) noexcept;
// http.response.early_hint {links: iterable of bytes}
[[nodiscard]] bool read_early_hint(HttpCycle* cycle, PyObject* event) noexcept;
// http.response.zerocopysend {file, offset: int, count: int, more_body: bool}. The descriptor is duplicated.
[[nodiscard]] bool read_zerocopysend(HttpCycle* cycle, PyObject* event) noexcept;

// Queues a whole opened file as the rest of the body; takes the file over in every case.
[[nodiscard]] bool write_opened_file(HttpCycle* cycle, platform::NativeFile file, std::uint64_t offset,
                                     std::uint64_t count, bool last) noexcept;
// Sets the exception that belongs to an outcome that is not ok. Returns false.
bool raise_outcome(http::Outcome outcome, const char* event) noexcept;

}  // namespace pyre::asgi
