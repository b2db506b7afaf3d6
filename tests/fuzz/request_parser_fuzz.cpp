// Any bytes through the request parser, whole and in pieces: no crash, the same requests and the same refusal however
// the bytes are split, and nothing in a parsed head that an application could trip over.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string_view>

#include "unit/http/parse_all.h"

namespace {

void require(bool holds, std::source_location where = std::source_location::current()) {
  if (holds) return;
  std::fprintf(stderr, "line %u does not hold\n", static_cast<unsigned>(where.line()));
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using pyre::http::test::parse_all;
  using pyre::http::test::Parsed;
  pyre::http::Limits limits;
  limits.request_line_bytes = 200;
  limits.header_bytes = 1000;
  limits.header_fields = 20;
  limits.chunk_extension_bytes = 100;
  limits.body_bytes = 2000;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const Parsed whole = parse_all(input, 0, limits);
  for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{64}}) {
    const Parsed split = parse_all(input, step, limits);
    // Which of two faults is met first may depend on where the bytes are split, but not whether there is one.
    require((split.status != 0) == (whole.status != 0));
    require(split.messages.size() >= whole.messages.size() || whole.status != 0);
    for (std::size_t i = 0; i < whole.messages.size() && i < split.messages.size(); ++i) {
      if (whole.messages[i].complete && split.messages[i].complete) require(split.messages[i] == whole.messages[i]);
    }
  }
  for (const Parsed::Message& message : whole.messages) {
    require(!message.path.empty() && (message.path[0] == '/' || message.path == "*"));
    require(message.minor_version == 0 || message.minor_version == 1);
    for (const auto& [name, value] : message.fields) {
      require(!name.empty());
      for (const char c : name) require(c > 0x20 && c < 0x7f && c != ':' && !(c >= 'A' && c <= 'Z'));
      for (const char c : value) require(c != '\r' && c != '\n' && c != '\0');
    }
  }
  return 0;
}
