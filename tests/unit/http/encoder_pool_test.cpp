// Encoders that are lent to threads: never one to two of them, and never more than are at work.
#include "http/encoder_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#if defined(PYRE_HAVE_COMPRESSION)

namespace pyre::http::test {
namespace {

constexpr Compression::Choice kGzip{Coding::gzip, 6};

TEST(EncoderPool, lends_what_came_back_and_another_one_while_it_is_away) {
  EncoderPool pool;
  const Encoder* first = nullptr;
  {
    EncoderPool::Lease lease(pool);
    ASSERT_TRUE(lease);
    first = lease.encoder(kGzip);
    EXPECT_EQ(lease.encoder(kGzip), first);
    EncoderPool::Lease other(pool);
    ASSERT_TRUE(other);
    EXPECT_NE(other.encoder(kGzip), first);
  }
  EncoderPool::Lease lease(pool);  // the one that came back last
  EXPECT_EQ(lease.encoder(kGzip), first);
}

TEST(EncoderPool, lends_scratch_memory_without_what_the_last_one_left_there) {
  EncoderPool pool;
  {
    EncoderPool::Lease lease(pool);
    ASSERT_FALSE(lease.scratch().room(10).empty());
    lease.scratch().add(10);
  }
  EncoderPool::Lease lease(pool);
  EXPECT_EQ(lease.scratch().bytes().size(), 0U);
}

TEST(EncoderPool, lends_nothing_to_two_threads_at_a_time) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2'000;
  EncoderPool pool;
  std::atomic<int> shared{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&pool, &shared, i] {
      for (int round = 0; round < kRounds; ++round) {
        EncoderPool::Lease lease(pool);
        const std::span<std::byte> room = lease.scratch().room(8);
        for (std::byte& byte : room.first(8)) byte = static_cast<std::byte>(i);
        std::this_thread::yield();
        for (const std::byte byte : room.first(8)) shared += byte == static_cast<std::byte>(i) ? 0 : 1;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(shared, 0);
}

}  // namespace
}  // namespace pyre::http::test

#endif
