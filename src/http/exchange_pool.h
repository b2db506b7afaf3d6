// ExchangePool and InfoPool: exchanges and connection infos for reuse, one of each per server. The memory of an
// exchange's heads stays with it, so that a request in steady state allocates nothing.
#pragma once

#include <cstdint>

#include "http/exchange.h"

namespace pyre::http {

class ExchangePool {
 public:
  static constexpr std::uint32_t kKeep = 256;  // idle ones kept: some 3 KiB each with their heads

  explicit ExchangePool(ServerCore& core) noexcept : core_(core) {}
  ~ExchangePool();  // all are back
  ExchangePool(const ExchangePool&) = delete;
  ExchangePool& operator=(const ExchangePool&) = delete;

  [[nodiscard]] Exchange* take() noexcept;  // held by the connection; nullptr when memory is exhausted
  void give_back(Exchange& exchange) noexcept;
  [[nodiscard]] std::uint32_t in_use() const noexcept { return in_use_; }

 private:
  ServerCore& core_;
  Exchange* free_ = nullptr;
  std::uint32_t idle_ = 0;
  std::uint32_t in_use_ = 0;
};

// A connection's info, shared by the connection and its exchanges.
struct SharedInfo : ConnectionInfo {
  std::uint32_t shares = 1;
  SharedInfo* next = nullptr;
};

class InfoPool {
 public:
  static constexpr std::uint32_t kKeep = 1024;  // idle ones kept: 128 KiB

  explicit InfoPool(RequestHandler& handler) noexcept : handler_(handler) {}
  ~InfoPool();
  InfoPool(const InfoPool&) = delete;
  InfoPool& operator=(const InfoPool&) = delete;

  [[nodiscard]] SharedInfo* take() noexcept;  // nullptr when memory is exhausted
  static void share(ConnectionInfo& info) noexcept { ++static_cast<SharedInfo&>(info).shares; }
  void drop(ConnectionInfo& info) noexcept;
  [[nodiscard]] std::uint32_t in_use() const noexcept { return in_use_; }

 private:
  RequestHandler& handler_;
  SharedInfo* free_ = nullptr;
  std::uint32_t idle_ = 0;
  std::uint32_t in_use_ = 0;
};

}  // namespace pyre::http
