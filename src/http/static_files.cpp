#include "http/static_files.h"

#include <algorithm>

namespace pyre::http {

platform::Error StaticFiles::add(std::string_view prefix, const char* directory) {
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  auto opened = platform::Directory::open(directory);
  if (!opened) return opened.error();
  std::erase_if(routes_, [prefix](const Route& route) { return route.prefix == prefix; });
  const auto place = std::find_if(routes_.begin(), routes_.end(),
                                  [prefix](const Route& route) { return route.prefix.size() <= prefix.size(); });
  routes_.insert(place, Route{std::string(prefix), std::move(*opened)});
  return {platform::Errc::ok, 0};
}

void StaticFiles::set_max_age(std::uint32_t seconds) {
  cache_line_ = "cache-control: max-age=" + std::to_string(seconds) + "\r\n";
}

const StaticFiles::Route* StaticFiles::match(std::string_view path) const noexcept {
  if (!path.starts_with('/')) return nullptr;  // "*"
  for (const Route& route : routes_) {
    const std::size_t size = route.prefix.size();
    if (path.starts_with(route.prefix) && (path.size() == size || path[size] == '/')) return &route;
  }
  return nullptr;
}

}  // namespace pyre::http
