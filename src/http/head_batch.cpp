#include "http/head_batch.h"

#include <cassert>
#include <cstring>

#include "http/request_parser.h"
#include "platform/memory.h"

namespace pyre::http {

HeadBatch::HeadBatch(const Limits& limits, Done done, void* its_owner) noexcept
    : Task(
          [](net::Offload::Task& task) noexcept {
            while (static_cast<HeadBatch&>(task).parse_next()) {
            }
          },
          done),
      owner(its_owner),
      limits_(limits) {}

HeadBatch::~HeadBatch() { clear(); }

HeadBatch::Item* HeadBatch::add(Connection& connection, std::span<const std::byte> bytes) noexcept {
  assert(!full() && !bytes.empty());
  auto* memory = static_cast<std::byte*>(platform::allocate(bytes.size()));
  if (memory == nullptr) return nullptr;
  std::memcpy(memory, bytes.data(), bytes.size());
  Item& item = items_[count_++];
  item.connection = &connection;
  item.bytes = memory;
  item.size = static_cast<std::uint32_t>(bytes.size());
  return &item;
}

HeadBatch::Item* HeadBatch::claim() noexcept {
  // Looked at first, so that asking again and again does not count on.
  if (claimed_.load(std::memory_order_relaxed) >= count_) return nullptr;
  const std::uint32_t index = claimed_.fetch_add(1, std::memory_order_relaxed);
  return index < count_ ? &items_[index] : nullptr;
}

bool HeadBatch::parse_next() noexcept {
  Item* const item = claim();
  if (item == nullptr) return false;
  RequestParser parser(limits_);
  parser.begin(item->head);
  const RequestParser::Step step = parser.parse({item->bytes, item->size});
  item->used = static_cast<std::uint32_t>(step.used);
  // All else is parsed again by the connection: what is refused, what is not whole, what has more to come than a head.
  item->complete = step.event == RequestParser::Event::head && !item->head.has_body() && !item->head.upgrade;
  return true;
}

HeadBatch::Item* HeadBatch::take_back() noexcept { return claim(); }

void HeadBatch::clear() noexcept {
  for (Item& item : items()) {
    assert(item.connection == nullptr);
    platform::deallocate(item.bytes);
    item.bytes = nullptr;
    item.complete = false;
    item.head.reset();  // gives back what a very large head took
  }
  count_ = 0;
  claimed_.store(0, std::memory_order_relaxed);
}

}  // namespace pyre::http
