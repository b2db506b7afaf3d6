#include "net/output_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/files.h"

namespace pyre::net {
namespace {

platform::ConstBytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// An owner that counts its releases.
struct Owner {
  std::string text;
  int released = 0;
  Borrowed borrowed() {
    return {this, [](void* owner) noexcept { ++static_cast<Owner*>(owner)->released; }};
  }
};

std::string front(const OutputQueue& queue, std::uint64_t max = UINT64_MAX, std::size_t pieces = 64) {
  std::vector<platform::ConstBytes> out(pieces);
  const std::size_t count = queue.gather(out, max);
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text.append(reinterpret_cast<const char*>(out[i].data()), out[i].size());
  return text;
}

class OutputQueueTest : public ::testing::Test {
 protected:
  void TearDown() override {
    queue_.clear();
    EXPECT_EQ(pool_.blocks_in_use(), 0U);
    EXPECT_EQ(pool_.pieces_in_use(), 0U);
    EXPECT_EQ(queue_.memory(), 0U);
    EXPECT_EQ(queue_.size(), 0U);
  }
  BlockPool pool_;
  OutputQueue queue_{pool_};
};

TEST_F(OutputQueueTest, holds_no_memory_while_it_is_empty) {
  EXPECT_TRUE(queue_.empty());
  ASSERT_TRUE(queue_.append(bytes_of("hello")));
  EXPECT_EQ(pool_.blocks_in_use(), 1U);
  EXPECT_EQ(queue_.memory(), BlockPool::kBlockBytes);
  queue_.consume(5);
  EXPECT_EQ(pool_.blocks_in_use(), 0U);
  EXPECT_EQ(pool_.pieces_in_use(), 0U);
  EXPECT_EQ(queue_.memory(), 0U);
}

TEST_F(OutputQueueTest, copies_into_one_piece_as_long_as_they_adjoin) {
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(queue_.append(bytes_of("0123456789")));
  std::vector<platform::ConstBytes> out(8);
  EXPECT_EQ(queue_.gather(out, UINT64_MAX), 1U);
  EXPECT_EQ(out[0].size(), 160U);
}

TEST_F(OutputQueueTest, reserve_gives_room_that_commit_uses_in_part) {
  std::span<std::byte> room = queue_.reserve(100);
  ASSERT_GE(room.size(), 100U);
  std::memcpy(room.data(), "abc", 3);
  queue_.commit(3);
  room = queue_.reserve(BlockPool::kBlockBytes);
  ASSERT_EQ(room.size(), BlockPool::kBlockBytes);
  std::memcpy(room.data(), "def", 3);
  queue_.commit(3);
  EXPECT_EQ(front(queue_), "abcdef");
  EXPECT_EQ(pool_.blocks_in_use(), 2U);
}

TEST_F(OutputQueueTest, a_reservation_that_is_not_used_leaves_nothing) {
  ASSERT_FALSE(queue_.reserve(10).empty());
  queue_.commit(0);
  EXPECT_EQ(pool_.blocks_in_use(), 0U);
  ASSERT_TRUE(queue_.append(bytes_of("x")));
  ASSERT_FALSE(queue_.reserve(10).empty());
  queue_.commit(0);
  EXPECT_EQ(front(queue_), "x");
}

TEST_F(OutputQueueTest, a_block_that_is_exactly_full_is_followed_by_another) {
  const std::string full(BlockPool::kBlockBytes, 'a');
  ASSERT_TRUE(queue_.append(bytes_of(full)));
  ASSERT_TRUE(queue_.append(bytes_of("b")));
  EXPECT_EQ(front(queue_), full + "b");
  EXPECT_EQ(queue_.memory(), 2U * BlockPool::kBlockBytes);
  queue_.consume(BlockPool::kBlockBytes);
  EXPECT_EQ(queue_.memory(), 1U * BlockPool::kBlockBytes);
}

TEST_F(OutputQueueTest, borrowed_bytes_are_sent_from_where_they_are_and_released_once) {
  Owner owner{std::string(100'000, 'x')};
  ASSERT_TRUE(queue_.append(bytes_of("head")));
  ASSERT_TRUE(queue_.append_borrowed(bytes_of(owner.text), owner.borrowed()));
  ASSERT_TRUE(queue_.append(bytes_of("tail")));
  EXPECT_EQ(pool_.blocks_in_use(), 1U);  // head and tail share a block
  std::vector<platform::ConstBytes> out(8);
  ASSERT_EQ(queue_.gather(out, UINT64_MAX), 3U);
  EXPECT_EQ(out[1].data(), bytes_of(owner.text).data());
  EXPECT_EQ(queue_.memory(), BlockPool::kBlockBytes + 100'000U);
  queue_.consume(4 + 99'999);
  EXPECT_EQ(owner.released, 0);
  EXPECT_EQ(queue_.memory(), BlockPool::kBlockBytes + 100'000U) << "the owner keeps all of it alive";
  queue_.consume(1);
  EXPECT_EQ(owner.released, 1);
  EXPECT_EQ(front(queue_), "tail");
  queue_.clear();
  EXPECT_EQ(owner.released, 1);
}

TEST_F(OutputQueueTest, an_empty_borrowed_piece_or_file_is_released_at_once) {
  Owner owner;
  ASSERT_TRUE(queue_.append_borrowed({}, owner.borrowed()));
  EXPECT_EQ(owner.released, 1);
  ASSERT_TRUE(queue_.append_file(test::made_up_file(0), 0, 0, owner.borrowed()));
  EXPECT_EQ(owner.released, 2);
  EXPECT_TRUE(queue_.empty());
  EXPECT_FALSE(queue_.front_is_file());
}

TEST_F(OutputQueueTest, clear_and_the_destructor_release_what_is_left) {
  Owner first{"first"};
  Owner second{"second"};
  Owner file;
  ASSERT_TRUE(queue_.append_borrowed(bytes_of(first.text), first.borrowed()));
  queue_.consume(2);
  ASSERT_TRUE(queue_.append_file(test::made_up_file(3), 0, 10, file.borrowed()));
  queue_.clear();
  EXPECT_EQ(first.released, 1);
  EXPECT_EQ(file.released, 1);
  {
    OutputQueue other(pool_);
    ASSERT_TRUE(other.append_borrowed(bytes_of(second.text), second.borrowed()));
    ASSERT_TRUE(other.append(bytes_of("copied")));
  }
  EXPECT_EQ(second.released, 1);
}

TEST_F(OutputQueueTest, a_file_is_a_piece_of_its_own) {
  Owner owner;
  ASSERT_TRUE(queue_.append(bytes_of("head")));
  ASSERT_TRUE(queue_.append_file(test::made_up_file(7), 100, 1000, owner.borrowed()));
  ASSERT_TRUE(queue_.append(bytes_of("tail")));
  EXPECT_EQ(queue_.size(), 1008U);
  EXPECT_EQ(queue_.memory(), BlockPool::kBlockBytes);
  EXPECT_FALSE(queue_.front_is_file());
  EXPECT_EQ(front(queue_), "head");
  queue_.consume(4);
  ASSERT_TRUE(queue_.front_is_file());
  EXPECT_EQ(front(queue_), "");
  queue_.consume(300);
  EXPECT_EQ(queue_.front_file().file, test::made_up_file(7));
  EXPECT_EQ(queue_.front_file().offset, 400U);
  EXPECT_EQ(queue_.front_file().count, 700U);
  queue_.consume(700);
  EXPECT_EQ(owner.released, 1);
  EXPECT_EQ(front(queue_), "tail");
}

TEST_F(OutputQueueTest, gather_stops_at_exactly_the_bytes_and_pieces_that_were_asked_for) {
  Owner owner{std::string(1000, 'o')};
  ASSERT_TRUE(queue_.append(bytes_of("12345")));
  ASSERT_TRUE(queue_.append_borrowed(bytes_of(owner.text), owner.borrowed()));
  ASSERT_TRUE(queue_.append(bytes_of("678")));
  EXPECT_EQ(front(queue_, 3), "123");
  EXPECT_EQ(front(queue_, 5), "12345");
  EXPECT_EQ(front(queue_, 7), "12345oo");
  EXPECT_EQ(front(queue_, UINT64_MAX, 1), "12345");
  EXPECT_EQ(front(queue_, UINT64_MAX, 2).size(), 1005U);
  EXPECT_TRUE(queue_.front_fits(3));
  EXPECT_FALSE(queue_.front_fits(2));
  queue_.clear();
  EXPECT_EQ(owner.released, 1);
}

TEST_F(OutputQueueTest, an_append_without_memory_leaves_everything_as_it_was) {
  ASSERT_TRUE(queue_.append(bytes_of("kept")));
  const std::string large(10 * BlockPool::kBlockBytes, 'l');
  for (std::uint32_t allocations = 0; allocations < 12; ++allocations) {
    pool_.fail_after_for_tests(allocations);
    BlockPool fresh;
    fresh.fail_after_for_tests(allocations);
    OutputQueue other(fresh);
    EXPECT_FALSE(other.append(bytes_of(large)));
    EXPECT_TRUE(other.empty());
    EXPECT_EQ(other.memory(), 0U);
    EXPECT_EQ(fresh.blocks_in_use(), 0U);
    EXPECT_EQ(fresh.pieces_in_use(), 0U);
  }
  pool_.fail_after_for_tests(3);
  EXPECT_FALSE(queue_.append(bytes_of(large)));
  EXPECT_EQ(front(queue_), "kept");
  EXPECT_EQ(queue_.size(), 4U);
  pool_.fail_after_for_tests(UINT32_MAX);
  ASSERT_TRUE(queue_.append(bytes_of("+more")));
  EXPECT_EQ(front(queue_), "kept+more");
}

TEST_F(OutputQueueTest, a_borrowed_piece_without_memory_is_not_taken_over) {
  BlockPool poor;
  poor.fail_after_for_tests(0);
  OutputQueue queue(poor);
  Owner owner{"text"};
  EXPECT_FALSE(queue.append_borrowed(bytes_of(owner.text), owner.borrowed()));
  EXPECT_FALSE(queue.append_file(test::made_up_file(0), 0, 1, owner.borrowed()));
  EXPECT_TRUE(queue.reserve(1).empty());
  EXPECT_EQ(owner.released, 0);
}

TEST(BlockPool, keeps_a_limited_number_of_idle_blocks) {
  BlockPool pool;
  {
    OutputQueue queue(pool);
    ASSERT_TRUE(queue.append(bytes_of(std::string(std::size_t{200} * BlockPool::kBlockBytes, 'x'))));
    EXPECT_EQ(pool.blocks_in_use(), 200U);
  }
  EXPECT_EQ(pool.blocks_in_use(), 0U);
  EXPECT_EQ(pool.idle_blocks(), BlockPool::kKeep);
}

TEST(OutputQueueModel, gives_out_the_bytes_that_were_put_in_under_random_operations) {
  for (std::uint64_t seed = 1; seed <= 60 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    BlockPool pool;
    std::deque<std::unique_ptr<Owner>> owners;
    {
      OutputQueue queue(pool);
      std::string model;
      char next = 'a';
      const auto text = [&](std::size_t size) {
        std::string made(size, '\0');
        for (char& c : made) c = next = next == 'z' ? 'a' : static_cast<char>(next + 1);
        return made;
      };
      for (int step = 0; step < 300; ++step) {
        switch (random() % 5) {
          case 0: {
            const std::string made = text(random() % (random() % 10 == 0 ? 50'000 : 500));
            ASSERT_TRUE(queue.append(bytes_of(made)));
            model += made;
            break;
          }
          case 1: {
            auto& owner = owners.emplace_back(std::make_unique<Owner>());
            owner->text = text(random() % 20'000);
            ASSERT_TRUE(queue.append_borrowed(bytes_of(owner->text), owner->borrowed()));
            model += owner->text;
            break;
          }
          case 2: {
            const auto wanted = static_cast<std::uint32_t>(random() % BlockPool::kBlockBytes);
            const std::span<std::byte> room = queue.reserve(wanted);
            ASSERT_GE(room.size(), wanted);
            const std::string made = text(wanted == 0 ? 0 : random() % wanted);
            std::memcpy(room.data(), made.data(), made.size());
            queue.commit(static_cast<std::uint32_t>(made.size()));
            model += made;
            break;
          }
          default: {
            const std::uint64_t max = random() % 60'000;
            const std::string out = front(queue, max, 1 + random() % 10);
            ASSERT_EQ(out, model.substr(0, out.size()));
            const std::uint64_t taken = out.empty() ? 0 : random() % (out.size() + 1);
            queue.consume(taken);
            model.erase(0, taken);
            break;
          }
        }
        ASSERT_EQ(queue.size(), model.size());
        ASSERT_EQ(queue.empty(), model.empty());
        if (model.empty()) {
          ASSERT_EQ(queue.memory(), 0U);
          ASSERT_EQ(pool.blocks_in_use(), 0U);
        } else {
          ASSERT_GE(queue.memory(), queue.size());
        }
      }
    }
    for (const auto& owner : owners) EXPECT_EQ(owner->released, 1);
    EXPECT_EQ(pool.blocks_in_use(), 0U);
    EXPECT_EQ(pool.pieces_in_use(), 0U);
  }
}

}  // namespace
}  // namespace pyre::net
