#include "http/http_date.h"

#include <gtest/gtest.h>

#include <string>

namespace pyre::http {
namespace {

constexpr std::int64_t kThen = 784'111'777;
constexpr std::int64_t kNow = 1'795'280'459;  // 2026

std::string format(std::int64_t seconds) {
  std::array<char, kHttpDateSize> text;
  format_http_date(seconds, text);
  return {text.data(), text.size()};
}

TEST(HttpDate, reads_all_three_forms) {
  for (const std::string_view text :
       {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"})
    EXPECT_EQ(parse_http_date(text, kNow), kThen) << text;
  EXPECT_EQ(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT", kNow), 0);
  EXPECT_EQ(parse_http_date("Wed Nov 16 08:49:37 1994", kNow), kThen + 10 * 86'400);
}

TEST(HttpDate, writes_what_it_reads) {
  for (const std::int64_t seconds :
       {std::int64_t{0}, kThen, kNow, std::int64_t{951'782'400}, std::int64_t{4'000'000'000}})
    EXPECT_EQ(parse_http_date(format(seconds), kNow), seconds) << format(seconds);
  EXPECT_EQ(format(kThen), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(HttpDate, two_digits_of_a_year_are_at_most_fifty_years_ahead) {
  EXPECT_EQ(parse_http_date("Friday, 06-Nov-76 00:00:00 GMT", kNow),
            parse_http_date("Fri, 06 Nov 2076 00:00:00 GMT", kNow));
  EXPECT_EQ(parse_http_date("Friday, 06-Nov-77 00:00:00 GMT", kNow),
            parse_http_date("Sun, 06 Nov 1977 00:00:00 GMT", kNow));
}

TEST(HttpDate, refuses_what_is_none) {
  for (const std::string_view text :
       {"", "0", "now", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT", "Foo, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Someday, 06-Nov-94 08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT", "Sun Nov  6 08:49:37 1994 GMT",
        "Sun, -6 Nov 1994 08:49:37 GMT", "Sunday 06-Nov-94 08:49:37 GMT ..."})
    EXPECT_EQ(parse_http_date(text, kNow), std::nullopt) << text;
}

}  // namespace
}  // namespace pyre::http
