#include "http/mime_type.h"

#include <gtest/gtest.h>

namespace pyre::http {
namespace {

TEST(MimeType, goes_by_the_extension) {
  EXPECT_EQ(mime_type_of("index.html"), "text/html; charset=utf-8");
  EXPECT_EQ(mime_type_of("js/app.min.JS"), "text/javascript; charset=utf-8");
  EXPECT_EQ(mime_type_of("a.css"), "text/css; charset=utf-8");
  EXPECT_EQ(mime_type_of("font.woff2"), "font/woff2");
  EXPECT_EQ(mime_type_of("m.wasm"), "application/wasm");
  EXPECT_EQ(mime_type_of("logo.svg"), "image/svg+xml");
  EXPECT_EQ(mime_type_of("app.webmanifest"), "application/manifest+json");
  EXPECT_EQ(mime_type_of("app.js.gz"), "application/gzip");
  EXPECT_EQ(mime_type_of("x.7z"), "application/x-7z-compressed");
  EXPECT_EQ(mime_type_of("x.zst"), "application/zstd");
}

TEST(MimeType, knows_when_it_does_not_know) {
  for (const std::string_view name :
       {"", "README", "a.html/b", "a.", "a.ht", "a.htmlx", "a.averylongextension", "a.\xff"})
    EXPECT_EQ(mime_type_of(name), "application/octet-stream") << name;
}

}  // namespace
}  // namespace pyre::http
