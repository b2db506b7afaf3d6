// RequestHead: a request line and its fields, parsed, owning its bytes. Immutable once complete. Reused from request to
// request: reset() keeps the memory (up to 4 KiB).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "http/header_name.h"

namespace pyre::http {

struct HeaderField {
  std::uint32_t name_at = 0;  // offsets into RequestHead::bytes
  std::uint32_t value_at = 0;
  std::uint32_t value_size = 0;
  std::uint16_t name_size = 0;
  HeaderName id = HeaderName::other;
};

struct RequestHead {
  std::vector<char> bytes;          // method, target, then names (lower-cased) and values (trimmed of OWS), in order
  std::vector<HeaderField> fields;  // in the order of arrival; duplicates stay separate
  std::uint32_t method_size = 0;    // at offset 0
  std::uint32_t target_at = 0;
  std::uint32_t target_size = 0;  // as sent (request-target)
  // Origin form of the target: for absolute-form ("http://host/p?q") the part from the path on, for "*" the whole.
  // Without the "?" and what follows; a fragment is refused by the parser.
  std::uint32_t path_at = 0;
  std::uint32_t path_size = 0;
  std::uint32_t query_at = 0;  // after the "?"; size 0 if there is none
  std::uint32_t query_size = 0;
  std::uint64_t content_length = 0;
  std::uint8_t minor_version = 1;  // HTTP/1.minor
  bool has_content_length = false;
  bool chunked = false;
  bool expect_continue = false;
  bool keep_alive = true;         // what the request asks for, by its version and Connection
  bool upgrade = false;           // Connection: upgrade and an Upgrade field
  bool path_has_escape = false;   // a '%' is in the path: it needs decoding
  bool accepts_trailers = false;  // TE: trailers

  [[nodiscard]] std::string_view view(std::uint32_t at, std::uint32_t size) const noexcept {
    return {bytes.data() + at, size};
  }
  [[nodiscard]] std::string_view method() const noexcept { return view(0, method_size); }
  [[nodiscard]] std::string_view target() const noexcept { return view(target_at, target_size); }
  [[nodiscard]] std::string_view path() const noexcept { return view(path_at, path_size); }
  [[nodiscard]] std::string_view query() const noexcept { return view(query_at, query_size); }
  [[nodiscard]] std::string_view name(const HeaderField& f) const noexcept { return view(f.name_at, f.name_size); }
  [[nodiscard]] std::string_view value(const HeaderField& f) const noexcept { return view(f.value_at, f.value_size); }
  [[nodiscard]] bool has_body() const noexcept { return chunked || content_length > 0; }
  [[nodiscard]] bool is_head() const noexcept { return method() == "HEAD"; }
  // First field with this id; nullptr if none.
  [[nodiscard]] const HeaderField* find(HeaderName id) const noexcept {
    for (const HeaderField& field : fields)
      if (field.id == id) return &field;
    return nullptr;
  }
  void reset() noexcept;
};

}  // namespace pyre::http
