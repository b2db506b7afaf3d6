// Status lines. The registry is IANA's "HTTP Status Codes" (RFC 9110 and later); 418 is there because people send it.
#include <array>

#include "http/response_head.h"

namespace pyre::http {
namespace {

constexpr std::string_view kLines[] = {
    "HTTP/1.1 100 Continue\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 102 Processing\r\n",
    "HTTP/1.1 103 Early Hints\r\n",
    "HTTP/1.1 104 Upload Resumption Supported\r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 201 Created\r\n",
    "HTTP/1.1 202 Accepted\r\n",
    "HTTP/1.1 203 Non-Authoritative Information\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 205 Reset Content\r\n",
    "HTTP/1.1 206 Partial Content\r\n",
    "HTTP/1.1 207 Multi-Status\r\n",
    "HTTP/1.1 208 Already Reported\r\n",
    "HTTP/1.1 226 IM Used\r\n",
    "HTTP/1.1 300 Multiple Choices\r\n",
    "HTTP/1.1 301 Moved Permanently\r\n",
    "HTTP/1.1 302 Found\r\n",
    "HTTP/1.1 303 See Other\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 305 Use Proxy\r\n",
    "HTTP/1.1 307 Temporary Redirect\r\n",
    "HTTP/1.1 308 Permanent Redirect\r\n",
    "HTTP/1.1 400 Bad Request\r\n",
    "HTTP/1.1 401 Unauthorized\r\n",
    "HTTP/1.1 402 Payment Required\r\n",
    "HTTP/1.1 403 Forbidden\r\n",
    "HTTP/1.1 404 Not Found\r\n",
    "HTTP/1.1 405 Method Not Allowed\r\n",
    "HTTP/1.1 406 Not Acceptable\r\n",
    "HTTP/1.1 407 Proxy Authentication Required\r\n",
    "HTTP/1.1 408 Request Timeout\r\n",
    "HTTP/1.1 409 Conflict\r\n",
    "HTTP/1.1 410 Gone\r\n",
    "HTTP/1.1 411 Length Required\r\n",
    "HTTP/1.1 412 Precondition Failed\r\n",
    "HTTP/1.1 413 Content Too Large\r\n",
    "HTTP/1.1 414 URI Too Long\r\n",
    "HTTP/1.1 415 Unsupported Media Type\r\n",
    "HTTP/1.1 416 Range Not Satisfiable\r\n",
    "HTTP/1.1 417 Expectation Failed\r\n",
    "HTTP/1.1 418 I'm a teapot\r\n",
    "HTTP/1.1 421 Misdirected Request\r\n",
    "HTTP/1.1 422 Unprocessable Content\r\n",
    "HTTP/1.1 423 Locked\r\n",
    "HTTP/1.1 424 Failed Dependency\r\n",
    "HTTP/1.1 425 Too Early\r\n",
    "HTTP/1.1 426 Upgrade Required\r\n",
    "HTTP/1.1 428 Precondition Required\r\n",
    "HTTP/1.1 429 Too Many Requests\r\n",
    "HTTP/1.1 431 Request Header Fields Too Large\r\n",
    "HTTP/1.1 451 Unavailable For Legal Reasons\r\n",
    "HTTP/1.1 500 Internal Server Error\r\n",
    "HTTP/1.1 501 Not Implemented\r\n",
    "HTTP/1.1 502 Bad Gateway\r\n",
    "HTTP/1.1 503 Service Unavailable\r\n",
    "HTTP/1.1 504 Gateway Timeout\r\n",
    "HTTP/1.1 505 HTTP Version Not Supported\r\n",
    "HTTP/1.1 506 Variant Also Negotiates\r\n",
    "HTTP/1.1 507 Insufficient Storage\r\n",
    "HTTP/1.1 508 Loop Detected\r\n",
    "HTTP/1.1 510 Not Extended\r\n",
    "HTTP/1.1 511 Network Authentication Required\r\n",
};

constexpr std::size_t kVersionSize = 9;              // "HTTP/1.1 "
constexpr std::size_t kPhraseAt = kVersionSize + 4;  // "200 "
constexpr std::uint16_t kFirst = 100;
constexpr std::uint16_t kLast = 511;
constexpr std::uint8_t kUnknown = 255;

constexpr std::array<std::uint8_t, kLast - kFirst + 1> kIndex = [] {
  std::array<std::uint8_t, kLast - kFirst + 1> index{};
  for (std::uint8_t& i : index) i = kUnknown;
  std::uint8_t at = 0;
  for (std::string_view line : kLines) {
    const int status =
        (line[kVersionSize] - '0') * 100 + (line[kVersionSize + 1] - '0') * 10 + (line[kVersionSize + 2] - '0');
    index[static_cast<std::size_t>(status - kFirst)] = at++;
  }
  return index;
}();

std::string_view registered_line(std::uint16_t status) noexcept {
  if (status < kFirst || status > kLast) return {};
  const std::uint8_t index = kIndex[static_cast<std::size_t>(status - kFirst)];
  return index == kUnknown ? std::string_view{} : kLines[index];
}

}  // namespace

std::string_view status_line(std::uint16_t status, char (&scratch)[24]) noexcept {
  const std::string_view line = registered_line(status);
  if (!line.empty()) return line;
  std::string_view("HTTP/1.1 ").copy(scratch, kVersionSize);
  scratch[kVersionSize] = static_cast<char>('0' + status / 100 % 10);
  scratch[kVersionSize + 1] = static_cast<char>('0' + status / 10 % 10);
  scratch[kVersionSize + 2] = static_cast<char>('0' + status % 10);
  std::string_view(" \r\n").copy(scratch + kVersionSize + 3, 3);
  return {scratch, kVersionSize + 6};
}

std::string_view reason_phrase(std::uint16_t status) noexcept {
  const std::string_view line = registered_line(status);
  return line.empty() ? line : line.substr(kPhraseAt, line.size() - kPhraseAt - 2);
}

}  // namespace pyre::http
