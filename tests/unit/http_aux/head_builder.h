// A RequestHead as the parser leaves it, without a parser.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "http/request_head.h"

namespace pyre::http::testing {

struct Field {
  HeaderName id;
  std::string_view value;
};

inline std::uint32_t append(std::string& bytes, std::string_view text) {
  const auto at = static_cast<std::uint32_t>(bytes.size());
  bytes += text;
  return at;
}

inline RequestHead make_head(std::string_view method, std::string_view target,
                             std::initializer_list<Field> fields = {}) {
  RequestHead head;
  std::string bytes;
  append(bytes, method);
  head.method_size = static_cast<std::uint32_t>(method.size());
  head.target_at = append(bytes, target);
  head.target_size = static_cast<std::uint32_t>(target.size());
  const std::size_t mark = target.find('?');
  head.path_at = head.target_at;
  head.path_size = static_cast<std::uint32_t>(mark == std::string_view::npos ? target.size() : mark);
  if (mark != std::string_view::npos) {
    head.query_at = head.target_at + static_cast<std::uint32_t>(mark) + 1;
    head.query_size = static_cast<std::uint32_t>(target.size() - mark - 1);
  }
  for (const Field& given : fields) {
    HeaderField field;
    field.id = given.id;
    field.name_at = append(bytes, "x");
    field.name_size = 1;
    field.value_at = append(bytes, given.value);
    field.value_size = static_cast<std::uint32_t>(given.value.size());
    head.fields.push_back(field);
  }
  head.bytes.assign(bytes.begin(), bytes.end());
  return head;
}

}  // namespace pyre::http::testing
