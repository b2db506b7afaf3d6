// Exchange: one request and its response on its loop. The meeting point of the connection (which reads, frames and
// writes) and the application side. Pooled per server; both sides hold a share: the connection until the exchange is
// over for it, the application from on_request() until release().
//
// The loop's thread only (with or without the GIL: nothing in here touches Python).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "http/app_exchange.h"
#include "http/body_queue.h"

namespace pyre::http {

class CodedBody;
class Connection;
class ProtocolSession;
struct ServerCore;

class Exchange final : public AppExchange {
 public:
  void want_body() noexcept override;
  void read_body(std::span<std::byte> out) noexcept override;
  Outcome start(bool trailers_follow = false) noexcept override;
  Outcome write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept override;
  Outcome write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                     bool last) noexcept override;
  Outcome end_trailers() noexcept override;
  Outcome send_informational(std::uint16_t status, std::string_view fields) noexcept override;
  void fail(std::uint16_t status) noexcept override;
  [[nodiscard]] bool should_wait() noexcept override;
  void release() noexcept override;
  // Instead of start(), for a request with `upgrade` and a complete body: sends `head` (a whole 101 response) and gives
  // the connection's stream to `session`, with what was received behind the request: none of it is taken for HTTP
  // before this request is answered. Completes the exchange.
  Outcome switch_protocol(std::string_view head, ProtocolSession& session) noexcept;
  // Bytes that wait in the connection's output, of earlier responses too.
  [[nodiscard]] std::uint64_t output_queued() const noexcept;

  // The handler that stands before the application's: it has taken the request, and the application does not know it.
  bool taken = false;

 private:
  friend class CodedBody;
  friend class Connection;
  friend class ExchangePool;
  friend struct ServerCore;
  enum class Holder : std::uint8_t { connection = 1, application = 2, log = 4, coding = 8 };

  explicit Exchange(ServerCore& core) noexcept : AppExchange(&request_, &forwarded_), core_(core) {}
  ~Exchange() = default;
  void hold(Holder holder) noexcept {
    holders_ = static_cast<std::uint8_t>(holders_ | static_cast<std::uint8_t>(holder));
  }
  [[nodiscard]] bool held_by(Holder holder) const noexcept {
    return (holders_ & static_cast<std::uint8_t>(holder)) != 0;
  }
  void drop(Holder holder) noexcept;  // the last one puts it back into the pool
  void clear_body() noexcept;
  // Whether a response that begins goes through an encoder.
  [[nodiscard]] bool begins_coded(std::uint64_t size, bool last) noexcept;
  // The response may be written to; else why not.
  [[nodiscard]] Outcome writable() const noexcept;

  ServerCore& core_;
  RequestHead request_;
  ForwardedInfo forwarded_;
  Connection* connection_ = nullptr;  // until the response is complete or the connection is lost
  Exchange* next_ = nullptr;          // the pool's, the connection's or the log's list
  BodyQueue body_;
  CodedBody* coded_ = nullptr;     // the response's body goes through an encoder
  std::uint64_t body_sent_ = 0;    // of the response, queued
  platform::TimePoint head_at_{};  // when the head was complete; only with an access log
  std::uint64_t duration_us_ = 0;
  std::uint16_t status_ = 0;  // of the response, once started
  std::uint8_t holders_ = 0;
  bool body_began_ = false;   // some of the request's body came
  bool body_awaited_ = true;  // on_body() may be called
  bool continue_sent_ = false;
  bool announced_ = false;      // on_request() was called
  bool head_held_ = false;      // started, and the head is not in the output yet
  bool drain_awaited_ = false;  // should_wait() was true
  bool coding_told_ = false;    // the head of an answer to HEAD says that a GET's body would be coded
};

// The application side, as the http layer sees it. Called on the loop's thread, WITHOUT the GIL held or not (unknown):
// implementations may only touch their own native state, e.g. push the exchange onto a list. They must not call back
// into the exchange from inside, except read-only.
class RequestHandler {
 public:
  // A head is complete and it is this exchange's turn (responses are in order, so one per connection at a time). May
  // come from inside the function that completes the response before it, whoever calls that.
  virtual void on_request(Exchange& exchange) noexcept = 0;
  // Body bytes, or the body's end, became available. At most once until read_body()/want_body() is called again.
  virtual void on_body(Exchange& exchange) noexcept = 0;
  // The output fell to low water after should_wait() had been true.
  virtual void on_drained(Exchange& exchange) noexcept = 0;
  // `dead` false: FIN after the complete request (what is sent is still written). True: the connection is gone.
  // Each at most once per exchange; not after the response is complete, nor after release().
  virtual void on_disconnect(Exchange& exchange, bool dead) noexcept = 0;
  // The last share of the info is gone.
  virtual void on_connection_info_released(ConnectionInfo& info) noexcept = 0;

 protected:
  ~RequestHandler() = default;
};

}  // namespace pyre::http
