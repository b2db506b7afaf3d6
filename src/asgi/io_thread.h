// IoThread: a loop with its server on a thread of its own. It never touches Python: what is for the app goes through
// its RemotePort into the app's inbox, whose wake needs no GIL, and what the app does comes back by the loop's mailbox.
// So accepting, parsing, limits, time-outs, refusals and the access log go on while Python hangs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

#include "asgi/host.h"
#include "http/remote_port.h"
#include "http/server.h"
#include "net/loop.h"
#include "net/mailbox.h"

namespace pyre::asgi {

class IoThread {
 public:
  IoThread(std::unique_ptr<net::Loop> loop, net::Mailbox& inbox, http::RemotePort::Application& application,
           http::ServerOptions options) noexcept;
  ~IoThread();  // after join()
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // ---- the app's thread
  [[nodiscard]] bool start() noexcept;  // false: the system has no thread left
  [[nodiscard]] http::RemotePort& port() noexcept { return port_; }
  // As of the last tick.
  [[nodiscard]] std::uint64_t connections() const noexcept { return connections_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t unfinished() const noexcept { return unfinished_.load(std::memory_order_acquire); }
  // Each of these waits, without the GIL, for the thread to have done it; that takes microseconds, whatever Python
  // does.
  [[nodiscard]] platform::Error listen(platform::NativeSocket listener, bool unix_socket, bool keep) noexcept;
  void stop_listening() noexcept;
  [[nodiscard]] bool listening() noexcept;
  void drain() noexcept;
  void abort() noexcept;
  [[nodiscard]] IoStats stats() noexcept;
#ifdef Py_GIL_DISABLED
  [[nodiscard]] IoStats published() noexcept;  // the same as of the last tick, on any thread
#endif
  [[nodiscard]] platform::Errc open(FileOpening& request) noexcept;
  // Cuts every connection and ends the thread, once; join() waits for that. From then on what is left belongs to the
  // caller's thread.
  void begin_stop() noexcept;
  void join() noexcept;
  // After join(), when every exchange was released: runs what the loop still has to do, on this thread.
  void finish() noexcept;
  // In a fork()ed child there is no such thread, and what it held can be in any state: nothing is done any more, and
  // the owner leaks this object.
  void abandon_after_fork() noexcept;

 private:
  template <typename Function>
  void call(Function function) noexcept;
  void run() noexcept;
  void end_tick() noexcept;

  std::unique_ptr<net::Loop> loop_;
  http::RemotePort port_;
  std::unique_ptr<http::Server> server_;
  std::thread thread_;
  std::mutex mutex_;  // of `done` in a call, and of published_
#ifdef Py_GIL_DISABLED
  IoStats published_;
#endif
  std::condition_variable called_;
  std::atomic<std::uint64_t> connections_{0};
  std::atomic<std::uint64_t> unfinished_{0};
  std::uint64_t seen_total_ = 0;  // the I/O thread's: connections that had come by the last tick
  bool abandoned_ = false;
  bool stopping_ = false;  // the I/O thread's
};

}  // namespace pyre::asgi
