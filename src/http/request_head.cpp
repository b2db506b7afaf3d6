#include "http/request_head.h"

namespace pyre::http {
namespace {
// What a pooled head may keep. A browser's head has 1-2 KiB and about 20 fields.
constexpr std::size_t kKeepBytes = 4096;
constexpr std::size_t kKeepFields = 4096 / sizeof(HeaderField);
}  // namespace

void RequestHead::reset() noexcept {
  if (bytes.capacity() > kKeepBytes)
    std::vector<char>().swap(bytes);
  else
    bytes.clear();
  if (fields.capacity() > kKeepFields)
    std::vector<HeaderField>().swap(fields);
  else
    fields.clear();
  method_size = target_at = target_size = 0;
  path_at = path_size = query_at = query_size = 0;
  content_length = 0;
  minor_version = 1;
  has_content_length = chunked = expect_continue = false;
  keep_alive = true;
  upgrade = path_has_escape = accepts_trailers = false;
}

}  // namespace pyre::http
