#include "http/range.h"

#include <algorithm>

#include "http/characters.h"

namespace pyre::http {
namespace {

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool is_bytes_unit(std::string_view& field) noexcept {
  constexpr std::string_view kUnit = "bytes=";
  if (field.size() < kUnit.size()) return false;
  for (std::size_t i = 0; i < kUnit.size(); ++i)
    if (to_lower(field[i]) != kUnit[i]) return false;
  field.remove_prefix(kUnit.size());
  return true;
}

// Digits only. A number that 64 bits do not hold is as good as the largest: no file is that long.
bool parse_number(std::string_view text, std::uint64_t& out) noexcept {
  if (text.empty()) return false;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return false;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
  }
  out = value;
  return true;
}

// False: malformed. `out.count` 0: well-formed, but there is nothing of it.
bool parse_one(std::string_view text, std::uint64_t size, ByteRange& out) noexcept {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) return false;
  const std::string_view before = text.substr(0, dash);
  const std::string_view after = text.substr(dash + 1);
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  out = {};
  if (before.empty()) {  // the last so many bytes
    if (!parse_number(after, last)) return false;
    out.count = std::min(last, size);
    out.first = size - out.count;
    return true;
  }
  if (!parse_number(before, first)) return false;
  if (after.empty())
    last = UINT64_MAX;
  else if (!parse_number(after, last) || last < first)
    return false;
  if (first < size) out = {first, std::min(last, size - 1) - first + 1};
  return true;
}

}  // namespace

RangeSet::Verdict RangeSet::parse(std::string_view field, std::uint64_t size) noexcept {
  count_ = 0;
  if (size == 0 || !is_bytes_unit(field)) return Verdict::whole;
  std::size_t asked = 0;
  std::uint64_t sum = 0;
  while (true) {
    const std::size_t comma = field.find(',');
    const std::string_view element = trimmed(field.substr(0, comma));
    if (!element.empty()) {  // RFC 9110 5.6.1: empty elements of a list do not count
      ByteRange range;
      if (++asked > kMaxAsked || !parse_one(element, size, range)) return Verdict::whole;
      if (range.count != 0) {
        if (range.count > size - sum) return Verdict::whole;
        sum += range.count;
        ranges_[count_++] = range;
      }
    }
    if (comma == std::string_view::npos) break;
    field.remove_prefix(comma + 1);
  }
  if (asked == 0) return Verdict::whole;
  if (count_ == 0) return Verdict::unsatisfiable;
  join_overlapping();
  return count_ > kMaxRanges ? Verdict::whole : Verdict::partial;
}

void RangeSet::join_overlapping() noexcept {
  if (count_ < 2) return;
  std::array<ByteRange, kMaxAsked> sorted = ranges_;
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(count_);
  std::sort(sorted.begin(), end, [](const ByteRange& a, const ByteRange& b) { return a.first < b.first; });
  std::size_t joined = 0;
  for (std::size_t i = 1; i < count_; ++i) {
    ByteRange& before = sorted[joined];
    const ByteRange& next = sorted[i];
    if (next.first <= before.last() + 1)
      before.count = std::max(before.last(), next.last()) - before.first + 1;
    else
      sorted[++joined] = next;
  }
  if (joined + 1 == count_) return;
  ranges_ = sorted;
  count_ = joined + 1;
}

}  // namespace pyre::http
