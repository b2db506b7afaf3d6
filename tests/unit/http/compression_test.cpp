// Which responses are compressed, what becomes of their heads, and what encoders give.
#include "http/compression.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "http/encoder.h"
#include "unit/http_aux/head_builder.h"

namespace pyre::http {
namespace {

using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

ResponseHead head_of(const Fields& fields, std::uint16_t status = 200) {
  ResponseHead head;
  head.start(status);
  for (const auto& [name, value] : fields) EXPECT_EQ(head.add(name, value), FieldError::ok);
  return head;
}

bool fits(const Fields& fields, std::uint16_t status = 200, std::string_view method = "GET") {
  return Compression().fits(testing::make_head(method, "/"), head_of(fields, status));
}

TEST(Compression, is_for_text) {
  EXPECT_TRUE(fits({{"content-type", "text/html; charset=utf-8"}}));
  EXPECT_TRUE(fits({{"x-before", "1"}, {"Content-Type", "Application/JSON"}, {"x-after", "2"}}));
  EXPECT_TRUE(fits({{"content-type", "application/vnd.api+json"}}));
  EXPECT_TRUE(fits({{"content-type", "image/svg+xml"}}));
  EXPECT_TRUE(fits({{"content-type", "text/event-stream"}}));
  EXPECT_FALSE(fits({{"content-type", "image/png"}}));
  EXPECT_FALSE(fits({{"content-type", "application/octet-stream"}}));
  EXPECT_FALSE(fits({{"content-type", "textual/plain"}}));
  EXPECT_FALSE(fits({{"content-type", ""}}));
  EXPECT_FALSE(fits({{"x-content-type", "text/html"}}));
  EXPECT_FALSE(fits({}));
}

TEST(Compression, is_not_for_what_the_application_has_coded_or_forbidden) {
  const Fields text = {{"content-type", "text/html"}};
  const auto with = [&text](std::string_view name, std::string_view value) {
    Fields fields = text;
    fields.emplace_back(name, value);
    return fits(fields);
  };
  EXPECT_FALSE(with("content-encoding", "br"));
  EXPECT_FALSE(with("Content-Encoding", "identity"));
  EXPECT_FALSE(with("cache-control", "public, No-Transform"));
  EXPECT_FALSE(with("content-range", "bytes 0-1/2"));
  EXPECT_TRUE(with("cache-control", "public, max-age=1"));
}

TEST(Compression, is_for_responses_with_a_whole_body) {
  const Fields text = {{"content-type", "text/html"}};
  EXPECT_TRUE(fits(text, 404));
  EXPECT_TRUE(fits(text, 200, "POST"));
  for (const int status : {204, 205, 206, 304}) EXPECT_FALSE(fits(text, static_cast<std::uint16_t>(status))) << status;
  EXPECT_TRUE(fits(text, 200, "HEAD")) << "the answer is that for GET";
  EXPECT_FALSE(fits(text, 200, "CONNECT"));
}

TEST(Compression, is_not_for_a_length_below_the_least) {
  EXPECT_FALSE(fits({{"content-type", "text/html"}, {"content-length", "1023"}}));
  EXPECT_TRUE(fits({{"content-type", "text/html"}, {"content-length", "1024"}}));
}

TEST(Compression, prefers_what_was_added_first_among_what_is_as_welcome) {
  Compression compression;
  ASSERT_TRUE(compression.add(Coding::gzip, 6));
  ASSERT_TRUE(compression.add(Coding::br, 5));
  const auto choose = [&compression](std::string_view accept) {
    return compression.choose(testing::make_head("GET", "/", {{HeaderName::accept_encoding, accept}}));
  };
  EXPECT_EQ(choose("br, gzip").coding, Coding::gzip);
  EXPECT_EQ(choose("br, gzip").level, 6);
  EXPECT_EQ(choose("br, gzip;q=0.9").coding, Coding::br);
  EXPECT_EQ(choose("br, gzip;q=0.9").level, 5);
  EXPECT_EQ(choose("zstd").coding, Coding::identity);
  EXPECT_EQ(choose("*").coding, Coding::gzip);
  EXPECT_EQ(choose("*;q=0, br").coding, Coding::br);
  EXPECT_EQ(choose("identity").coding, Coding::identity);
}

TEST(Compression, takes_no_level_that_a_coding_does_not_have) {
  Compression compression;
  EXPECT_FALSE(compression.add(Coding::gzip, 0));
  EXPECT_FALSE(compression.add(Coding::gzip, 10));
  EXPECT_FALSE(compression.add(Coding::identity, 0));
  EXPECT_TRUE(compression.add(Coding::br, 0));
  EXPECT_FALSE(compression.add(Coding::br, 1)) << "twice";
}

TEST(Compression, marks_the_head) {
  ResponseHead head = head_of({{"etag", "\"abc\""}, {"content-length", "5000"}, {"x-last", "1"}});
  ASSERT_EQ(mark_as_coded(head, Coding::br), FieldError::ok);
  EXPECT_EQ(head.fields(), "etag: W/\"abc\"\r\nx-last: 1\r\ncontent-encoding: br\r\n");
  EXPECT_FALSE(head.has_content_length());
}

TEST(Compression, leaves_a_weak_tag_alone) {
  ResponseHead head = head_of({{"ETag", "W/\"abc\""}});
  ASSERT_EQ(mark_as_coded(head, Coding::gzip), FieldError::ok);
  EXPECT_EQ(head.fields(), "ETag: W/\"abc\"\r\ncontent-encoding: gzip\r\n");
}

TEST(Compression, tells_caches_once) {
  for (const std::string_view said : {"Accept-Encoding", "cookie , accept-encoding", "*"}) {
    ResponseHead head = head_of({{"Vary", said}});
    const std::string before(head.fields());
    ASSERT_EQ(vary_by_coding(head), FieldError::ok);
    EXPECT_EQ(head.fields(), before);
  }
  ResponseHead head = head_of({{"vary", "cookie"}, {"vary", "accept"}});
  ASSERT_EQ(vary_by_coding(head), FieldError::ok);
  EXPECT_EQ(head.fields(), "vary: cookie\r\nvary: accept\r\nvary: accept-encoding\r\n");
}

#if defined(PYRE_HAVE_COMPRESSION)

std::string text_of_size(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i) text += "{\"id\": " + std::to_string(i * 7919 % 10007) + "}, ";
  text.resize(size);
  return text;
}

class EncoderTest : public ::testing::TestWithParam<Coding> {};

// What comes out is decoded by real decoders in tests/asgi/test_compress.py.
TEST_P(EncoderTest, can_be_used_again_and_gives_the_same) {
  const auto encoder = Encoder::create(GetParam(), level_range(GetParam()).usual);
  ASSERT_NE(encoder, nullptr);
  const std::string text = text_of_size(100'000);
  std::string first;
  for (int i = 0; i < 3; ++i) {
    ByteBuffer out;
    ASSERT_TRUE(encoder->begin(text.size()));
    ASSERT_TRUE(encoder->encode(std::as_bytes(std::span(text)), Encoder::End::finish, out));
    const std::string coded(reinterpret_cast<const char*>(out.bytes().data()), out.bytes().size());
    if (i == 0) first = coded;
    EXPECT_EQ(coded, first);
    EXPECT_LT(coded.size(), text.size() / 3);
  }
}

TEST_P(EncoderTest, gives_something_for_each_flush) {
  const auto encoder = Encoder::create(GetParam(), level_range(GetParam()).usual);
  ASSERT_TRUE(encoder->begin(Encoder::kUnknown));
  ByteBuffer out;
  for (const std::string_view piece : {"a", "bc", "d"}) {
    const std::size_t before = out.bytes().size();
    ASSERT_TRUE(encoder->encode(std::as_bytes(std::span(piece)), Encoder::End::flush, out));
    EXPECT_GT(out.bytes().size(), before);
  }
  ASSERT_TRUE(encoder->encode({}, Encoder::End::finish, out));
}

TEST_P(EncoderTest, takes_every_level_that_it_says_it_has) {
  const LevelRange range = level_range(GetParam());
  const std::string text = text_of_size(20'000);
  for (int level = range.lowest; level <= range.highest; ++level) {
    const auto encoder = Encoder::create(GetParam(), level);
    ByteBuffer out;
    ASSERT_TRUE(encoder->begin(text.size()));
    ASSERT_TRUE(encoder->encode(std::as_bytes(std::span(text)), Encoder::End::finish, out)) << level;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EncoderTest, ::testing::Values(Coding::gzip, Coding::br, Coding::zstd),
                         [](const auto& coding) { return std::string(text_of(coding.param)); });

#endif

}  // namespace
}  // namespace pyre::http
