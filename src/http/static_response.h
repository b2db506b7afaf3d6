// What a request below a static route is answered: the file, a part of it, several parts, or why not.
#pragma once

#include <cstdint>

#include "http/exchange.h"
#include "http/static_file.h"

namespace pyre::http {

// GET or HEAD, and set.kind is `file`. `now` is what Date says. The response is complete, or the connection is lost.
void send_static_file(Exchange& exchange, const FileSet& set, std::int64_t now) noexcept;
// 308 to the same path with a '/' behind it, relative, so that neither --root-path nor the host matters.
void send_slash_redirect(Exchange& exchange) noexcept;
// 204 to OPTIONS, else 405; both say which methods there are.
void send_static_methods(Exchange& exchange) noexcept;

}  // namespace pyre::http
