// Static paths: from the path of a request to a name that may be looked for in a directory. Pure text: what a name
// leads to is for platform::Directory.
#pragma once

#include <string>
#include <string_view>

namespace pyre::http {

// Decodes each "%41" once; what is no escape stays as it is, as urllib.parse.unquote() leaves it.
void decode_path(std::string_view raw, std::string& out);

// What is left of a path below a route.
struct StaticName {
  std::string_view name;  // without a '/' at either end; "" is the directory itself
  bool folder = false;    // it ended with a '/'
};
// `rest` is empty or begins with '/'.
[[nodiscard]] StaticName split_static_name(std::string_view rest) noexcept;

// May `name` be looked for? Not if a segment is empty, begins with a dot (so neither ".", ".." nor ".git", and not even
// ".well-known"), or has a NUL in it; nor if it is longer than kMaxStaticName. With `windows` neither with a backslash,
// a colon or another character that no file's name can have, a blank or a dot at the end of a segment, or the name of a
// device.
inline constexpr std::size_t kMaxStaticName = 1024;  // a cached name's memory; longer ones exist in attacks only
[[nodiscard]] bool is_servable(std::string_view name, bool windows) noexcept;

}  // namespace pyre::http
