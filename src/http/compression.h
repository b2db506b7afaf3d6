// Compression: which responses are compressed on their way out, and with what (--compress). How that is done is in
// coded_body.h and encoder.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "http/accept_encoding.h"
#include "http/request_head.h"
#include "http/response_head.h"

namespace pyre::http {

class Compression {
 public:
  // One packet carries some 1,400 bytes, head included: below this nobody gains anything.
  static constexpr std::uint64_t kMinSize = 1024;

  struct Choice {
    Coding coding = Coding::identity;
    int level = 0;
  };

  // In the order of preference, for clients who like several as much. False: no such coding, or one that is there
  // already, or a level that it does not have.
  [[nodiscard]] bool add(Coding coding, int level);
  void set_min_size(std::uint64_t bytes) noexcept { min_size_ = bytes; }
  // Instead of the usual ones: "text/css", "text/*", "*+json", in lower case.
  void set_types(std::vector<std::string> types) noexcept { types_ = std::move(types); }

  [[nodiscard]] std::uint64_t min_size() const noexcept { return min_size_; }
  // Says a field for every response (--header) that nothing may be compressed?
  [[nodiscard]] static bool is_forbidden_by(std::string_view fields) noexcept;
  // Would it be compressed for a client who accepts that? Not if the application has coded it already or forbids it
  // (Content-Encoding, Cache-Control: no-transform, a digest of the bytes), if it is a part (Content-Range), or has no
  // body; and only if its Content-Type is of the kind that shrinks. For HEAD the answer is that for GET.
  [[nodiscard]] bool fits(const RequestHead& request, const ResponseHead& head) const noexcept;
  // What this client gets; identity: nothing that we have.
  [[nodiscard]] Choice choose(const RequestHead& request) const noexcept;

 private:
  [[nodiscard]] bool has_type(std::string_view content_type) const noexcept;

  std::vector<Choice> choices_;
  std::vector<Coding> order_;
  std::uint64_t min_size_ = kMinSize;
  std::vector<std::string> types_ = usual_types();

 public:
  [[nodiscard]] static std::vector<std::string> usual_types();
};

// RFC 9110 12.5.5: caches must know that another client may get other bytes. Adds "vary: accept-encoding" unless the
// field says so already. FieldError::too_large: there is no room.
[[nodiscard]] FieldError vary_by_coding(ResponseHead& head) noexcept;
// A strong ETag becomes a weak one (RFC 9110 8.8.1: it stood for other bytes).
[[nodiscard]] FieldError weaken_tag(ResponseHead& head) noexcept;
// The body will be coded: Content-Encoding is added, Content-Length is forgotten, and the ETag is weakened. On an error
// nothing was changed.
[[nodiscard]] FieldError mark_as_coded(ResponseHead& head, Coding coding) noexcept;

}  // namespace pyre::http
