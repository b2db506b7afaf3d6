// The request line (RFC 9112 3): method, target and version, checked and split; and the authority that a Host field or
// an absolute-form target carries.
#pragma once

#include <string_view>

#include "http/refusal.h"
#include "http/request_head.h"

namespace pyre::http {

// A longer method is refused: the longest that is registered, UPDATEREDIRECTREF, has 17 characters.
inline constexpr std::size_t kLongestMethod = 32;

// `head.bytes` holds exactly the line, without its CRLF. Fills in method, target, path, query and version; may append
// to `bytes`. Absolute-form targets must be http or https with a host. 400, 501 (CONNECT) or 505.
[[nodiscard]] Refusal parse_request_line(RequestHead& head) noexcept;

// uri-host [ ":" port ] (RFC 9112 3.2, RFC 3986 3.2.2), not empty, without user information.
[[nodiscard]] bool is_authority(std::string_view text) noexcept;

// The authority of an absolute-form target; empty for the other forms.
[[nodiscard]] std::string_view authority_of(const RequestHead& head) noexcept;

}  // namespace pyre::http
