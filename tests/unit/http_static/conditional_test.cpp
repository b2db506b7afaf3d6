#include "http/conditional.h"

#include <gtest/gtest.h>

#include "unit/http_aux/head_builder.h"

namespace pyre::http {
namespace {

constexpr std::string_view kBefore = "Sun, 06 Nov 1994 08:49:36 GMT";
constexpr std::string_view kThen = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr std::string_view kAfter = "Sun, 06 Nov 1994 08:49:38 GMT";
constexpr Validators kCurrent{"\"abc\"", 784'111'777, 1'700'000'000};

Precondition check(std::initializer_list<testing::Field> fields) {
  return check_preconditions(testing::make_head("GET", "/", fields), kCurrent);
}

bool range(std::string_view if_range, Validators current = kCurrent) {
  return range_applies(testing::make_head("GET", "/", {{HeaderName::if_range, if_range}}), current);
}

TEST(Conditional, nothing_asked_is_met) { EXPECT_EQ(check({}), Precondition::met); }

TEST(Conditional, if_match_compares_strongly) {
  EXPECT_EQ(check({{HeaderName::if_match, "\"abc\""}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_match, "*"}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_match, "\"x\" , \"abc\""}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_match, "\"x\""}, {HeaderName::if_match, "\"abc\""}}), Precondition::met);
  for (const std::string_view other : {"\"x\"", "W/\"abc\"", "abc", "", "\"abc", "\"ab\"", "\"abcd\""})
    EXPECT_EQ(check({{HeaderName::if_match, other}}), Precondition::failed) << other;
}

TEST(Conditional, if_none_match_compares_weakly) {
  for (const std::string_view same : {"\"abc\"", "W/\"abc\"", "*", "\"x\", W/\"abc\"", "\"a,b\",\"abc\""})
    EXPECT_EQ(check({{HeaderName::if_none_match, same}}), Precondition::not_modified) << same;
  for (const std::string_view other : {"\"x\"", "abc", "", "\"abc", "w/\"abc\"", "\"ABC\""})
    EXPECT_EQ(check({{HeaderName::if_none_match, other}}), Precondition::met) << other;
}

TEST(Conditional, dates_are_compared_by_the_second) {
  EXPECT_EQ(check({{HeaderName::if_modified_since, kBefore}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_modified_since, kThen}}), Precondition::not_modified);
  EXPECT_EQ(check({{HeaderName::if_modified_since, kAfter}}), Precondition::not_modified);
  EXPECT_EQ(check({{HeaderName::if_unmodified_since, kBefore}}), Precondition::failed);
  EXPECT_EQ(check({{HeaderName::if_unmodified_since, kThen}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_unmodified_since, kAfter}}), Precondition::met);
}

TEST(Conditional, a_date_that_is_none_is_no_condition) {
  EXPECT_EQ(check({{HeaderName::if_modified_since, "yesterday"}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_unmodified_since, "0"}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_modified_since, kThen}, {HeaderName::if_modified_since, kThen}}), Precondition::met);
}

// RFC 9110 13.2.2.
TEST(Conditional, entity_tags_go_before_dates_and_412_before_304) {
  EXPECT_EQ(check({{HeaderName::if_match, "\"abc\""}, {HeaderName::if_unmodified_since, kBefore}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_none_match, "\"x\""}, {HeaderName::if_modified_since, kAfter}}), Precondition::met);
  EXPECT_EQ(check({{HeaderName::if_none_match, "\"abc\""}, {HeaderName::if_match, "\"x\""}}), Precondition::failed);
  EXPECT_EQ(check({{HeaderName::if_unmodified_since, kBefore}, {HeaderName::if_none_match, "\"abc\""}}),
            Precondition::failed);
  EXPECT_EQ(check({{HeaderName::if_match, "\"abc\""}, {HeaderName::if_none_match, "\"abc\""}}),
            Precondition::not_modified);
}

TEST(Conditional, if_range_wants_the_very_same) {
  EXPECT_TRUE(range("\"abc\""));
  EXPECT_FALSE(range("W/\"abc\""));
  EXPECT_FALSE(range("\"x\""));
  EXPECT_FALSE(range("*"));
  EXPECT_TRUE(range(kThen));
  EXPECT_FALSE(range(kAfter)) << "another date is another file, also a later one";
  EXPECT_FALSE(range(kBefore));
  Validators young = kCurrent;
  young.now = young.modified;
  EXPECT_FALSE(range(kThen, young)) << "it may change again within this second";
  Validators one_of_several = kCurrent;
  one_of_several.alone = false;
  EXPECT_FALSE(range(kThen, one_of_several)) << "file.gz is as old as file, and other bytes";
  EXPECT_TRUE(range("\"abc\"", one_of_several));
  EXPECT_TRUE(range_applies(testing::make_head("GET", "/"), kCurrent));
}

}  // namespace
}  // namespace pyre::http
