#include "http/forwarded.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "unit/http_aux/head_builder.h"

namespace pyre::http {
namespace {

using platform::Endpoint;
using testing::make_head;

Endpoint endpoint(std::string_view text) {
  Endpoint out;
  EXPECT_TRUE(Endpoint::parse(text, out)) << text;
  return out;
}

TrustedProxies trusting(std::string_view list) {
  TrustedProxies trusted;
  std::string bad;
  EXPECT_TRUE(trusted.parse(list, bad)) << bad;
  return trusted;
}

// "host port scheme" of what an application would see; "-" for what is not set.
std::string seen(const ForwardedInfo& info) {
  std::string out = "-";
  if (info.client_set) {
    std::array<char, 64> buffer;
    out = info.client_text.empty() ? std::string(info.client.host_text(buffer))
                                   : "'" + std::string(info.client_text) + "'";
    out += " " + std::to_string(info.client.port);
  }
  return out + (info.scheme.empty() ? "" : " " + std::string(info.scheme));
}

std::string apply(const TrustedProxies& trusted, std::initializer_list<testing::Field> fields,
                  std::string_view peer = "127.0.0.1:5000") {
  const RequestHead head = make_head("GET", "/", fields);
  ForwardedInfo info;
  apply_forwarded(head, endpoint(peer), trusted, info);
  return seen(info);
}

constexpr HeaderName kFor = HeaderName::x_forwarded_for;
constexpr HeaderName kProto = HeaderName::x_forwarded_proto;
constexpr HeaderName kForwarded = HeaderName::forwarded;

TEST(TrustedProxies, TakesAddressesNetworksNamesUnixAndEverything) {
  const TrustedProxies trusted = trusting("127.0.0.1, ::1,10.0.0.0/8 , 2001:db8::/33,edge-proxy");
  EXPECT_TRUE(trusted.trusts(endpoint("127.0.0.1")));
  EXPECT_FALSE(trusted.trusts(endpoint("127.0.0.2")));
  EXPECT_TRUE(trusted.trusts(endpoint("::1")));
  EXPECT_TRUE(trusted.trusts(endpoint("0:0::0:1")));
  EXPECT_FALSE(trusted.trusts(endpoint("::2")));
  EXPECT_TRUE(trusted.trusts(endpoint("10.255.3.4")));
  EXPECT_FALSE(trusted.trusts(endpoint("11.0.0.0")));
  EXPECT_TRUE(trusted.trusts(endpoint("2001:db8:7fff::1")));
  EXPECT_FALSE(trusted.trusts(endpoint("2001:db8:8000::1")));
  EXPECT_TRUE(trusted.trusts_text("edge-proxy"));
  EXPECT_FALSE(trusted.trusts_text("edge-prox"));
  EXPECT_TRUE(trusted.trusts_text("10.1.2.3"));
  EXPECT_FALSE(trusted.everything());
  EXPECT_TRUE(trusting("*").trusts_text("whoever"));
  EXPECT_TRUE(trusting("10.0.0.1, *").everything());
}

TEST(TrustedProxies, TrustsAUnixPeerOnlyWhenTold) {
  Endpoint unix_peer;
  unix_peer.family = Endpoint::Family::unix_socket;
  EXPECT_FALSE(trusting("127.0.0.1").trusts(unix_peer));
  EXPECT_TRUE(trusting("127.0.0.1,unix:").trusts(unix_peer));
  EXPECT_TRUE(trusting("*").trusts(unix_peer));
  EXPECT_FALSE(trusting("0.0.0.0/0,::/0").trusts(unix_peer));
  EXPECT_FALSE(trusting("0.0.0.0/0,::/0").trusts(Endpoint{}));
}

TEST(TrustedProxies, SeesThroughIpv4MappedAddresses) {
  EXPECT_TRUE(trusting("10.0.0.1").trusts(endpoint("::ffff:10.0.0.1")));
  EXPECT_TRUE(trusting("::ffff:10.0.0.1").trusts(endpoint("10.0.0.1")));
  EXPECT_TRUE(trusting("::ffff:10.0.0.0/104").trusts(endpoint("10.9.9.9")));
  EXPECT_FALSE(trusting("::ffff:10.0.0.0/104").trusts(endpoint("11.0.0.0")));
  EXPECT_FALSE(trusting("::/0").trusts(endpoint("10.0.0.1")));
}

TEST(TrustedProxies, AnEmptyListTrustsNobody) {
  EXPECT_TRUE(trusting("").empty());
  EXPECT_TRUE(trusting("  ").empty());
  EXPECT_FALSE(trusting("").trusts(endpoint("127.0.0.1")));
  EXPECT_FALSE(trusting("unix:").empty());
}

TEST(TrustedProxies, NamesTheItemThatIsNone) {
  for (const std::string_view item :
       {"10.0.0.0/33", "10.0.0.5/8", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/-1", "10.0.0.0/8/8", "::1/129", "1.2.3.4:80",
        "[::1]:80", "host/8", "::ffff:10.0.0.0/95", "/8", "10.0.0.0:80/8", "unix:/run/proxy.sock"}) {
    TrustedProxies trusted;
    std::string bad;
    EXPECT_FALSE(trusted.parse("127.0.0.1, " + std::string(item), bad)) << item;
    EXPECT_EQ(bad, item);
  }
  TrustedProxies trusted;
  std::string bad;
  EXPECT_FALSE(trusted.parse("127.0.0.1,,::1", bad));
  EXPECT_EQ(bad, "");
}

TEST(XForwardedFor, IsIgnoredFromAPeerThatIsNotTrusted) {
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kFor, "1.2.3.4"}, {kProto, "https"}}, "127.0.0.2:1"), "-");
  EXPECT_EQ(apply(trusting(""), {{kFor, "1.2.3.4"}, {kForwarded, "for=1.2.3.4"}}), "-");
}

// The table of uvicorn's own tests (tests/middleware/test_proxy_headers.py), as behaviour.
TEST(XForwardedFor, TheRightMostUntrustedAddressIsTheClient) {
  const std::string_view chain = "1.2.3.4, 10.0.2.1, 192.168.0.2";
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kFor, chain}}), "192.168.0.2 0");
  EXPECT_EQ(apply(trusting("127.0.0.1,192.168.0.2"), {{kFor, chain}}), "10.0.2.1 0");
  EXPECT_EQ(apply(trusting("127.0.0.1,192.168.0.2,10.0.0.0/8"), {{kFor, chain}}), "1.2.3.4 0");
  EXPECT_EQ(apply(trusting("127.0.0.1,0.0.0.0/0"), {{kFor, chain}}), "1.2.3.4 0");
  EXPECT_EQ(apply(trusting("*"), {{kFor, chain}}), "1.2.3.4 0");
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kFor, "1.2.3.4"}}), "1.2.3.4 0");
}

TEST(XForwardedFor, SeveralFieldsAreOneList) {
  EXPECT_EQ(apply(trusting("127.0.0.1,10.0.0.0/8"), {{kFor, "1.1.1.1, 2.2.2.2"}, {kFor, "10.0.0.1"}, {kFor, " "}}),
            "2.2.2.2 0");
  EXPECT_EQ(apply(trusting("*"), {{kFor, ",, 1.1.1.1, 2.2.2.2"}, {kFor, "10.0.0.1"}}), "1.1.1.1 0");
}

TEST(XForwardedFor, KeepsAPort) {
  const TrustedProxies trusted = trusting("127.0.0.1,10.0.0.1,::7");
  EXPECT_EQ(apply(trusted, {{kFor, "1.2.3.4:1024"}}), "1.2.3.4 1024");
  EXPECT_EQ(apply(trusted, {{kFor, "[2001:db8::1]:1024, 10.0.0.1:99, [::7]:1"}}), "2001:db8::1 1024");
  EXPECT_EQ(apply(trusted, {{kFor, "2001:db8::1"}}), "2001:db8::1 0");
  EXPECT_EQ(apply(trusted, {{kFor, "[2001:db8::1]"}}), "2001:db8::1 0");
  EXPECT_EQ(apply(trusted, {{kFor, "host:1024"}}), "'host' 1024");
  EXPECT_EQ(apply(trusted, {{kFor, "host:70000"}}), "'host:70000' 0");
}

TEST(XForwardedFor, ANameIsPassedOnAsText) {
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kFor, "1.2.3.4, _hidden"}}), "'_hidden' 0");
  EXPECT_EQ(apply(trusting("127.0.0.1,proxy-7"), {{kFor, "1.2.3.4, proxy-7:80"}}), "1.2.3.4 0");
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kFor, "fe80::1%lo"}}), "'fe80::1%lo' 0");
}

TEST(XForwardedFor, AnEmptyFieldLeavesThePeer) {
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kFor, ""}}), "-");
  EXPECT_EQ(apply(trusting("*"), {{kFor, " , ,"}}), "-");
}

TEST(XForwardedFor, AStrangerIsNeverMadeToLookLikeTheProxy) {
  const TrustedProxies trusted = trusting("127.0.0.1,10.0.0.1");
  EXPECT_EQ(apply(trusted, {{kFor, "1.2.3.4, a b"}}), "'unknown' 0");
  EXPECT_EQ(apply(trusted, {{kFor, "1.2.3.4, \x1b[31m, 10.0.0.1"}}), "'unknown' 0");
  EXPECT_EQ(apply(trusted, {{kFor, std::string(254, 'a')}}), "'unknown' 0");
  EXPECT_EQ(apply(trusted, {{kFor, "\"1.2.3.4\""}}), "'unknown' 0");
}

TEST(XForwardedProto, MustBeOneOfTheFourSchemes) {
  const TrustedProxies trusted = trusting("127.0.0.1");
  EXPECT_EQ(apply(trusted, {{kProto, "https"}}), "- https");
  EXPECT_EQ(apply(trusted, {{kProto, "HTTPS "}}), "- https");
  EXPECT_EQ(apply(trusted, {{kProto, "wss"}, {kFor, "1.2.3.4"}}), "1.2.3.4 0 wss");
  EXPECT_EQ(apply(trusted, {{kProto, "http"}, {kProto, "https"}}), "- https");
  for (const std::string_view bad : {"", "ftp", "https,http", "httpss", "https://x", "h"})
    EXPECT_EQ(apply(trusted, {{kProto, bad}}), "-") << bad;
}

TEST(Forwarded, TheRightMostUntrustedElementIsTheClient) {
  const std::string_view chain =
      "for=192.0.2.60;proto=http;by=203.0.113.43, for=\"[2001:db8::17]:4711\";proto=https, for=10.0.0.2";
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kForwarded, chain}}), "10.0.0.2 0");
  EXPECT_EQ(apply(trusting("127.0.0.1,10.0.0.2"), {{kForwarded, chain}}), "2001:db8::17 4711 https");
  EXPECT_EQ(apply(trusting("127.0.0.1,10.0.0.2,2001:db8::/32"), {{kForwarded, chain}}), "192.0.2.60 0 http");
  EXPECT_EQ(apply(trusting("*"), {{kForwarded, chain}}), "192.0.2.60 0 http");
  EXPECT_EQ(apply(trusting("127.0.0.1,10.0.0.2"),
                  {{kForwarded, "for=1.1.1.1"}, {kForwarded, "for=2.2.2.2"}, {kForwarded, "for=10.0.0.2"}}),
            "2.2.2.2 0");
}

TEST(Forwarded, ReadsWhatSendersWrite) {
  const TrustedProxies trusted = trusting("127.0.0.1");
  EXPECT_EQ(apply(trusted, {{kForwarded, "For=\"1.2.3.4:80\" ; PROTO=HTTPS; host=\"a,b;c\\\"d\""}}),
            "1.2.3.4 80 https");
  EXPECT_EQ(apply(trusted, {{kForwarded, ";for=1.2.3.4;, ,"}}), "1.2.3.4 0");
  EXPECT_EQ(apply(trusted, {{kForwarded, "for=[2001:db8::1]:80"}}), "2001:db8::1 80");
  EXPECT_EQ(apply(trusted, {{kForwarded, "for=_gazonk"}}), "'_gazonk' 0");
  EXPECT_EQ(apply(trusted, {{kForwarded, "for=unknown;proto=ftp"}}), "'unknown' 0");
  EXPECT_EQ(apply(trusted, {{kForwarded, "by=10.0.0.1"}}), "-");
  EXPECT_EQ(apply(trusted, {{kForwarded, ""}}), "-");
}

TEST(Forwarded, AProxyThatDoesNotNameItsClientEndsTheSearch) {
  // Else a client could put words before it.
  EXPECT_EQ(apply(trusting("127.0.0.1"), {{kForwarded, "for=6.6.6.6, proto=https"}}), "- https");
  EXPECT_EQ(apply(trusting("127.0.0.1,10.0.0.2"), {{kForwarded, "for=6.6.6.6, proto=https, for=10.0.0.2"}}),
            "10.0.0.2 0 https");
}

TEST(Forwarded, WhatCannotBeReadMakesTheClientUnknown) {
  const TrustedProxies trusted = trusting("127.0.0.1");
  // The first is an injection: the client's open quote swallows what the proxy appended.
  for (const std::string_view bad :
       {"for=6.6.6.6;by=\", for=1.2.3.4", "for=1.2.3.4 x", "for", "=1.2.3.4", "for =1.2.3.4", "for=1.2.3.4;for=5.6.7.8",
        "for=\"1.2.3.4\"x", "for=\"1.2.3\\.4\"", "for=", "for=\"\"", "for=\"a\\", "for=a\"b\""})
    EXPECT_EQ(apply(trusted, {{kForwarded, bad}}), "'unknown' 0") << bad;
}

TEST(Forwarded, AChainThatIsTooLongMakesTheClientUnknown) {
  std::string chain = "for=1.2.3.4";
  for (int i = 0; i < 31; ++i) chain += ",for=10.0.0.1";
  const TrustedProxies trusted = trusting("127.0.0.1,10.0.0.1");
  EXPECT_EQ(apply(trusted, {{kForwarded, chain}}), "1.2.3.4 0");
  chain += ",for=10.0.0.1";
  EXPECT_EQ(apply(trusted, {{kForwarded, chain}}), "'unknown' 0");
  EXPECT_EQ(apply(trusting("*"), {{kForwarded, chain}}), "1.2.3.4 0");
}

TEST(Forwarded, DoesNotCountBesideXForwarded) {
  // A proxy that only knows the X- fields passes the client's own Forwarded through.
  const TrustedProxies trusted = trusting("127.0.0.1");
  EXPECT_EQ(apply(trusted, {{kForwarded, "for=6.6.6.6;proto=https"}, {kFor, "1.2.3.4"}}), "1.2.3.4 0");
  EXPECT_EQ(apply(trusted, {{kForwarded, "for=6.6.6.6"}, {kProto, "https"}}), "- https");
}

TEST(Forwarded, StartsFromNothing) {
  const RequestHead head = make_head("GET", "/");
  ForwardedInfo info;
  info.client_set = true;
  info.scheme = "https";
  apply_forwarded(head, endpoint("127.0.0.1"), trusting("*"), info);
  EXPECT_EQ(seen(info), "-");
}

}  // namespace
}  // namespace pyre::http
