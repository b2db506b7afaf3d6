#include "http/exchange_pool.h"

#include <cassert>
#include <new>
#include <utility>

#include "http/coded_body.h"
#include "http/server_core.h"
#include "platform/memory.h"

namespace pyre::http {

ExchangePool::~ExchangePool() {
  assert(in_use_ == 0);
  while (free_ != nullptr) {
    Exchange* exchange = free_;
    free_ = exchange->next_;
    exchange->~Exchange();
    platform::deallocate(exchange);
  }
}

Exchange* ExchangePool::take() noexcept {
  Exchange* exchange = free_;
  if (exchange != nullptr) {
    free_ = exchange->next_;
    --idle_;
    exchange->next_ = nullptr;
  } else {
    void* memory = platform::allocate(sizeof(Exchange));
    if (memory == nullptr) return nullptr;
    exchange = ::new (memory) Exchange(core_);
    exchange->head_.set_limit(core_.options.limits.header_block_out);
  }
  ++in_use_;
  exchange->hold(Exchange::Holder::connection);
  return exchange;
}

void ExchangePool::give_back(Exchange& exchange) noexcept {
  assert(exchange.holders_ == 0);
  if (exchange.info_ != nullptr) core_.infos.drop(*exchange.info_);
  exchange.clear_body();
  if (exchange.coded_ != nullptr) CodedBody::destroy(std::exchange(exchange.coded_, nullptr));
  --in_use_;
  if (idle_ >= kKeep) {
    exchange.~Exchange();
    platform::deallocate(&exchange);
    return;
  }
  exchange.request_.reset();
  exchange.reset();
  exchange.forwarded_ = ForwardedInfo{};
  exchange.connection_ = nullptr;
  exchange.head_at_ = {};
  exchange.body_sent_ = exchange.duration_us_ = 0;
  exchange.status_ = 0;
  exchange.body_began_ = exchange.continue_sent_ = exchange.announced_ = false;
  exchange.body_awaited_ = true;
  exchange.taken = false;
  exchange.head_held_ = exchange.drain_awaited_ = exchange.coding_told_ = false;
  exchange.next_ = free_;
  free_ = &exchange;
  ++idle_;
}

InfoPool::~InfoPool() {
  assert(in_use_ == 0);
  while (free_ != nullptr) {
    SharedInfo* info = free_;
    free_ = info->next;
    platform::destroy(info);
  }
}

SharedInfo* InfoPool::take() noexcept {
  SharedInfo* info = free_;
  if (info != nullptr) {
    free_ = info->next;
    --idle_;
    *info = SharedInfo{};
  } else {
    info = platform::create<SharedInfo>();
    if (info == nullptr) return nullptr;
  }
  ++in_use_;
  return info;
}

void InfoPool::drop(ConnectionInfo& info) noexcept {
  auto& shared = static_cast<SharedInfo&>(info);
  if (--shared.shares != 0) return;
  handler_.on_connection_info_released(info);
  --in_use_;
  if (idle_ >= kKeep) {
    platform::destroy(&shared);
    return;
  }
  shared.next = free_;
  free_ = &shared;
  ++idle_;
}

}  // namespace pyre::http
