// DetachedHost: the I/O runs on threads of its own (IoThread), and the app's event loop is told by a native wake that
// there is something in the inbox, which they share. Each call back from there is one tick:
//
//   take the letters (mirrors change, requests and wake-ups are listed)  ->  batch  ->  post the commands, one wake
//                                                                                      for each thread
//
// all with the GIL, since nothing in it waits. What is sent outside of a tick is posted by one call_soon per iteration.
//
// The wake is a handle that the event loop watches, where it has add_reader; else (Proactor, winloop) a socket pair
// whose far end pyre.wake keeps receiving from.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "asgi/host.h"
#include "asgi/io_thread.h"
#include "http/placement.h"
#include "net/mailbox.h"
#include "platform/wakeup.h"

namespace pyre::asgi {

class DetachedHost final : public Host, private http::RemotePort::Application {
 public:
  // A thread for each of the loops. The first accepts for all of them, unless others are given listeners, too.
  DetachedHost(std::vector<std::unique_ptr<net::Loop>> loops, const http::ServerOptions& server_options);
  ~DetachedHost() override;  // GIL

  // False with an exception set. Registers with the event loop and starts the thread. `wake`: "event", "socket_pair",
  // or "auto", which is the first where it works.
  [[nodiscard]] bool init(const Dispatcher::Options& options, PyObject* on_max_requests,
                          std::string_view wake) noexcept;

  [[nodiscard]] platform::Error listen(platform::NativeSocket listener, bool unix_socket,
                                       std::int32_t io_thread) noexcept override;
  void stop_listening() noexcept override;
  void drain() noexcept override;
  void abort() noexcept override;
  [[nodiscard]] std::uint64_t connections() const noexcept override;
  [[nodiscard]] std::uint64_t unfinished() const noexcept override;
  [[nodiscard]] bool listening() noexcept override;
  [[nodiscard]] std::vector<IoStats> io_stats() noexcept override;
  void abandon_after_fork() noexcept override;
  [[nodiscard]] platform::Errc open(FileOpening& request) noexcept override;

 private:
  void on_wake() noexcept override;
  PyObject* tick() noexcept override;
  [[nodiscard]] bool has_work() const noexcept override;
  void unregister() noexcept override;
  void before_sleep() noexcept override {}
#ifdef Py_GIL_DISABLED
  [[nodiscard]] std::vector<IoStats> published_io() noexcept override;
#endif
  [[nodiscard]] bool watch(platform::Wakeup::Kind kind) noexcept;
  void close() noexcept;

  // ---- http::RemotePort::Application
  void on_request(http::AppExchange& exchange) noexcept override;
  void on_change(http::AppExchange& exchange) noexcept override { dispatcher_.wake_later(exchange); }
  void on_object(void* object) noexcept override;
  void on_commands() noexcept override;

  std::unique_ptr<platform::Wakeup> wakeup_;
  net::Mailbox inbox_;
  std::unique_ptr<http::Placement> placement_;  // for more than one thread
  std::vector<std::unique_ptr<IoThread>> io_;
  std::size_t next_opener_ = 0;
  PyRef receiver_;  // pyre.wake.Receiver, for a socket pair
  bool registered_ = false;
  bool commands_wait_ = false;
};

}  // namespace pyre::asgi
