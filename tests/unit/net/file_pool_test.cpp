#include "net/file_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace pyre::net {
namespace {

using platform::Errc;

class FilePoolTest : public ::testing::Test {
 protected:
  struct Open : FilePool::OpenRequest {
    Open() : OpenRequest([](Letter& letter) noexcept { static_cast<Open&>(letter).done = true; }) {}
    ~Open() {
      if (file != platform::no_file) platform::close_file(file);
    }
    bool done = false;
  };
  struct Ahead : FilePool::ReadAheadRequest {
    Ahead() : ReadAheadRequest([](Letter& letter) noexcept { static_cast<Ahead&>(letter).done = true; }) {}
    bool done = false;
  };

  void SetUp() override {
    loop_ = std::move(Loop::create().value());
    directory_ =
        std::filesystem::path(::testing::TempDir()) /
        ("file_pool_test_" +
         std::to_string(std::hash<std::string>{}(::testing::UnitTest::GetInstance()->current_test_info()->name())));
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override {
    loop_.reset();
    std::filesystem::remove_all(directory_);
  }
  std::string make_file(const std::string& name, std::size_t size) {
    const std::string path = (directory_ / name).string();
    std::ofstream(path) << std::string(size, 'f');
    return path;
  }
  template <typename Request>
  void wait_for(Request& request) {
    while (!request.done) loop_->run_once(TimePoint::max());
  }

  std::unique_ptr<Loop> loop_;
  std::filesystem::path directory_;
};

TEST_F(FilePoolTest, opens_and_describes_a_file) {
  Open open;
  open.path = make_file("a.txt", 1234);
  ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  wait_for(open);
  EXPECT_EQ(open.error.code, Errc::ok);
  EXPECT_NE(open.file, platform::no_file);
  EXPECT_EQ(open.info.size, 1234U);
  EXPECT_TRUE(open.info.regular);
}

TEST_F(FilePoolTest, says_when_it_is_no_regular_file) {
  Open open;
  open.path = directory_.string();
  ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  wait_for(open);
  EXPECT_FALSE(open.error.code == Errc::ok && open.info.regular);
}

TEST_F(FilePoolTest, a_missing_file_is_an_error_and_opens_nothing) {
  Open open;
  open.path = (directory_ / "missing").string();
  ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  wait_for(open);
  EXPECT_NE(open.error.code, Errc::ok);
  EXPECT_NE(open.error.os_error, 0);
  EXPECT_EQ(open.file, platform::no_file);
}

TEST_F(FilePoolTest, reads_ahead) {
  Open open;
  open.path = make_file("big", 300'000);
  ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  wait_for(open);
  Ahead ahead;
  ahead.file = open.file;
  ahead.count = 300'000;
  ASSERT_EQ(loop_->files()->submit(*loop_, ahead), Errc::ok);
  wait_for(ahead);
  EXPECT_EQ(ahead.error.code, Errc::ok);
  EXPECT_TRUE(platform::is_cached(open.file, 200'000));
  Ahead past;
  past.file = open.file;
  past.offset = 299'999;
  past.count = 100;
  ASSERT_EQ(loop_->files()->submit(*loop_, past), Errc::ok);
  wait_for(past);
  EXPECT_EQ(past.error.code, Errc::eof);
}

TEST_F(FilePoolTest, many_requests_all_come_back) {
  const std::string path = make_file("many", 10);
  std::vector<std::unique_ptr<Open>> opens;
  for (int i = 0; i < 200; ++i) {
    auto& open = *opens.emplace_back(std::make_unique<Open>());
    open.path = path;
    ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  }
  for (auto& open : opens) {
    wait_for(*open);
    EXPECT_EQ(open->info.size, 10U);
  }
}

TEST_F(FilePoolTest, a_full_queue_refuses_and_the_request_stays_the_callers) {
  FilePool pool(0);  // full from the start: how fast the threads are does not matter
  Open open;
  open.path = make_file("full", 10);
  EXPECT_EQ(pool.submit(*loop_, open), Errc::exhausted);
  loop_->run_once(TimePoint::min());
  EXPECT_FALSE(open.done);
  ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  wait_for(open);
  EXPECT_EQ(open.info.size, 10U);
}

TEST_F(FilePoolTest, the_destructor_finishes_what_is_queued) {
  const std::string path = make_file("end", 10);
  std::vector<std::unique_ptr<Open>> opens;
  for (int i = 0; i < 50; ++i) {
    auto& open = *opens.emplace_back(std::make_unique<Open>());
    open.path = path;
    ASSERT_EQ(loop_->files()->submit(*loop_, open), Errc::ok);
  }
  loop_.reset();  // waits for the pool, then delivers its mail
  for (auto& open : opens) EXPECT_TRUE(open->done);
}

TEST_F(FilePoolTest, an_abandoned_pool_refuses_and_can_be_destroyed) {
  // As in a fork()ed child; the threads of this pool are leaked on purpose, so that there is nothing to join.
  FilePool pool;
  pool.abandon_after_fork();
  Open open;
  EXPECT_NE(pool.submit(*loop_, open), Errc::ok);
}

}  // namespace
}  // namespace pyre::net
