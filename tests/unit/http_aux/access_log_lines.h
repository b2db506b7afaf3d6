// Numbered lines for an access log, and waiting for what its thread does.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "http/access_log.h"
#include "unit/http_aux/head_builder.h"

namespace pyre::http {

class Lines {
 public:
  explicit Lines(std::size_t padding = 0) : head_(testing::make_head("GET", "/" + std::string(padding, 'x'))) {
    EXPECT_TRUE(platform::Endpoint::parse("127.0.0.1:80", info_.peer));
  }
  // The line's number is its body's size.
  void record(AccessLog& log, std::uint64_t number, std::uint32_t source = 0) {
    log.record({&head_, &info_, nullptr, 200, number, 0}, 1, source);
  }
  [[nodiscard]] std::string line(std::uint64_t number) const {
    std::string out;
    AccessLog::format(AccessLog::Format::text, {&head_, &info_, nullptr, 200, number, 0}, 0, out);
    return out;
  }
  // Records until lines are dropped.
  std::uint64_t fill(AccessLog& log) {
    std::uint64_t number = 0;
    while (log.dropped() == 0) {
      record(log, number++);
      log.flush();
    }
    return number;
  }

 private:
  RequestHead head_;
  ConnectionInfo info_;
};

inline bool eventually(auto condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace pyre::http
