// Content types by a file name's extension.
#pragma once

#include <string_view>

namespace pyre::http {

// "text/css; charset=utf-8" for "site.css" and "SITE.CSS"; "application/octet-stream" for what nobody knows. Text is
// UTF-8: there is nothing in a file that would say otherwise, and a browser that has to guess guesses Windows-1252.
[[nodiscard]] std::string_view mime_type_of(std::string_view name) noexcept;

}  // namespace pyre::http
