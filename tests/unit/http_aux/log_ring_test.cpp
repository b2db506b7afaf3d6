#include "http/log_ring.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <thread>

namespace pyre::http {
namespace {

bool put(LogRing& ring, std::string_view text, std::size_t bound) {
  char* const room = ring.reserve(bound);
  if (room == nullptr) return false;
  std::memcpy(room, text.data(), text.size());
  ring.commit(text.size());
  return true;
}

std::string take_all(LogRing& ring) {
  std::string out;
  for (std::string_view piece; !(piece = ring.readable()).empty(); ring.consume(piece.size())) out += piece;
  return out;
}

TEST(LogRing, GivesBackWhatWasCommittedNotWhatWasReserved) {
  LogRing ring(64);
  EXPECT_TRUE(ring.empty());
  EXPECT_TRUE(put(ring, "ab", 10));
  EXPECT_TRUE(put(ring, "cd", 10));
  EXPECT_FALSE(ring.empty());
  EXPECT_EQ(take_all(ring), "abcd");
  EXPECT_TRUE(ring.empty());
}

TEST(LogRing, RefusesWhatDoesNotFit) {
  LogRing ring(64);
  EXPECT_EQ(ring.reserve(65), nullptr);
  EXPECT_TRUE(put(ring, std::string(64, 'x'), 64));
  EXPECT_EQ(ring.reserve(1), nullptr);
  EXPECT_EQ(take_all(ring), std::string(64, 'x'));
  EXPECT_TRUE(put(ring, std::string(64, 'y'), 64));
  EXPECT_EQ(take_all(ring), std::string(64, 'y'));
}

TEST(LogRing, ARecordThatDoesNotFitBeforeTheEndGoesToTheStart) {
  LogRing ring(64);
  ASSERT_TRUE(put(ring, std::string(40, 'a'), 40));
  EXPECT_EQ(ring.reserve(30), nullptr) << "24 are left at the end, none at the start";
  ring.consume(30);
  ASSERT_TRUE(put(ring, std::string(30, 'b'), 30));
  EXPECT_EQ(ring.reserve(1), nullptr);
  EXPECT_EQ(take_all(ring), std::string(10, 'a') + std::string(30, 'b'));
}

TEST(LogRing, ReadsOnAfterAnEndThatFittedExactly) {
  LogRing ring(16);
  for (int round = 0; round < 5; ++round) {
    ASSERT_TRUE(put(ring, "12345678", 8));
    ASSERT_TRUE(put(ring, "abcdefgh", 8));
    ring.consume(4);
    EXPECT_TRUE(ring.readable() == "5678abcdefgh" || ring.readable() == "5678");  // in two pieces around the end
    ring.consume(4);
    ASSERT_TRUE(put(ring, "ABCDEFGH", 8));
    EXPECT_EQ(take_all(ring), "abcdefghABCDEFGH");
  }
}

// Meant for ThreadSanitizer, too: what the consumer reads is all that the producer wrote, in order.
TEST(LogRing, TwoThreadsAgreeOnEveryByte) {
  LogRing ring(1024);
  constexpr std::size_t total = 4'000'000;
  // The byte at position n of the stream of records, whatever the records' borders are.
  const auto byte_at = [](std::size_t n) { return static_cast<char>((n * 2654435761U) >> 13); };
  std::thread producer([&ring, byte_at] {
    std::minstd_rand random(1);
    for (std::size_t sent = 0; sent < total;) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 200, total - sent);
      char* const room = ring.reserve(size + random() % 100);
      if (room == nullptr) {
        std::this_thread::yield();
        continue;
      }
      for (std::size_t i = 0; i < size; ++i) room[i] = byte_at(sent + i);
      ring.commit(size);
      sent += size;
    }
  });
  std::size_t received = 0;
  std::size_t wrong = 0;
  std::minstd_rand random(2);
  while (received < total) {
    const std::string_view piece = ring.readable();
    if (piece.empty()) {
      std::this_thread::yield();
      continue;
    }
    const std::size_t size = 1 + random() % piece.size();
    for (std::size_t i = 0; i < size; ++i) wrong += piece[i] != byte_at(received + i) ? 1 : 0;
    ring.consume(size);
    received += size;
  }
  producer.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_TRUE(ring.empty());
}

}  // namespace
}  // namespace pyre::http
