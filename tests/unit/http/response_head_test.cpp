#include "http/response_head.h"

#include <gtest/gtest.h>

#include <string>

#include "http/body_framing.h"
#include "http/date_cache.h"
#include "http/header_name.h"

namespace pyre::http::test {
namespace {

using namespace std::string_literals;

TEST(ResponseHead, keeps_fields_as_they_were_given) {
  ResponseHead head;
  head.start(200);
  EXPECT_EQ(head.add("Content-Type", " text/plain \t"), FieldError::ok);
  EXPECT_EQ(head.add("x-empty", ""), FieldError::ok);
  EXPECT_EQ(head.add("x-tab", "a\tb"), FieldError::ok);
  EXPECT_EQ(head.add("x-high", "caf\xc3\xa9"), FieldError::ok);
  EXPECT_EQ(head.fields(), "Content-Type: text/plain\r\nx-empty: \r\nx-tab: a\tb\r\nx-high: caf\xc3\xa9\r\n");
  head.start(404);
  EXPECT_EQ(head.fields(), "");
  EXPECT_EQ(head.status(), 404);
}

TEST(ResponseHead, refuses_what_could_split_a_response) {
  ResponseHead head;
  head.start(200);
  for (const std::string& name : {""s, "a b"s, "a:"s, "a\r\nb"s, "a\0"s, "\xc3\xa9"s, "a\t"s, "(a)"s})
    EXPECT_EQ(head.add(name, "x"), FieldError::bad_name) << name;
  for (const std::string& value :
       {"a\r\nSet-Cookie: b"s, "a\nb"s, "a\rb"s, "a\0b"s, "\x01"s, "\x7f"s, "a\r\n"s, std::string(40, 'a') + "\n"})
    EXPECT_EQ(head.add("x", value), FieldError::bad_value) << value;
  EXPECT_EQ(head.fields(), "");
}

TEST(ResponseHead, has_a_defined_result_for_hop_by_hop_fields) {
  ResponseHead head;
  head.start(200);
  EXPECT_EQ(head.add("Connection", "keep-alive"), FieldError::ok);
  EXPECT_FALSE(head.wants_close());
  EXPECT_EQ(head.add("connection", "foo, Close"), FieldError::ok);
  EXPECT_TRUE(head.wants_close());
  EXPECT_EQ(head.add("Keep-Alive", "timeout=5"), FieldError::ok);
  EXPECT_EQ(head.add("Upgrade", "h2c"), FieldError::ok);
  EXPECT_EQ(head.add("Proxy-Connection", "close"), FieldError::ok);
  EXPECT_EQ(head.add("Transfer-Encoding", "Chunked"), FieldError::ok);
  EXPECT_EQ(head.add("Transfer-Encoding", "gzip"), FieldError::bad_transfer_encoding);
  EXPECT_EQ(head.add("Transfer-Encoding", "chunked, chunked"), FieldError::bad_transfer_encoding);
  EXPECT_EQ(head.fields(), "");
  EXPECT_EQ(head.add("Trailer", "x"), FieldError::ok);
  EXPECT_EQ(head.add("Date", "d"), FieldError::ok);
  EXPECT_EQ(head.add("server", "s"), FieldError::ok);
  EXPECT_TRUE(head.has_date());
  EXPECT_TRUE(head.has_server());
  EXPECT_EQ(head.fields(), "Trailer: x\r\nDate: d\r\nserver: s\r\n");
}

TEST(ResponseHead, takes_one_content_length) {
  ResponseHead head;
  for (const char* bad : {"", "-1", "+1", "1a", "0x1", "1 2", "1,1", "9223372036854775808", "99999999999999999999"}) {
    head.start(200);
    EXPECT_EQ(head.add("Content-Length", bad), FieldError::bad_content_length) << bad;
  }
  head.start(200);
  EXPECT_EQ(head.add("Content-Length", "9223372036854775807"), FieldError::ok);
  EXPECT_EQ(head.content_length(), 9223372036854775807U);
  EXPECT_EQ(head.add("content-length", "9223372036854775807"), FieldError::duplicate_content_length);
  head.start(200);
  EXPECT_EQ(head.add("Content-Length", " 007 "), FieldError::ok);
  EXPECT_EQ(head.content_length(), 7U);
}

TEST(ResponseHead, has_a_limit) {
  ResponseHead head;
  head.set_limit(100);
  head.start(200);
  EXPECT_EQ(head.add("a", std::string(95, 'x')), FieldError::ok);
  EXPECT_EQ(head.add("a", ""), FieldError::too_large);
  head.start(200);
  EXPECT_EQ(head.add("a", std::string(96, 'x')), FieldError::too_large);
}

TEST(ResponseHead, every_error_has_a_sentence) {
  for (int i = 0; i <= static_cast<int>(FieldError::forbidden_trailer); ++i)
    EXPECT_NE(text_of(static_cast<FieldError>(i)), std::string("unknown error"));
}

TEST(Status, lines) {
  char scratch[24];
  EXPECT_EQ(status_line(200, scratch), "HTTP/1.1 200 OK\r\n");
  EXPECT_EQ(status_line(431, scratch), "HTTP/1.1 431 Request Header Fields Too Large\r\n");
  EXPECT_EQ(status_line(299, scratch), "HTTP/1.1 299 \r\n");
  EXPECT_EQ(status_line(999, scratch), "HTTP/1.1 999 \r\n");
  EXPECT_EQ(reason_phrase(404), "Not Found");
  EXPECT_EQ(reason_phrase(599), "");
  for (std::uint16_t status = 100; status <= 999; ++status) {
    const std::string line(status_line(status, scratch));
    EXPECT_TRUE(line.starts_with("HTTP/1.1 " + std::to_string(status) + " ")) << line;
    EXPECT_TRUE(line.ends_with("\r\n"));
  }
}

TEST(DateCache, formats_as_rfc_9110_wants) {
  DateCache cache;
  EXPECT_EQ(cache.line(784111777), "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
  EXPECT_EQ(cache.line(0), "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
  EXPECT_EQ(cache.line(951827696), "date: Tue, 29 Feb 2000 12:34:56 GMT\r\n");
  EXPECT_EQ(cache.line(4102444799), "date: Thu, 31 Dec 2099 23:59:59 GMT\r\n");
}

TEST(BodyFraming, formats_chunk_headers_and_numbers) {
  char chunk[kMaxChunkHeader];
  EXPECT_EQ(chunk_header(1, chunk), "1\r\n");
  EXPECT_EQ(chunk_header(65536, chunk), "10000\r\n");
  EXPECT_EQ(chunk_header(UINT64_MAX, chunk), "ffffffffffffffff\r\n");
  char digits[kMaxDecimal];
  EXPECT_EQ(decimal(0, digits), "0");
  EXPECT_EQ(decimal(UINT64_MAX, digits), "18446744073709551615");
}

TEST(HeaderName, finds_every_known_name_and_no_other) {
  for (std::uint8_t i = 1; i < static_cast<std::uint8_t>(HeaderName::kCount); ++i) {
    const auto id = static_cast<HeaderName>(i);
    std::string text(text_of(id));
    ASSERT_FALSE(text.empty());
    EXPECT_EQ(find_header_name(text), id);
    text.front() = static_cast<char>(text.front() + 1);
    EXPECT_EQ(find_header_name(text), HeaderName::other) << text;
    EXPECT_EQ(find_header_name(text_of(id).substr(1)), HeaderName::other) << text;
  }
  EXPECT_EQ(find_header_name(""), HeaderName::other);
  EXPECT_EQ(find_header_name(std::string(200, 'a')), HeaderName::other);
  EXPECT_EQ(text_of(HeaderName::other), "");
  EXPECT_EQ(text_of(HeaderName::sec_websocket_extensions), "sec-websocket-extensions");
}

}  // namespace
}  // namespace pyre::http::test
