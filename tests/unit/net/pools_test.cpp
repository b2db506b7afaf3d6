#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "net/buffer_pool.h"

namespace pyre::net {
namespace {

TEST(BufferPool, lends_buffers_of_the_stated_size_and_takes_them_back) {
  BufferPool pool;
  {
    platform::Lease lease = pool.lend();
    ASSERT_TRUE(lease);
    EXPECT_EQ(lease.capacity(), BufferPool::kBufferBytes);
    EXPECT_EQ(lease.size(), 0U);
    std::memset(lease.data(), 7, lease.capacity());
    EXPECT_EQ(pool.lent(), 1U);
  }
  EXPECT_EQ(pool.lent(), 0U);
  EXPECT_EQ(pool.idle(), 1U);
}

TEST(BufferPool, reuses_the_buffer_that_came_back_last) {
  BufferPool pool;
  platform::Lease first = pool.lend();
  platform::Lease second = pool.lend();
  const std::byte* address = first.data();
  second.reset();
  first.reset();
  EXPECT_EQ(pool.lend().data(), address);
}

TEST(BufferPool, gives_an_empty_lease_at_its_limit) {
  BufferPool pool(2, 1);
  platform::Lease first = pool.lend();
  platform::Lease second = pool.lend();
  EXPECT_FALSE(pool.lend());
  EXPECT_EQ(pool.lent(), 2U);
  first.reset();
  EXPECT_TRUE(pool.lend());
}

TEST(BufferPool, keeps_only_a_few_idle_buffers) {
  BufferPool pool(100, 3);
  std::vector<platform::Lease> leases;
  for (int i = 0; i < 20; ++i) leases.push_back(pool.lend());
  leases.clear();
  EXPECT_EQ(pool.idle(), 3U);
  EXPECT_EQ(pool.lent(), 0U);
}

TEST(BufferPool, a_moved_lease_comes_back_once) {
  BufferPool pool;
  platform::Lease first = pool.lend();
  platform::Lease second = std::move(first);
  EXPECT_FALSE(first);
  first.reset();
  EXPECT_EQ(pool.lent(), 1U);
  second = platform::Lease{};
  EXPECT_EQ(pool.lent(), 0U);
  EXPECT_EQ(pool.idle(), 1U);
}

}  // namespace
}  // namespace pyre::net
