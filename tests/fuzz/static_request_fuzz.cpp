// Any bytes through what reads a request for a static file: its path, and the fields Range, If-Range, If-None-Match,
// If-Modified-Since and Accept-Encoding. The input is the size of the file in its first two bytes, then the path and
// the fields' values, one a line.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <source_location>
#include <string>
#include <string_view>

#include "http/accept_encoding.h"
#include "http/conditional.h"
#include "http/http_date.h"
#include "http/range.h"
#include "http/static_path.h"
#include "unit/http_aux/head_builder.h"

namespace {

using namespace pyre::http;

void require(bool holds, std::source_location where = std::source_location::current()) {
  if (holds) return;
  std::fprintf(stderr, "line %u does not hold\n", static_cast<unsigned>(where.line()));
  std::abort();
}

std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return line;
}

void check_path(std::string_view raw) {
  std::string decoded;
  decode_path(raw, decoded);
  require(decoded.size() <= raw.size());
  const StaticName split = split_static_name(decoded.starts_with('/') ? std::string_view(decoded) : "");
  for (const bool windows : {false, true}) {
    if (!is_servable(split.name, windows)) continue;
    require(split.name.size() <= kMaxStaticName);
    require(split.name.find('\0') == std::string_view::npos);
    std::string_view rest = split.name;
    while (!rest.empty()) {
      const std::size_t end = rest.find('/');
      const std::string_view segment = rest.substr(0, end);
      require(!segment.empty() && segment.front() != '.');
      if (windows) {
        require(segment.find_first_of("\\:*?\"<>|") == std::string_view::npos);
        require(segment.back() != '.' && segment.back() != ' ');
      }
      require(end != rest.size() - 1);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
  }
}

void check_range(std::string_view field, std::uint64_t size) {
  RangeSet set;
  if (set.parse(field, size) != RangeSet::Verdict::partial) return;
  require(!set.ranges().empty() && set.ranges().size() <= RangeSet::kMaxRanges);
  std::uint64_t sum = 0;
  for (const ByteRange& range : set.ranges()) {
    require(range.count > 0 && range.count <= size && range.first <= size - range.count);
    sum += range.count;
  }
  require(sum <= size);
}

void check_date(std::string_view text) {
  constexpr std::int64_t kNow = 1'800'000'000;
  const auto date = parse_http_date(text, kNow);
  if (!date || *date < 0) return;
  std::array<char, kHttpDateSize> written;
  format_http_date(*date, written);
  require(parse_http_date({written.data(), written.size()}, kNow) == *date);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::uint64_t file_size = data[0] * 256U + data[1];
  std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  check_path(take_line(rest));
  const std::string_view range = take_line(rest);
  check_range(range, file_size);
  check_range(range, ~std::uint64_t{0} / 2);
  const std::string_view if_range = take_line(rest);
  const std::string_view if_none_match = take_line(rest);
  const std::string_view since = take_line(rest);
  const std::string_view accept = take_line(rest);
  check_date(since);
  const RequestHead head = testing::make_head("GET", "/",
                                              {{HeaderName::if_range, if_range},
                                               {HeaderName::if_none_match, if_none_match},
                                               {HeaderName::if_modified_since, since},
                                               {HeaderName::accept_encoding, accept}});
  const Validators current{"\"abc\"", 1'000'000'000, 1'800'000'000};
  const Precondition found = check_preconditions(head, current);
  require(found != Precondition::failed);  // neither If-Match nor If-Unmodified-Since is there
  if (found == Precondition::not_modified && if_none_match.find("\"abc\"") == std::string_view::npos)
    require(if_none_match == "*" || parse_http_date(since, current.now).has_value());
  if (range_applies(head, current))
    require(if_range.empty() || if_range == current.etag || parse_http_date(if_range, current.now).has_value());
  for (unsigned available = 1; available < 16; available += 2) {
    const auto chosen = static_cast<unsigned>(choose_coding(head, available));
    require((available & (1U << chosen)) != 0);
  }
  return 0;
}
