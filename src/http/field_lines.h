// Field lines in one pass, for the usual case: a whole header block in one piece, with nothing odd in it.
#pragma once

#include "http/limits.h"
#include "http/request_head.h"

namespace pyre::http {

// The header block at `p`, up to and with the empty line: checked, and its names (lower-cased) and values (trimmed)
// appended to `head`. True: `p` is behind the block. False: not all of it is there, or it is not regular in every way
// (also if it is over a limit); then nothing has changed, and the careful way in request_parser.cpp says what is wrong,
// if anything.
[[nodiscard]] bool read_field_lines(RequestHead& head, const Limits& limits, const char*& p, const char* end) noexcept;

}  // namespace pyre::http
