// Conditional requests (RFC 9110 13): what If-Match and its kin make of a GET or HEAD request.
#pragma once

#include <cstdint>
#include <string_view>

#include "http/request_head.h"

namespace pyre::http {

// Of the representation that would be sent.
struct Validators {
  std::string_view etag;      // strong, with its quotes
  std::int64_t modified = 0;  // what Last-Modified says, in seconds
  std::int64_t now = 0;       // what Date says
  bool alone = true;          // there is no other coding of it, which may have the same date
};

enum class Precondition : std::uint8_t {
  met,           // or there is none
  not_modified,  // 304
  failed,        // 412
};

// In the order of RFC 9110 13.2.2. A date that is none, or that is there twice, is no condition.
[[nodiscard]] Precondition check_preconditions(const RequestHead& request, const Validators& current) noexcept;

// Does If-Range, if there is one, let the Range field count? An entity tag must be the same one, strongly; a date the
// same, of a file without other codings, and so old that it cannot have changed again within its second (RFC 9110
// 13.1.5, 8.8.2.2). Two fields are none that holds.
[[nodiscard]] bool range_applies(const RequestHead& request, const Validators& current) noexcept;

}  // namespace pyre::http
