// What the fields of a request head mean for the connection: Host, framing, Connection, Expect, Upgrade, TE (RFC 9110
// and 9112).
#pragma once

#include "http/limits.h"
#include "http/refusal.h"
#include "http/request_head.h"

namespace pyre::http {

// The request line and all fields are in `head`; sets the rest of it, or says why the request must be refused.
// Everything that two servers could read differently (RFC 9112 11.2) is refused, never repaired.
[[nodiscard]] Refusal apply_head_rules(RequestHead& head, const Limits& limits) noexcept;

// 1*DIGIT, no leading zero (other parsers read them as octal), at most 2^63-1.
[[nodiscard]] bool parse_content_length(std::string_view text, std::uint64_t& out) noexcept;

}  // namespace pyre::http
