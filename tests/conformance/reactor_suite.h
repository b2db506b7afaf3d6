// The conformance suite of platform/reactor.h: what every backend has to do. The tests are in *_suite.cpp; a backend's
// own file makes them run:
//
//   INSTANTIATE_TEST_SUITE_P(Epoll, ReactorConformance, testing::Values(HarnessMaker{"tcp", &make_tcp}), harness_name);
//
// R1 to R9 are the rules of reactor.h, P1 to P26 the pitfalls of docs/pitfalls.md.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <utility>

#include "conformance/harness.h"

namespace pyre::platform::test {

struct HarnessMaker {
  const char* name;
  std::unique_ptr<Harness> (*make)();
};
inline void PrintTo(const HarnessMaker& maker, std::ostream* out) { *out << maker.name; }
inline std::string harness_name(const testing::TestParamInfo<HarnessMaker>& info) { return info.param.name; }

class ReactorConformance : public testing::TestWithParam<HarnessMaker> {
 protected:
  void SetUp() override { harness_ = GetParam().make(); }

  Reactor& reactor() { return harness_->reactor(); }
  Harness& harness() { return *harness_; }

  struct Connection {
    std::unique_ptr<Client> client;
    Socket* socket = nullptr;
    NativeSocket native = no_socket;
  };
  Connection connect() {
    Connection connection;
    connection.client = harness_->pair(connection.native);
    auto attached = reactor().attach(connection.native);
    EXPECT_TRUE(attached.has_value());
    connection.socket = attached.value();
    return connection;
  }
  void close(Connection& connection) {
    TestOp closed;
    reactor().close(*connection.socket, closed);
    EXPECT_TRUE(until([&] { return closed.done(); }));
    EXPECT_EQ(closed.results.size(), 1U);
  }
  bool until(const std::function<bool()>& reached) { return run_until(*harness_, reached); }
  void settle_all() { settle(*harness_); }

  std::unique_ptr<Harness> harness_;
};

}  // namespace pyre::platform::test
