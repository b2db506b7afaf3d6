// RemotePort: the way between one loop's http::Server and an application on another thread. On the loop's thread it is
// the server's RequestHandler: what happens becomes events, gathered over a tick and posted to the application's inbox
// as one letter. On the application's thread it takes those letters apart, keeps the mirrors (RemoteExchange), and
// gathers their commands, which flush() posts to the loop's mailbox as one letter.
//
// Bounded both ways: of a request's body at most Limits::body_high_water (and one piece), in at most kMaxPieces pieces,
// is on its way or unread; of a response's at most Limits::output_high_water is posted ahead
// (RemoteExchange::should_wait); and no more requests than connections are allowed, plus kSpare, wait for the
// application to look at them: what is above is answered 503 by the loop, so that clients who come and go while the
// application hangs do not make the process grow. What it has begun is its own affair (and limit_concurrency's).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "http/exchange.h"
#include "http/limits.h"
#include "http/remote_exchange.h"
#include "net/mailbox.h"

namespace pyre::net {
class Loop;
}

namespace pyre::http {

// Application -> loop.
struct Command {
  enum class Kind : std::uint8_t {
    start,          // `head`; flag: trailers follow
    write,          // flag: last
    write_file,     // flag: last
    end_trailers,   // `head`: the trailers
    informational,  // its fields in the batch
    fail,
    want_body,
    body_was_read,      // size: bytes; head: pieces that were freed
    tell_when_drained,  // size: the position up to which the application has posted
    release,
  };
  Kind kind;
  RemoteExchange* exchange;
  bool flag = false;
  std::uint16_t status = 0;
  std::uint32_t head = 0;  // index in the batch, or a count
  std::uint64_t size = 0;
  std::uint64_t offset = 0;         // of a file; of bytes in the batch
  const std::byte* data = nullptr;  // of `owner`; null: the bytes are in the batch
  net::Borrowed owner{};
  platform::NativeFile file = platform::no_file;
};

// Loop -> application.
struct Event {
  enum class Kind : std::uint8_t { request, body, drained, finished, dead };
  Kind kind;
  bool complete = false;  // request, body: nothing of the body comes after this
  RemoteExchange* exchange = nullptr;
  BodyPiece* piece = nullptr;
  std::uint64_t position = 0;
  std::uint64_t queued = 0;
};

class RemotePort final : public RequestHandler {
 public:
  // What the port tells on the application's thread.
  class Application {
   public:
    virtual void on_request(AppExchange& exchange) noexcept = 0;
    virtual void on_change(AppExchange& exchange) noexcept = 0;  // its body, its output or its connection
    virtual void on_object(void* object) noexcept = 0;           // what hand_over() was given
    virtual void on_commands() noexcept = 0;                     // there are commands to flush(): once before each

   protected:
    ~Application() = default;
  };
  using ReleaseInfo = void (*)(ConnectionInfo& info) noexcept;

  static constexpr std::uint32_t kSpare = 256;
  // A piece of one byte costs a hundred: a client that sends its body byte by byte must not fill the window with them.
  // What comes meanwhile is gathered in the exchange.
  static constexpr std::uint32_t kMaxPieces = 16;

  RemotePort(net::Loop& loop, net::Mailbox& inbox, Application& application, const Limits& limits,
             ReleaseInfo release_info) noexcept;
  ~RemotePort();  // every exchange is back
  RemotePort(const RemotePort&) = delete;
  RemotePort& operator=(const RemotePort&) = delete;

  // ---- the application's thread
  void post(const Command& command) noexcept;
  void post(Command command, std::span<const std::byte> bytes) noexcept;
  void post(Command command, ResponseHead& head) noexcept;  // takes the head's content
  void flush() noexcept;
  [[nodiscard]] const Limits& limits() const noexcept { return limits_; }
  // After the loop's thread has ended: carries the commands out on this one.
  void run_commands_here() noexcept;

  // ---- the loop's thread
  void on_request(Exchange& exchange) noexcept override;
  void on_body(Exchange& exchange) noexcept override;
  void on_drained(Exchange& exchange) noexcept override;
  void on_disconnect(Exchange& exchange, bool dead) noexcept override;
  void on_connection_info_released(ConnectionInfo& info) noexcept override;
  // An object of the application's that is to die on its thread.
  void hand_over(void* object) noexcept;
  // After each tick: moves bodies on, and posts what happened. `wake`: wakes the application even if that is nothing.
  void end_tick(bool wake) noexcept;
  [[nodiscard]] std::uint32_t in_use() const noexcept { return in_use_; }  // exchanges that are with the application
  [[nodiscard]] std::uint64_t refused() const noexcept { return refused_count_; }

 private:
  struct CommandBatch;
  struct EventBatch;
  struct Nudge;
  static constexpr std::uint32_t kKeepBatches = 32;  // idle ones, on either side: as many as one side may be ahead
  static constexpr std::uint32_t kKeepExchanges = 256;

  [[nodiscard]] CommandBatch& out() noexcept;
  void run(CommandBatch& batch) noexcept;
  void run(const Command& command, CommandBatch& batch) noexcept;
  void apply(EventBatch& batch) noexcept;
  [[nodiscard]] EventBatch& in() noexcept;
  [[nodiscard]] Event& add_event(Event::Kind kind, RemoteExchange& remote) noexcept;
  void request_pump(RemoteExchange& remote) noexcept;
  void pump(RemoteExchange& remote) noexcept;
  [[nodiscard]] bool is_full() noexcept;
  void refuse_surplus() noexcept;
  void give_back(RemoteExchange& remote) noexcept;
  static void destroy(RemoteExchange* remote) noexcept;

  net::Loop& loop_;
  net::Mailbox& inbox_;
  Application& application_;
  const Limits limits_;
  const ReleaseInfo release_info_;

  // The application's thread.
  CommandBatch* out_ = nullptr;
  CommandBatch* idle_commands_ = nullptr;
  std::atomic<std::uint64_t> taken_{0};  // requests that it has looked at; read by the loop
  // Given back by the other side: a stack that is only ever taken as a whole.
  alignas(64) std::atomic<CommandBatch*> returned_commands_{nullptr};
  std::atomic<EventBatch*> returned_events_{nullptr};

  // The loop's thread.
  alignas(64) EventBatch* in_ = nullptr;
  EventBatch* idle_events_ = nullptr;
  std::vector<RemoteExchange*> to_pump_;
  std::unique_ptr<Nudge> nudge_;
  AppExchange* refused_ = nullptr;  // through app_next
  RemoteExchange* free_ = nullptr;
  std::uint32_t idle_ = 0;
  std::uint32_t in_use_ = 0;
  std::uint64_t announced_ = 0;
  std::uint64_t taken_seen_ = 0;
  std::uint64_t refused_count_ = 0;
};

}  // namespace pyre::http
