#include "http/compression.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "http/characters.h"
#include "http/encoder.h"

namespace pyre::http {
namespace {

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return to_lower(a) == b; });
}

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

// An element of a comma-separated list, without its parameters.
bool has_element(std::string_view list, std::string_view lower) noexcept {
  while (true) {
    const std::size_t comma = list.find(',');
    const std::string_view element = list.substr(0, comma);
    if (equals_ignoring_case(trimmed(element.substr(0, element.find(';'))), lower)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

struct Field {
  std::string_view name;
  std::string_view value;
  std::size_t value_at;  // in the fields' text
};

// `use` says whether to go on.
template <typename Use>
void each_field(std::string_view fields, Use use) noexcept {
  std::size_t at = 0;
  while (at < fields.size()) {
    const std::size_t end = fields.find("\r\n", at);
    const std::size_t colon = fields.find(':', at);
    const std::size_t value_at = colon + 2;  // written by us as "name: value\r\n"
    if (!use(Field{fields.substr(at, colon - at), fields.substr(value_at, end - value_at), value_at})) return;
    at = end + 2;
  }
}

bool matches(std::string_view pattern, std::string_view type) noexcept {
  if (pattern.starts_with('*')) {
    pattern.remove_prefix(1);
    return type.size() >= pattern.size() && equals_ignoring_case(type.substr(type.size() - pattern.size()), pattern);
  }
  if (pattern.ends_with('*')) {
    pattern.remove_suffix(1);
    return equals_ignoring_case(type.substr(0, pattern.size()), pattern);
  }
  return equals_ignoring_case(type, pattern);
}

constexpr std::array<std::string_view, 6> kCodedOrPartial = {"content-encoding", "content-range", "content-digest",
                                                             "repr-digest",      "digest",        "content-md5"};

template <std::size_t N>
bool is_in(std::string_view name, const std::array<std::string_view, N>& lower) noexcept {
  return std::any_of(lower.begin(), lower.end(),
                     [name](std::string_view one) { return equals_ignoring_case(name, one); });
}

bool has_no_body_of_its_own(std::uint16_t status) noexcept {
  return status < 200 || status == 204 || status == 205 || status == 206 || status == 304;
}

}  // namespace

std::vector<std::string> Compression::usual_types() {
  return {"text/*",
          "*+json",
          "*+xml",
          "*+text",
          "application/json",
          "application/x-ndjson",
          "application/ndjson",
          "application/jsonl",
          "application/javascript",
          "application/x-javascript",
          "application/ecmascript",
          "application/xml",
          "application/graphql",
          "application/wasm",
          "application/yaml",
          "application/toml",
          "application/x-www-form-urlencoded",
          "application/vnd.ms-fontobject",
          "font/otf",
          "font/ttf",
          "font/collection",
          "image/bmp",
          "image/x-icon",
          "image/vnd.microsoft.icon"};
}

bool Compression::add(Coding coding, int level) {
  const LevelRange range = level_range(coding);
  if (coding == Coding::identity || level < range.lowest || level > range.highest) return false;
  if (std::find(order_.begin(), order_.end(), coding) != order_.end()) return false;
  choices_.push_back({coding, level});
  order_.push_back(coding);
  return true;
}

bool Compression::has_type(std::string_view content_type) const noexcept {
  const std::string_view type = trimmed(content_type.substr(0, content_type.find(';')));
  return std::any_of(types_.begin(), types_.end(), [type](const std::string& known) { return matches(known, type); });
}

bool Compression::is_forbidden_by(std::string_view fields) noexcept {
  bool forbidden = false;
  each_field(fields, [&forbidden](const Field& field) {
    forbidden = is_in(field.name, kCodedOrPartial) ||
                (equals_ignoring_case(field.name, "cache-control") && has_element(field.value, "no-transform"));
    return !forbidden;
  });
  return forbidden;
}

bool Compression::fits(const RequestHead& request, const ResponseHead& head) const noexcept {
  if (request.method() == "CONNECT" || has_no_body_of_its_own(head.status())) return false;
  if (head.has_content_length() && head.content_length() < min_size_) return false;
  bool known = false;
  each_field(head.fields(), [&](const Field& field) {
    if (!equals_ignoring_case(field.name, "content-type")) return true;
    known = has_type(field.value);
    return false;
  });
  return known && !is_forbidden_by(head.fields());
}

Compression::Choice Compression::choose(const RequestHead& request) const noexcept {
  const Coding coding = choose_coding(request, std::span(order_));
  const auto found = std::find_if(choices_.begin(), choices_.end(),
                                  [coding](const Choice& choice) { return choice.coding == coding; });
  return found == choices_.end() ? Choice{} : *found;
}

FieldError vary_by_coding(ResponseHead& head) noexcept {
  bool varies = false;
  each_field(head.fields(), [&varies](const Field& field) {
    varies = equals_ignoring_case(field.name, "vary") &&
             (has_element(field.value, "accept-encoding") || has_element(field.value, "*"));
    return !varies;
  });
  return varies ? FieldError::ok : head.add_lines("vary: accept-encoding\r\n");
}

FieldError weaken_tag(ResponseHead& head) noexcept {
  std::size_t strong_at = std::string_view::npos;
  each_field(head.fields(), [&strong_at](const Field& field) {
    if (!equals_ignoring_case(field.name, "etag")) return true;
    if (field.value.starts_with('"')) strong_at = field.value_at;
    return false;
  });
  return strong_at == std::string_view::npos ? FieldError::ok : head.insert(strong_at, "W/");
}

FieldError mark_as_coded(ResponseHead& head, Coding coding) noexcept {
  char line[40];
  const std::string_view name = text_of(coding);
  const auto size = static_cast<std::size_t>(
      std::snprintf(line, sizeof line, "content-encoding: %.*s\r\n", static_cast<int>(name.size()), name.data()));
  if (!head.has_room(size + 2)) return FieldError::too_large;
  (void)head.add_lines({line, size});
  (void)weaken_tag(head);
  head.forget_content_length();
  return FieldError::ok;
}

}  // namespace pyre::http
