#include "net/file_pool.h"

#include <array>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "platform/signals.h"
#include "platform/wait.h"

namespace pyre::net {

using platform::Errc;

// A mutex and not a lock-free queue: each request costs a system call or a disk, next to which the lock is nothing.
struct FilePool::Impl {
  std::mutex mutex;
  std::condition_variable wanted;
  Request* first = nullptr;  // linked through Letter::next, which the mailbox needs only later
  Request* last = nullptr;
  std::size_t queued = 0;
  std::size_t unfinished = 0;  // queued, or with a thread
  std::size_t max_queued = kMaxQueued;
  bool stopping = false;
  unsigned running = 0;
  std::array<std::thread, kThreads> threads;
};

FilePool::FilePool(std::size_t max_queued) : impl_(std::make_unique<Impl>()) { impl_->max_queued = max_queued; }

FilePool::~FilePool() {
  if (impl_ == nullptr) return;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wanted.notify_all();
  for (std::thread& thread : impl_->threads) {
    if (thread.joinable()) thread.join();
  }
}

void FilePool::abandon_after_fork() noexcept {
  if (impl_ == nullptr) return;
  if (impl_->running == 0) {
    impl_.reset();
    return;
  }
  // Leaked on purpose: destroying a std::thread that was never joined would end the process.
  static_cast<void>(impl_.release());
}

Errc FilePool::submit(Loop& home, OpenRequest& request) noexcept { return enqueue(home, request); }
Errc FilePool::submit(Loop& home, ReadAheadRequest& request) noexcept { return enqueue(home, request); }
Errc FilePool::submit(Loop& home, CallRequest& request) noexcept { return enqueue(home, request); }

Errc FilePool::enqueue(Loop& home, Request& request) noexcept {
  if (impl_ == nullptr) return Errc::unsupported;
  Impl& impl = *impl_;
  request.home_ = &home;
  request.next.store(nullptr, std::memory_order_relaxed);
  {
    const std::lock_guard lock(impl.mutex);
    if (impl.stopping || impl.queued >= impl.max_queued) return Errc::exhausted;
    // All threads at the first request: one that blocks on a slow disk must not hold up the other file.
    while (impl.running < kThreads) {
      const platform::SignalsBlocked blocked;
      try {
        impl.threads[impl.running] = std::thread([&impl] { work(impl); });
      } catch (const std::system_error&) {
        break;
      }
      ++impl.running;
    }
    if (impl.running == 0) return Errc::exhausted;
    if (impl.last == nullptr) {
      impl.first = &request;
    } else {
      impl.last->next.store(&request, std::memory_order_relaxed);
    }
    impl.last = &request;
    ++impl.queued;
    ++impl.unfinished;
  }
  impl.wanted.notify_one();
  return Errc::ok;
}

void FilePool::work(Impl& impl) noexcept {
  platform::block_all_signals();
  std::unique_lock lock(impl.mutex);
  while (true) {
    platform::wait_until_ready(impl.wanted, lock, [&impl] { return impl.first != nullptr || impl.stopping; });
    if (impl.first == nullptr) return;  // stopping, and everything is done
    Request& request = *impl.first;
    impl.first = static_cast<Request*>(request.next.load(std::memory_order_relaxed));
    if (impl.first == nullptr) impl.last = nullptr;
    --impl.queued;
    lock.unlock();
    carry_out(request);
    request.home_->mailbox().post(request);  // it belongs to its loop again
    lock.lock();
    --impl.unfinished;
  }
}

bool FilePool::idle() const noexcept {
  if (impl_ == nullptr) return true;
  const std::lock_guard lock(impl_->mutex);
  return impl_->unfinished == 0;
}

void FilePool::carry_out(Request& request) noexcept {
  if (request.kind_ == Request::Kind::read_ahead) {
    auto& ahead = static_cast<ReadAheadRequest&>(request);
    ahead.error = platform::read_ahead(ahead.file, ahead.offset, ahead.count);
    return;
  }
  if (request.kind_ == Request::Kind::call) {
    auto& call = static_cast<CallRequest&>(request);
    call.run(call);
    return;
  }
  auto& open = static_cast<OpenRequest&>(request);
  open.file = platform::no_file;
  open.info = {};
  open.error = {Errc::ok, 0};
  platform::Expected<platform::NativeFile> file = platform::open_file(open.path.c_str());
  if (!file) {
    open.error = file.error();
    return;
  }
  platform::Expected<platform::FileInfo> info = platform::stat_file(*file);
  if (!info) {
    open.error = info.error();
    platform::close_file(*file);
    return;
  }
  open.file = *file;
  open.info = *info;
}

}  // namespace pyre::net
