// StaticFiles: which paths are answered from which directories (--static). Made at the start, immutable from then on,
// and shared by all loops.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "platform/directory.h"

namespace pyre::http {

class StaticFiles {
 public:
  struct Route {
    std::string prefix;  // "/static"; "" for the route "/"
    std::unique_ptr<platform::Directory> directory;
    // What is not there is the application's to answer: for the route "/" only, which would hide it altogether.
    [[nodiscard]] bool falls_through() const noexcept { return prefix.empty(); }
  };

  // `prefix` begins with '/'; one at its end does not count. A route that is there already is replaced.
  [[nodiscard]] platform::Error add(std::string_view prefix, const char* directory);
  // Cache-Control: max-age of every file; without this call none is sent.
  void set_max_age(std::uint32_t seconds);

  // The route that `path`, decoded, is at or below, by whole segments; of several the longest. Null: none.
  [[nodiscard]] const Route* match(std::string_view path) const noexcept;
  [[nodiscard]] const std::vector<Route>& routes() const noexcept { return routes_; }
  [[nodiscard]] const std::string& cache_line() const noexcept {
    return cache_line_;
  }  // "cache-control: ...\r\n" or ""

 private:
  std::vector<Route> routes_;  // the longest prefix first
  std::string cache_line_;
};

}  // namespace pyre::http
