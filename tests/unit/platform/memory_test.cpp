#include "platform/memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace pyre::platform {
namespace {

TEST(Memory, gives_aligned_memory_of_any_size_and_takes_it_back) {
  std::vector<void*> all;
  for (std::size_t size = 16; size <= 1 << 20; size = size * 3 / 2) {
    void* memory = allocate(size);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 16, 0U);
    std::memset(memory, 0x5a, size);
    all.push_back(memory);
  }
  for (void* memory : all) deallocate(memory);
  deallocate(nullptr);
  collect_memory(true);
  collect_memory(false);
}

TEST(Memory, says_whose_it_is) {
  const std::string_view name = allocator_name();
  EXPECT_TRUE(name == "mimalloc" || name == "malloc");
}

TEST(Memory, creates_and_destroys_objects) {
  struct Counted {
    explicit Counted(int& live) : live_(live) { ++live_; }
    ~Counted() { --live_; }
    int& live_;
  };
  int live = 0;
  Counted* object = create<Counted>(live);
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(live, 1);
  destroy(object);
  EXPECT_EQ(live, 0);
  destroy(static_cast<Counted*>(nullptr));
}

}  // namespace
}  // namespace pyre::platform
