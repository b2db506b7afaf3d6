#include <gtest/gtest.h>

#include "parse_all.h"
#include "refusal_cases.h"

namespace pyre::http::test {
namespace {

TEST(RequestParser, refuses_what_the_table_says_however_it_is_split) {
  const std::vector<RefusalCase> cases = refusal_cases();
  EXPECT_GE(cases.size(), 200U);
  for (const RefusalCase& c : cases) {
    for (const std::size_t step : {std::size_t{0}, std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{17}}) {
      if (step != 0 && c.input.size() / step > 40'000) continue;
      const Parsed parsed = parse_all(c.input, step);
      EXPECT_EQ(parsed.status, c.status) << c.name << " in steps of " << step << ": " << parsed.reason;
      if (c.status == 0) {
        ASSERT_EQ(parsed.messages.size(), 1U) << c.name << " in steps of " << step;
        EXPECT_TRUE(parsed.messages[0].complete) << c.name;
        EXPECT_FALSE(parsed.in_the_middle) << c.name;
      } else {
        EXPECT_FALSE(parsed.reason.empty()) << c.name;
        for (const Parsed::Message& message : parsed.messages) EXPECT_FALSE(message.complete) << c.name;
      }
    }
  }
}

TEST(RequestParser, gives_the_same_however_it_is_split) {
  const std::string input =
      "GET /a/b%20c?d=e&f HTTP/1.1\r\nHost: Example.com:80\r\nUser-Agent:  x y \t\r\nX-Empty:\r\nCookie: "
      "a=b\r\ncookie: c=d\r\n\r\n"
      "\r\n"
      "POST http://h.example?q HTTP/1.1\r\nHost: other\r\nContent-Length: 11\r\n\r\nhello world"
      "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
      "chunked\r\n\r\n3;x=y\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: u\r\n\r\n"
      "OPTIONS * HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n";
  const Parsed whole = parse_all(input);
  ASSERT_EQ(whole.status, 0) << whole.reason;
  ASSERT_EQ(whole.messages.size(), 5U);
  for (std::size_t step = 1; step < 64; ++step) {
    const Parsed split = parse_all(input, step);
    EXPECT_EQ(split.status, 0) << split.reason;
    EXPECT_EQ(split.messages, whole.messages) << "in steps of " << step;
  }

  const Parsed::Message& get = whole.messages[0];
  EXPECT_EQ(get.method, "GET");
  EXPECT_EQ(get.target, "/a/b%20c?d=e&f");
  EXPECT_EQ(get.path, "/a/b%20c");
  EXPECT_EQ(get.query, "d=e&f");
  const std::vector<std::pair<std::string, std::string>> fields = {
      {"host", "Example.com:80"}, {"user-agent", "x y"}, {"x-empty", ""}, {"cookie", "a=b"}, {"cookie", "c=d"}};
  EXPECT_EQ(get.fields, fields);
  EXPECT_TRUE(get.keep_alive);

  const Parsed::Message& post = whole.messages[1];
  EXPECT_EQ(post.path, "/");
  EXPECT_EQ(post.query, "q");
  EXPECT_EQ(post.target, "http://h.example?q");
  EXPECT_EQ(post.body, "hello world");
  EXPECT_EQ(post.fields[0].second, "h.example") << "the target's authority wins over Host (RFC 9112 3.2.2)";

  EXPECT_EQ(whole.messages[2].body, "abc0123456789abcdef");
  EXPECT_EQ(whole.messages[2].fields.size(), 2U) << "trailers are dropped";
  EXPECT_EQ(whole.messages[3].path, "*");
  EXPECT_TRUE(whole.messages[3].keep_alive);
  EXPECT_FALSE(whole.messages[4].keep_alive);
}

TEST(RequestParser, knows_the_fields_that_matter) {
  const Limits limits;
  RequestParser parser(limits);
  RequestHead head;
  const auto parse = [&](std::string_view input) {
    parser.reset();
    parser.begin(head);
    return parser.parse(std::as_bytes(std::span(input))).event;
  };
  ASSERT_EQ(
      parse("POST /%41?x HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nExpect: 100-continue\r\nTE: gzip, trailers\r\n"
            "Connection: Upgrade, TE\r\nUpgrade: websocket\r\n\r\n"),
      RequestParser::Event::head);
  EXPECT_TRUE(head.has_content_length);
  EXPECT_EQ(head.content_length, 7U);
  EXPECT_TRUE(head.expect_continue);
  EXPECT_TRUE(head.accepts_trailers);
  EXPECT_TRUE(head.upgrade);
  EXPECT_TRUE(head.path_has_escape);
  EXPECT_TRUE(parser.in_body());
  ASSERT_NE(head.find(HeaderName::upgrade), nullptr);
  EXPECT_EQ(head.value(*head.find(HeaderName::upgrade)), "websocket");
  EXPECT_EQ(head.find(HeaderName::cookie), nullptr);

  ASSERT_EQ(parse("GET / HTTP/1.0\r\nExpect: 100-continue\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            RequestParser::Event::head);
  EXPECT_FALSE(head.expect_continue) << "RFC 9110 10.1.1: ignored in HTTP/1.0";
  EXPECT_FALSE(head.upgrade) << "RFC 9110 7.8: ignored in HTTP/1.0";
  EXPECT_FALSE(head.keep_alive);
  EXPECT_TRUE(parser.at_start());

  ASSERT_EQ(parse("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"), RequestParser::Event::head);
  EXPECT_FALSE(head.expect_continue) << "nothing to expect without a body";
}

TEST(RequestParser, enforces_its_limits) {
  Limits limits;
  limits.body_bytes = 10;
  EXPECT_EQ(parse_all("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 0, limits).status, 413);
  EXPECT_EQ(parse_all("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789", 0, limits).status, 0);
  const std::string chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(parse_all(chunked + "a\r\n0123456789\r\n0\r\n\r\n", 0, limits).status, 0);
  EXPECT_EQ(parse_all(chunked + "a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", 0, limits).status, 413);

  limits = {};
  limits.request_line_bytes = 20;
  EXPECT_EQ(parse_all("GET /567890 HTTP/1.1\r\nHost: a\r\n\r\n", 0, limits).status, 0);
  EXPECT_EQ(parse_all("GET /5678901 HTTP/1.1\r\nHost: a\r\n\r\n", 0, limits).status, 414);
  EXPECT_EQ(parse_all("GET /5678901 HTTP/1.1\r\nHost: a\r\n\r\n", 1, limits).status, 414);

  limits = {};
  limits.header_bytes = 30;
  EXPECT_EQ(parse_all("GET / HTTP/1.1\r\nHost: a\r\nX: 345678901234\r\n\r\n", 0, limits).status, 0);
  EXPECT_EQ(parse_all("GET / HTTP/1.1\r\nHost: a\r\nX: 3456789012345678\r\n\r\n", 0, limits).status, 431);
  EXPECT_EQ(parse_all("GET / HTTP/1.1\r\nHost: a\r\nX: 3456789012345678\r\n\r\n", 1, limits).status, 431);

  limits = {};
  limits.header_fields = 2;
  EXPECT_EQ(parse_all(chunked + "0\r\n\r\n", 0, limits).status, 0);
  EXPECT_EQ(parse_all(chunked + "0\r\nX: y\r\n\r\n", 0, limits).status, 431) << "trailers count with the header fields";

  limits = {};
  limits.chunk_extension_bytes = 8;
  EXPECT_EQ(parse_all(chunked + "1;a=b\r\nx\r\n0\r\n\r\n", 0, limits).status, 0);
  EXPECT_EQ(parse_all(chunked + "1;a=b\r\nx\r\n1;a=b\r\nx\r\n1;a=b\r\nx\r\n0\r\n\r\n", 0, limits).status, 400)
      << "extensions count over the whole message";
}

TEST(RequestParser, says_where_it_is) {
  const Limits limits;
  RequestParser parser(limits);
  RequestHead head;
  parser.begin(head);
  const auto feed = [&](std::string_view text) { return parser.parse(std::as_bytes(std::span(text))); };
  EXPECT_TRUE(parser.at_start());
  (void)feed("\r\n");
  EXPECT_TRUE(parser.at_start()) << "an empty line is no byte of a request";
  (void)feed("P");
  EXPECT_TRUE(parser.in_head());
  EXPECT_EQ(feed("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").event, RequestParser::Event::head);
  EXPECT_TRUE(parser.in_body());
  EXPECT_EQ(feed("ab").event, RequestParser::Event::body);
  EXPECT_EQ(parser.body_received(), 2U);
  EXPECT_EQ(feed("c").event, RequestParser::Event::body);
  EXPECT_TRUE(parser.in_body());
  EXPECT_EQ(feed("").event, RequestParser::Event::message_complete);
  EXPECT_TRUE(parser.at_start());
}

TEST(RequestParser, counts_leading_empty_lines_across_begins) {
  const Limits limits;
  RequestParser parser(limits);
  RequestHead head;
  int refused = 0;
  for (int i = 0; i < 12; ++i) {
    parser.begin(head);
    const std::string_view text = "\r\n";
    if (parser.parse(std::as_bytes(std::span(text))).event == RequestParser::Event::error) {
      ++refused;
      break;
    }
  }
  EXPECT_EQ(refused, 1);
}

}  // namespace
}  // namespace pyre::http::test
