#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "http/access_log_format.h"
#include "unit/http_aux/head_builder.h"

namespace pyre::http {
namespace {

using testing::make_head;
using Format = AccessLog::Format;

ConnectionInfo connection(std::string_view peer) {
  ConnectionInfo info;
  EXPECT_TRUE(platform::Endpoint::parse(peer, info.peer));
  return info;
}

std::string line(Format format, const AccessLog::Entry& entry, std::int64_t wall_ms = 0) {
  std::string out = "kept ";
  AccessLog::format(format, entry, wall_ms, out);
  EXPECT_EQ(out.substr(0, 5), "kept ");
  return out.substr(5);
}

TEST(AccessLogText, IsUvicornsLineWithBytesAndSeconds) {
  const RequestHead head = make_head("GET", "/path?query=1");
  const ConnectionInfo info = connection("127.0.0.1:54321");
  EXPECT_EQ(line(Format::text, {&head, &info, nullptr, 200, 13, 123}),
            "INFO:     127.0.0.1:54321 - \"GET /path?query=1 HTTP/1.1\" 200 13 0.000123\n");
  EXPECT_EQ(line(Format::text, {&head, &info, nullptr, 503, 18446744073709551615U, 61'000'042}),
            "INFO:     127.0.0.1:54321 - \"GET /path?query=1 HTTP/1.1\" 503 18446744073709551615 61.000042\n");
}

TEST(AccessLogText, NamesTheClientWhateverItIs) {
  RequestHead head = make_head("GET", "/");
  head.minor_version = 0;
  const auto shown = [&head](const ConnectionInfo& info, const ForwardedInfo& forwarded) {
    const std::string text = line(Format::text, {&head, &info, &forwarded, 200, 0, 0});
    return text.substr(10, text.find(" - \"") - 10);
  };
  ForwardedInfo none;
  EXPECT_EQ(shown(connection("[2001:db8::1]:80"), none), "[2001:db8::1]:80");
  EXPECT_EQ(shown(connection("10.200.30.4:65535"), none), "10.200.30.4:65535");
  EXPECT_EQ(shown(connection("255.109.0.100:1"), none), "255.109.0.100:1");
  ConnectionInfo unix_peer;
  unix_peer.peer.family = platform::Endpoint::Family::unix_socket;
  EXPECT_EQ(shown(unix_peer, none), "unix");
  EXPECT_EQ(shown(ConnectionInfo{}, none), "-");

  ForwardedInfo forwarded;
  forwarded.client_set = true;
  ASSERT_TRUE(platform::Endpoint::parse("1.2.3.4", forwarded.client));
  EXPECT_EQ(shown(unix_peer, forwarded), "1.2.3.4:0");
  forwarded.client = {};
  forwarded.client.port = 8;
  forwarded.client_text = "_x\"y";
  EXPECT_EQ(shown(unix_peer, forwarded), "_x\\x22y:8");
}

TEST(AccessLogText, WritesIpv6AsRfc5952Says) {
  const auto shown = [](const platform::Endpoint& peer) {
    ConnectionInfo info;
    info.peer = peer;
    const std::string text = line(Format::text, {nullptr, &info, nullptr, 200, 0, 0});
    return text.substr(10, text.find(" - \"") - 10);
  };
  for (const std::string_view text : {"[::]:1", "[::1]:1", "[1::]:1", "[1:2:3:4:5:6:7:8]:1", "[2001:db8::1:0:0:1]:1",
                                      "[2001:db8:0:1:1:1:1:1]:1", "[1:0:0:2::3]:1", "[::2:0:0:3:4]:1", "[0:1::]:1",
                                      "[abcd:ef01:10:200:f000::a]:1", "[1:2:3:4:5:6:7:0]:1", "[0:2:3:4:5:6:7:8]:1"})
    EXPECT_EQ(shown(connection(text).peer), text);
  std::minstd_rand random(3);
  for (int i = 0; i < 20'000; ++i) {
    platform::Endpoint peer;
    peer.family = platform::Endpoint::Family::ipv6;
    for (std::uint8_t& byte : peer.address) byte = random() % 3 == 0 ? static_cast<std::uint8_t>(random()) : 0;
    peer.address[0] = 0x20;  // not an IPv4 address in disguise
    platform::Endpoint back;
    ASSERT_TRUE(platform::Endpoint::parse(shown(peer), back)) << shown(peer);
    ASSERT_EQ(back.address, peer.address) << shown(peer);
  }
}

TEST(AccessLogText, ARequestThatCouldNotBeParsedIsADash) {
  const ConnectionInfo info = connection("127.0.0.1:1");
  EXPECT_EQ(line(Format::text, {nullptr, &info, nullptr, 400, 0, 5}), "INFO:     127.0.0.1:1 - \"-\" 400 0 0.000005\n");
  EXPECT_EQ(line(Format::text, {nullptr, nullptr, nullptr, 400, 0, 5}), "INFO:     - - \"-\" 400 0 0.000005\n");
}

TEST(AccessLogText, LetsNothingThroughButPrintableAscii) {
  for (int c = 0; c < 256; ++c) {
    // At each place of a word of eight bytes, and in the rest after the last one.
    for (std::size_t place = 0; place < 11; ++place) {
      std::string target = "/abcdefghij";
      target[place] = static_cast<char>(c);
      const RequestHead head = make_head("G", target);
      const std::string text = line(Format::text, {&head, nullptr, nullptr, 200, 0, 0});
      const bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", static_cast<unsigned>(c));
      std::string expected = target;
      if (!plain) expected.replace(place, 1, escape);
      ASSERT_EQ(text, "INFO:     - - \"G " + expected + " HTTP/1.1\" 200 0 0.000000\n") << c << " at " << place;
    }
  }
}

TEST(AccessLogText, CutsWhatIsTooLong) {
  const std::string target(20'000, '\x80');
  const RequestHead head = make_head(std::string(100, 'M'), target);
  std::string expected = "INFO:     - - \"" + std::string(32, 'M') + "... ";
  for (int i = 0; i < 8190; ++i) expected += "\\x80";
  expected += "... HTTP/1.1\" 200 0 0.000000\n";
  EXPECT_EQ(line(Format::text, {&head, nullptr, nullptr, 200, 0, 0}), expected);
}

TEST(AccessLogJson, IsOneObjectALine) {
  const RequestHead head = make_head("POST", "/a/b?c=d", {{HeaderName::host, "h"}, {HeaderName::user_agent, "curl/8"}});
  const ConnectionInfo info = connection("[::1]:8");
  EXPECT_EQ(line(Format::json, {&head, &info, nullptr, 201, 7, 1'234'567}, 1'795'239'252'042),
            R"({"time":"2026-11-21T05:34:12.042Z","level":"info","logger":"pyre.access","client":"[::1]:8",)"
            R"("method":"POST","path":"/a/b","query":"c=d","http_version":"1.1","status":201,"bytes":7,)"
            R"("duration_ms":1234.567,"user_agent":"curl/8"})"
            "\n");
  EXPECT_EQ(line(Format::json, {nullptr, nullptr, nullptr, 400, 0, 9}, 0),
            R"({"time":"1970-01-01T00:00:00.000Z","level":"info","logger":"pyre.access","client":"-",)"
            R"("method":null,"path":null,"query":null,"http_version":null,"status":400,"bytes":0,)"
            R"("duration_ms":0.009,"user_agent":null})"
            "\n");
}

TEST(AccessLogJson, ReadsBytesAsLatin1) {
  const std::string all = [] {
    std::string text;
    for (int c = 0; c < 256; ++c) text += static_cast<char>(c);
    return text;
  }();
  const RequestHead head = make_head("GET", "/", {{HeaderName::user_agent, all}});
  const std::string text = line(Format::json, {&head, nullptr, nullptr, 200, 0, 0});
  std::string expected;
  for (int c = 0; c < 256; ++c) {
    char escape[8];
    std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
    if (c == '"' || c == '\\') {
      expected += std::string("\\") + static_cast<char>(c);
    } else if (c >= 0x20 && c < 0x7f) {
      expected += static_cast<char>(c);
    } else {
      expected += escape;
    }
  }
  EXPECT_NE(text.find("\"user_agent\":\"" + expected + "\"}\n"), std::string::npos) << text;
}

TEST(AccessLogFormat, TheDateIsMadeAnewWhenTheSecondChanges) {
  const AccessLog::Entry entry{nullptr, nullptr, nullptr, 200, 0, 0};
  CachedDate date;
  std::string buffer(log_line_bound(entry), '\0');
  const auto time_of = [&](std::int64_t wall_ms) {
    char* const end = write_json_line(entry, wall_ms, date, buffer.data());
    return std::string(buffer.data(), end).substr(9, 24);
  };
  EXPECT_EQ(time_of(1'709'251'199'999), "2024-02-29T23:59:59.999Z");
  EXPECT_EQ(time_of(1'709'251'200'000), "2024-03-01T00:00:00.000Z");
  EXPECT_EQ(time_of(1'709'251'200'007), "2024-03-01T00:00:00.007Z");
  EXPECT_EQ(time_of(-1), "1969-12-31T23:59:59.999Z");
}

TEST(AccessLogFormat, TheLossLineSaysHowMany) {
  char buffer[kLossLineBound];
  const auto made = [&buffer](Format format, std::uint64_t count) {
    return std::string(buffer, write_loss_line(format, count, 1000, buffer));
  };
  EXPECT_EQ(made(Format::text, 3), "WARNING:  access log: 3 lines were dropped while the output did not take them\n");
  EXPECT_EQ(made(Format::json, 18446744073709551615U),
            R"({"time":"1970-01-01T00:00:01.000Z","level":"warning","logger":"pyre.access",)"
            R"("message":"access log lines were dropped while the output did not take them",)"
            R"("dropped":18446744073709551615})"
            "\n");
}

// The bound is what keeps record() inside the ring: random entries of all lengths, worst bytes preferred.
TEST(AccessLogFormat, NoLineIsLongerThanItsBound) {
  std::minstd_rand random(7);
  const auto text_of = [&random](std::size_t limit) {
    std::string text(random() % limit, '\0');
    const bool worst = random() % 2 == 0;
    for (char& c : text) c = worst ? '\x01' : static_cast<char>(random());
    return text;
  };
  ForwardedInfo forwarded;
  forwarded.client_set = true;
  const ConnectionInfo info = connection("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
  for (int i = 0; i < 2000; ++i) {
    const std::string name = text_of(600);
    forwarded.client_text = name;
    const RequestHead head =
        make_head(text_of(80), text_of(i % 10 == 0 ? 20'000 : 300), {{HeaderName::user_agent, text_of(1200)}});
    const AccessLog::Entry entry{&head, &info, i % 2 == 0 ? &forwarded : nullptr, 65535, ~0ULL, ~0ULL};
    const std::size_t bound = log_line_bound(entry);
    ASSERT_LE(bound, AccessLog::kRingBytes / 8);
    std::string room(bound + 64, '#');
    CachedDate date;
    for (const bool json : {false, true}) {
      char* const end = json ? write_json_line(entry, 1, date, room.data()) : write_text_line(entry, room.data());
      ASSERT_LE(end, room.data() + bound);
      ASSERT_EQ(std::count(room.data(), end, '\n'), 1);
      ASSERT_EQ(end[-1], '\n');
      ASSERT_EQ(room.substr(bound), std::string(64, '#'));
    }
  }
}

}  // namespace
}  // namespace pyre::http
