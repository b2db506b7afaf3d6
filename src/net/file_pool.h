// FilePool: two plain threads for file work that may block: open + stat, and reading ahead of a send. Not oneTBB: a blocked
// worker would be a lost core. Results come back by mailbox.
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

  // Derive, fill, submit. `completed` runs on `home`'s thread, without the GIL. The request stays alive until then.
  struct OpenRequest : Letter {
    explicit OpenRequest(Deliver completed) noexcept : Letter(completed) {}
    std::string path;               // in
    platform::Error error{platform::Errc::ok, 0};  // out
    platform::NativeFile file = platform::no_file;  // out; the receiver closes it
    platform::FileInfo info{};      // out
  };
  struct ReadAheadRequest : Letter {  // makes [offset, offset+count) cached
    explicit ReadAheadRequest(Deliver completed) noexcept : Letter(completed) {}
    platform::NativeFile file = platform::no_file;
    std::uint64_t offset = 0;
    std::uint32_t count = 0;
    platform::Error error{platform::Errc::ok, 0};
  };

  FilePool();   // threads start at the first request, with all signals blocked
  ~FilePool();  // finishes what is queued; letters are posted to loops that must still exist
  [[nodiscard]] platform::Errc submit(Loop& home, OpenRequest& request) noexcept;
  [[nodiscard]] platform::Errc submit(Loop& home, ReadAheadRequest& request) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pyre::net
