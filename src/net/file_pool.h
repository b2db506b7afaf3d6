// FilePool: two plain threads for file work that may block: open + stat, and reading ahead of a send. Not oneTBB: a
// blocked worker would be a lost core. Results come back by mailbox.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "net/loop.h"
#include "platform/file.h"

namespace pyre::net {

class FilePool {
 public:
  static constexpr unsigned kThreads = 2;
  static constexpr std::size_t kMaxQueued = 1024;  // then Errc::exhausted

  class Request : public Letter {
   protected:
    enum class Kind : std::uint8_t { open, read_ahead, call };
    Request(Deliver completed, Kind kind) noexcept : Letter(completed), kind_(kind) {}

   private:
    friend class FilePool;
    Loop* home_ = nullptr;
    Kind kind_;
  };

  // Derive, fill, submit. `completed` runs on `home`'s thread, without the GIL. The request stays alive until then.
  struct OpenRequest : Request {
    explicit OpenRequest(Deliver completed) noexcept : Request(completed, Kind::open) {}
    std::string path;                               // in
    platform::Error error{platform::Errc::ok, 0};   // out
    platform::NativeFile file = platform::no_file;  // out; the receiver closes it
    platform::FileInfo info{};                      // out; whether it is a regular file is for the receiver to judge
  };
  struct ReadAheadRequest : Request {  // makes [offset, offset+count) cached
    explicit ReadAheadRequest(Deliver completed) noexcept : Request(completed, Kind::read_ahead) {}
    platform::NativeFile file = platform::no_file;
    std::uint64_t offset = 0;
    std::uint32_t count = 0;
    platform::Error error{platform::Errc::ok, 0};
  };
  struct CallRequest : Request {  // anything else that a disk may hold up: `run` is called on one of the threads
    using Run = void (*)(CallRequest&) noexcept;
    CallRequest(Deliver completed, Run r) noexcept : Request(completed, Kind::call), run(r) {}
    Run run;
  };

  // Threads start at the first request, with all signals blocked. A test may ask for a shorter queue.
  explicit FilePool(std::size_t max_queued = kMaxQueued);
  ~FilePool();  // finishes what is queued; letters are posted to loops that must still exist
  FilePool(const FilePool&) = delete;
  FilePool& operator=(const FilePool&) = delete;
  // ok: the request is on its way, and comes back by mail whatever becomes of it. Errc::exhausted: the queue is full,
  // or no thread could be started; the request is still the caller's.
  [[nodiscard]] platform::Errc submit(Loop& home, OpenRequest& request) noexcept;
  [[nodiscard]] platform::Errc submit(Loop& home, ReadAheadRequest& request) noexcept;
  [[nodiscard]] platform::Errc submit(Loop& home, CallRequest& request) noexcept;
  // Nothing is queued or being worked on: every request has been mailed. For tests that wait for the end of everything.
  [[nodiscard]] bool idle() const noexcept;
  // In a fork()ed child the threads do not exist, and the lock may be held for ever: nothing is touched any more.
  void abandon_after_fork() noexcept;

 private:
  struct Impl;
  [[nodiscard]] platform::Errc enqueue(Loop& home, Request& request) noexcept;
  static void work(Impl& impl) noexcept;
  static void carry_out(Request& request) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pyre::net
