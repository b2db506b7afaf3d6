#include "net/offload.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "net/loop.h"

namespace pyre::net {
namespace {

struct Sum : Offload::Task {
  Sum() : Task(&Sum::compute, &Sum::finish) {}
  static void compute(Offload::Task& task) noexcept {
    auto& self = static_cast<Sum&>(task);
    self.computed_by = std::this_thread::get_id();
    for (std::uint64_t i = 1; i <= self.up_to; ++i) self.sum += i;
  }
  static void finish(Offload::Task& task) noexcept {
    auto& self = static_cast<Sum&>(task);
    self.finished_by = std::this_thread::get_id();
    ++self.times_home;
    if (self.on_home != nullptr) self.on_home(self);
  }
  std::uint64_t up_to = 1000;
  std::uint64_t sum = 0;
  int times_home = 0;
  void (*on_home)(Sum& sum) = nullptr;
  Offload* offload = nullptr;
  Loop* loop = nullptr;
  std::thread::id computed_by;
  std::thread::id finished_by;
};

class OffloadTest : public ::testing::Test {
 protected:
  void SetUp() override { loop_ = std::move(Loop::create().value()); }
  void wait_for(const Sum& task, int times = 1) {
    while (task.times_home < times) loop_->run_once(TimePoint::max());
  }
  std::unique_ptr<Loop> loop_;
  Offload offload_{2};
};

TEST_F(OffloadTest, computes_on_another_thread_and_comes_home) {
  Sum task;
  ASSERT_TRUE(offload_.submit(*loop_, task));
  wait_for(task);
  EXPECT_EQ(task.sum, 500'500U);
  EXPECT_NE(task.computed_by, std::this_thread::get_id());
  EXPECT_EQ(task.finished_by, std::this_thread::get_id());
}

TEST_F(OffloadTest, counts_what_it_did_and_how_long_it_waited) {
  std::vector<std::unique_ptr<Sum>> tasks;
  for (int i = 0; i < 100; ++i) {
    tasks.push_back(std::make_unique<Sum>());
    ASSERT_TRUE(offload_.submit(*loop_, *tasks.back()));
  }
  for (const auto& task : tasks) wait_for(*task);
  const OffloadStats stats = offload_.stats();
  EXPECT_EQ(stats.threads, 2U);
  EXPECT_EQ(stats.submitted, 100U);
  EXPECT_EQ(stats.finished, 100U);
  EXPECT_EQ(stats.refused, 0U);
  std::uint64_t lags = 0;
  for (const std::uint64_t count : stats.lag) lags += count;
  EXPECT_EQ(lags, 100U);
}

TEST_F(OffloadTest, all_threads_compute_at_the_same_time) {
  // Each waits for the other: with one thread this would never end.
  struct Meeting : Offload::Task {
    explicit Meeting(std::atomic<int>& a) : Task(&Meeting::meet, &Meeting::finish), arrived(a) {}
    static void meet(Offload::Task& task) noexcept {
      auto& arrived = static_cast<Meeting&>(task).arrived;
      ++arrived;
      while (arrived.load() < 2) std::this_thread::yield();
    }
    static void finish(Offload::Task& task) noexcept { static_cast<Meeting&>(task).home = true; }
    std::atomic<int>& arrived;
    bool home = false;
  };
  std::atomic<int> arrived{0};
  Meeting first(arrived);
  Meeting second(arrived);
  ASSERT_TRUE(offload_.submit(*loop_, first));
  ASSERT_TRUE(offload_.submit(*loop_, second));
  while (!first.home || !second.home) loop_->run_once(TimePoint::max());
}

TEST_F(OffloadTest, a_task_can_be_submitted_again_when_it_is_home) {
  Sum task;
  task.offload = &offload_;
  task.loop = loop_.get();
  task.on_home = [](Sum& self) {
    if (self.times_home < 50) {
      EXPECT_TRUE(self.offload->submit(*self.loop, self));
    }
  };
  ASSERT_TRUE(offload_.submit(*loop_, task));
  wait_for(task, 50);
  EXPECT_EQ(task.sum, 50U * 500'500U);
}

TEST_F(OffloadTest, a_loop_ends_when_its_tasks_are_home) {
  std::vector<std::unique_ptr<Sum>> tasks;
  for (int i = 0; i < 20; ++i) {
    tasks.push_back(std::make_unique<Sum>());
    tasks.back()->up_to = 3'000'000;
    ASSERT_TRUE(offload_.submit(*loop_, *tasks.back()));
  }
  loop_.reset();
  for (const auto& task : tasks) EXPECT_EQ(task->times_home, 1);
}

TEST_F(OffloadTest, loops_share_the_threads) {
  constexpr int kLoops = 4;
  std::vector<std::thread> threads;
  std::atomic<int> home{0};
  for (int i = 0; i < kLoops; ++i)
    threads.emplace_back([this, &home] {
      auto loop = std::move(Loop::create().value());
      std::vector<std::unique_ptr<Sum>> tasks;
      for (int task = 0; task < 200; ++task) {
        tasks.push_back(std::make_unique<Sum>());
        ASSERT_TRUE(offload_.submit(*loop, *tasks.back()));
      }
      for (const auto& task : tasks) {
        while (task->times_home == 0) loop->run_once(TimePoint::max());
        EXPECT_EQ(task->finished_by, std::this_thread::get_id());
        ++home;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(home.load(), kLoops * 200);
}

TEST(Offload, that_nobody_asked_for_has_no_threads) { EXPECT_EQ(Offload::stats_of_process().threads, 0U); }

}  // namespace
}  // namespace pyre::net
