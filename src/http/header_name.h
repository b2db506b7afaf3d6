// The header names that the server itself looks at or that nearly every request carries, found once while parsing. The
// Python edge keeps one cached `bytes` object per id.
#pragma once

#include <cstdint>
#include <string_view>

namespace pyre::http {

// Order is free; kCount last. `other` is everything else.
enum class HeaderName : std::uint8_t {
  other,
  accept,
  accept_charset,
  accept_encoding,
  accept_language,
  access_control_request_headers,
  access_control_request_method,
  authorization,
  baggage,
  cache_control,
  connection,
  content_encoding,
  content_length,
  content_type,
  cookie,
  dnt,
  expect,
  forwarded,
  host,
  if_match,
  if_modified_since,
  if_none_match,
  if_range,
  if_unmodified_since,
  keep_alive,
  origin,
  pragma,
  priority,
  proxy_connection,
  range,
  referer,
  sec_ch_ua,
  sec_ch_ua_mobile,
  sec_ch_ua_platform,
  sec_fetch_dest,
  sec_fetch_mode,
  sec_fetch_site,
  sec_fetch_user,
  sec_websocket_extensions,
  sec_websocket_key,
  sec_websocket_protocol,
  sec_websocket_version,
  te,
  traceparent,
  tracestate,
  trailer,
  transfer_encoding,
  upgrade,
  upgrade_insecure_requests,
  user_agent,
  via,
  x_api_key,
  x_csrf_token,
  x_forwarded_for,
  x_forwarded_host,
  x_forwarded_port,
  x_forwarded_proto,
  x_real_ip,
  x_request_id,
  x_requested_with,
  kCount
};

// `lower` is already lower-cased. O(1): a switch on the length, then a compare.
[[nodiscard]] HeaderName find_header_name(std::string_view lower) noexcept;
// "content-length" for content_length; "" for other.
[[nodiscard]] std::string_view text_of(HeaderName name) noexcept;

}  // namespace pyre::http
