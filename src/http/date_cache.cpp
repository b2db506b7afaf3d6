#include "http/date_cache.h"

#include "http/http_date.h"

namespace pyre::http {

void DateCache::format(std::int64_t wall_second) noexcept {
  std::array<char, kHttpDateSize> date;
  format_http_date(wall_second, date);
  std::string_view("date: ").copy(text_.data(), 6);
  std::string_view(date.data(), date.size()).copy(text_.data() + 6, date.size());
  std::string_view("\r\n").copy(text_.data() + 6 + date.size(), 2);
  second_ = wall_second;
}

}  // namespace pyre::http
