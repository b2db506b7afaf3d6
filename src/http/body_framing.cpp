#include "http/body_framing.h"

#include <charconv>

namespace pyre::http {

BodyFraming choose_framing(const BodyFacts& facts) noexcept {
  using Kind = BodyFraming::Kind;
  using Field = BodyFraming::Field;
  if (facts.status == 205)
    return {Kind::none, Field::content_length, 0};  // RFC 9110 15.3.6: no content, and this says so
  if (facts.status == 304)
    return {Kind::none, facts.app_length_set ? Field::content_length : Field::none, facts.app_length};
  if (is_bodyless(facts.status)) return {Kind::none, Field::none, 0};  // RFC 9110 8.6: no Content-Length in 1xx and 204
  if (facts.head_request) {
    if (facts.app_length_set) return {Kind::none, Field::content_length, facts.app_length};
    // The length that a GET would have had, if the app gave the body; an empty body says nothing, since most apps leave
    // it out.
    if (facts.total_known && facts.total > 0) return {Kind::none, Field::content_length, facts.total};
    return {Kind::none, Field::none, 0};
  }
  if (facts.app_length_set) return {Kind::length, Field::content_length, facts.app_length};
  if (facts.trailers_follow && facts.minor_version >= 1) return {Kind::chunked, Field::chunked, 0};
  if (facts.total_known) return {Kind::length, Field::content_length, facts.total};
  if (facts.minor_version >= 1) return {Kind::chunked, Field::chunked, 0};
  return {Kind::close_delimited, Field::none, 0};
}

std::string_view chunk_header(std::uint64_t size, char (&scratch)[kMaxChunkHeader]) noexcept {
  char* end = std::to_chars(scratch, scratch + 16, size, 16).ptr;
  *end++ = '\r';
  *end++ = '\n';
  return {scratch, static_cast<std::size_t>(end - scratch)};
}

std::string_view decimal(std::uint64_t value, char (&scratch)[kMaxDecimal]) noexcept {
  return {scratch, static_cast<std::size_t>(std::to_chars(scratch, scratch + kMaxDecimal, value).ptr - scratch)};
}

}  // namespace pyre::http
