#include "http/conditional.h"

#include <optional>

#include "http/characters.h"
#include "http/http_date.h"

namespace pyre::http {
namespace {

// Is `etag`, a strong one, in the list? A weak one of the list is the same only where `weakly` compared (RFC 9110
// 8.8.3.2). What follows something that is no entity tag is not looked at.
bool list_has(std::string_view list, std::string_view etag, bool weakly) noexcept {
  while (true) {
    while (!list.empty() && (is_space(list.front()) || list.front() == ',')) list.remove_prefix(1);
    const bool weak = list.starts_with("W/");
    if (weak) list.remove_prefix(2);
    if (!list.starts_with('"')) return false;
    const std::size_t end = list.find('"', 1);
    if (end == std::string_view::npos) return false;
    if ((weakly || !weak) && list.substr(0, end + 1) == etag) return true;
    list.remove_prefix(end + 1);
  }
}

// Over all fields of the name: a list may come in several lines.
bool matches(const RequestHead& request, HeaderName name, std::string_view etag, bool weakly) noexcept {
  for (const HeaderField& field : request.fields) {
    if (field.id != name) continue;
    const std::string_view value = request.value(field);
    if (value == "*" || list_has(value, etag, weakly)) return true;
  }
  return false;
}

std::optional<std::int64_t> date_of(const RequestHead& request, HeaderName name, std::int64_t now) noexcept {
  const HeaderField* found = nullptr;
  for (const HeaderField& field : request.fields) {
    if (field.id != name) continue;
    if (found != nullptr) return std::nullopt;
    found = &field;
  }
  if (found == nullptr) return std::nullopt;
  return parse_http_date(request.value(*found), now);
}

}  // namespace

Precondition check_preconditions(const RequestHead& request, const Validators& current) noexcept {
  if (request.find(HeaderName::if_match) != nullptr) {
    if (!matches(request, HeaderName::if_match, current.etag, false)) return Precondition::failed;
  } else if (const auto date = date_of(request, HeaderName::if_unmodified_since, current.now)) {
    if (current.modified > *date) return Precondition::failed;
  }
  if (request.find(HeaderName::if_none_match) != nullptr) {
    if (matches(request, HeaderName::if_none_match, current.etag, true)) return Precondition::not_modified;
  } else if (const auto date = date_of(request, HeaderName::if_modified_since, current.now)) {
    if (current.modified <= *date) return Precondition::not_modified;
  }
  return Precondition::met;
}

bool range_applies(const RequestHead& request, const Validators& current) noexcept {
  const HeaderField* found = nullptr;
  for (const HeaderField& field : request.fields) {
    if (field.id != HeaderName::if_range) continue;
    if (found != nullptr) return false;
    found = &field;
  }
  if (found == nullptr) return true;
  const std::string_view value = request.value(*found);
  if (value.starts_with('"') || value.starts_with("W/")) return value == current.etag;
  const auto date = date_of(request, HeaderName::if_range, current.now);
  return current.alone && date && *date == current.modified && current.now - current.modified >= 1;
}

}  // namespace pyre::http
