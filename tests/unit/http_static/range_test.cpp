#include "http/range.h"

#include <gtest/gtest.h>

#include <string>

namespace pyre::http {
namespace {

using Verdict = RangeSet::Verdict;

// "whole", "none" (416) or the ranges as first-last.
std::string parse(std::string_view field, std::uint64_t size = 1000) {
  RangeSet set;
  switch (set.parse(field, size)) {
    case Verdict::whole:
      return "whole";
    case Verdict::unsatisfiable:
      return "none";
    case Verdict::partial:
      break;
  }
  std::string text;
  for (const ByteRange& range : set.ranges()) {
    if (!text.empty()) text += ',';
    text += std::to_string(range.first) + "-" + std::to_string(range.last());
  }
  return text;
}

TEST(Range, one_of_each_kind) {
  EXPECT_EQ(parse("bytes=0-0"), "0-0");
  EXPECT_EQ(parse("bytes=500-999"), "500-999");
  EXPECT_EQ(parse("bytes=500-"), "500-999");
  EXPECT_EQ(parse("bytes=-500"), "500-999");
  EXPECT_EQ(parse("bytes=-1"), "999-999");
  EXPECT_EQ(parse("bytes=0-"), "0-999");
}

TEST(Range, is_cut_at_the_end) {
  EXPECT_EQ(parse("bytes=900-2000"), "900-999");
  EXPECT_EQ(parse("bytes=-2000"), "0-999");
  EXPECT_EQ(parse("bytes=999-99999999999999999999999999"), "999-999");
}

TEST(Range, what_lies_behind_the_end_is_not_satisfiable) {
  EXPECT_EQ(parse("bytes=1000-"), "none");
  EXPECT_EQ(parse("bytes=1000-2000,5000-"), "none");
  EXPECT_EQ(parse("bytes=99999999999999999999999999-"), "none");
  EXPECT_EQ(parse("bytes=-0"), "none");
  EXPECT_EQ(parse("bytes=1000-,1-2"), "1-2") << "one of them is";
}

TEST(Range, a_malformed_field_is_ignored) {
  for (const std::string_view field : {"", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=5", "bytes=5-4", "bytes=a-b",
                                       "bytes=1-2-3", "bytes=+1-2", "bytes=1-2;3-4", "bytes=1 - 2", "bytes 1-2",
                                       "bytes=0x1-2", "items=0-5", "byte=0-5", "bytes=--5", "bytes=1-2,x"})
    EXPECT_EQ(parse(field), "whole") << field;
}

TEST(Range, blanks_case_and_empty_elements_do_not_matter) {
  EXPECT_EQ(parse("BYTES=1-2"), "1-2");
  EXPECT_EQ(parse("bytes= 1-2 ,, 5-6 ,"), "1-2,5-6");
  EXPECT_EQ(parse("bytes=\t1-2"), "1-2");
}

TEST(Range, several_stay_in_their_order) { EXPECT_EQ(parse("bytes=900-,0-9,500-509"), "900-999,0-9,500-509"); }

TEST(Range, those_that_touch_are_joined) {
  EXPECT_EQ(parse("bytes=0-9,10-19"), "0-19");
  EXPECT_EQ(parse("bytes=0-9,5-19"), "0-19");
  EXPECT_EQ(parse("bytes=100-199,0-9,150-160"), "0-9,100-199");
  EXPECT_EQ(parse("bytes=0-9,20-29,5-25"), "0-29");
}

TEST(Range, more_bytes_than_there_are_is_an_attack) {
  EXPECT_EQ(parse("bytes=0-,0-"), "whole");
  EXPECT_EQ(parse("bytes=0-599,400-999"), "whole");
  EXPECT_EQ(parse("bytes=0-499,500-999"), "0-999");
}

TEST(Range, too_many_are_an_attack) {
  std::string field = "bytes=";
  for (int i = 0; i < 16; ++i) field += std::to_string(i * 10) + "-" + std::to_string(i * 10) + ",";
  EXPECT_NE(parse(field), "whole");
  EXPECT_EQ(parse(field + "900-900"), "whole");
  std::string same = "bytes=";
  for (int i = 0; i < 64; ++i) same += "7-7,";
  EXPECT_EQ(parse(same), "7-7");
  EXPECT_EQ(parse(same + "7-7"), "whole");
  std::string behind = "bytes=";
  for (int i = 0; i < 65; ++i) behind += "5000-,";
  EXPECT_EQ(parse(behind), "whole");
}

TEST(Range, an_empty_file_has_no_parts) {
  EXPECT_EQ(parse("bytes=0-", 0), "whole");
  EXPECT_EQ(parse("bytes=-5", 0), "whole");
}

TEST(Range, the_largest_numbers_do_not_overflow) {
  EXPECT_EQ(parse("bytes=0-18446744073709551615", UINT64_MAX), "0-18446744073709551614");
  EXPECT_EQ(parse("bytes=-18446744073709551615", UINT64_MAX), "0-18446744073709551614");
  EXPECT_EQ(parse("bytes=1-18446744073709551614,1-18446744073709551614", UINT64_MAX), "whole");
}

}  // namespace
}  // namespace pyre::http
