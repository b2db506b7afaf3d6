#include "http/accept_encoding.h"

#include <gtest/gtest.h>

#include "unit/http_aux/head_builder.h"

namespace pyre::http {
namespace {

constexpr unsigned bit(Coding coding) { return 1U << static_cast<unsigned>(coding); }
constexpr unsigned kAll = bit(Coding::identity) | bit(Coding::gzip) | bit(Coding::zstd) | bit(Coding::br);

Coding choose(std::string_view value, unsigned available = kAll) {
  return choose_coding(testing::make_head("GET", "/", {{HeaderName::accept_encoding, value}}), available);
}

TEST(AcceptEncoding, takes_the_smallest_of_what_is_as_welcome) {
  EXPECT_EQ(choose("gzip, deflate, br, zstd"), Coding::br);
  EXPECT_EQ(choose("gzip, deflate, br, zstd", bit(Coding::gzip) | bit(Coding::zstd)), Coding::zstd);
  EXPECT_EQ(choose("gzip, deflate"), Coding::gzip);
  EXPECT_EQ(choose("x-gzip"), Coding::gzip);
  EXPECT_EQ(choose("GZip"), Coding::gzip);
}

TEST(AcceptEncoding, follows_the_weights) {
  EXPECT_EQ(choose("br;q=0.5, gzip;q=0.8"), Coding::gzip);
  EXPECT_EQ(choose("br;q=0.5 , gzip ; Q=0.499"), Coding::br);
  EXPECT_EQ(choose("br;q=0, gzip"), Coding::gzip);
  EXPECT_EQ(choose("br;q=0.001"), Coding::br) << "better than identity, which is not named";
  EXPECT_EQ(choose("identity, gzip;q=0.5"), Coding::identity);
  EXPECT_EQ(choose("identity;q=0.5, gzip;q=0.5"), Coding::gzip);
  EXPECT_EQ(choose("gzip;q=0, *"), Coding::br);
  EXPECT_EQ(choose("br, *;q=0"), Coding::br);
}

TEST(AcceptEncoding, sends_it_as_it_is_when_nothing_else_is_wanted_or_there) {
  EXPECT_EQ(choose(""), Coding::identity);
  EXPECT_EQ(choose("deflate"), Coding::identity);
  EXPECT_EQ(choose("*;q=0"), Coding::identity) << "rather than 406";
  EXPECT_EQ(choose("br, gzip", bit(Coding::identity)), Coding::identity);
  EXPECT_EQ(choose_coding(testing::make_head("GET", "/"), kAll), Coding::identity);
}

TEST(AcceptEncoding, a_weight_that_is_none_refuses) {
  for (const std::string_view weight : {"", "2", "-1", "1e3", "0.1234", "0,5", "q", ".5", "1x"})
    EXPECT_EQ(choose(std::string("gzip;q=").append(weight)), Coding::identity) << weight;
  EXPECT_EQ(choose("gzip;level=1"), Coding::gzip);
  EXPECT_EQ(choose(",,;,;;;,q=1,"), Coding::identity);
}

TEST(AcceptEncoding, reads_all_of_its_lines) {
  const RequestHead head =
      testing::make_head("GET", "/", {{HeaderName::accept_encoding, "gzip"}, {HeaderName::accept_encoding, "zstd"}});
  EXPECT_EQ(choose_coding(head, kAll), Coding::zstd);
}

}  // namespace
}  // namespace pyre::http
