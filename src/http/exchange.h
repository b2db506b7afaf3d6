// Exchange: one request and its response. The meeting point of the connection (which reads, frames and writes) and the
// application side (src/asgi). Pooled per server; both sides hold a share: the connection until the exchange is over
// for it, the application from on_request() until release().
//
// Every function is called on the loop's thread (with or without the GIL: nothing in here touches Python), never from
// inside a RequestHandler callback except where it says so. If the connection dies first, the exchange lives on,
// dead(): its functions then do nothing and say Outcome::dead.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "http/body_framing.h"
#include "http/body_queue.h"
#include "http/request_head.h"
#include "http/response_head.h"
#include "net/output_queue.h"
#include "platform/endpoint.h"

namespace pyre::http {

class Connection;
class ProtocolSession;
struct ServerCore;

// What an app can know about the connection; lives as long as any of its exchanges.
struct ConnectionInfo {
  platform::Endpoint peer;     // the real peer
  platform::Endpoint local;    // getsockname()
  std::uint32_t listener = 0;  // index of the listener it came by, as given to Server::listen()
  bool tls = false;
  // The application side's cache, e.g. the `client` tuple; it frees them in on_connection_info_released().
  void* app_cache[2] = {nullptr, nullptr};
};

// The client after forwarded headers from a trusted proxy; only `set` ones override ConnectionInfo.
struct ForwardedInfo {
  bool client_set = false;
  platform::Endpoint client;  // port 0 when the header had none
  std::string_view
      client_text;  // if the header named something that is no address (e.g. an obfuscated "_id"); points into the head
  std::string_view scheme;  // "http", "https", "ws", "wss"; empty: not set
};

enum class Outcome : std::uint8_t {
  ok,
  dead,            // the connection is gone, or was given up: the app should get an OSError
  body_too_long,   // more than the app's Content-Length; nothing of this piece was written
  body_too_short,  // `last`, but the app's Content-Length is not reached; the connection will be cut
  not_started,     // body before the start, or a start with a status that is none (below 200: see send_informational();
                   // above 999)
  already_started,
  already_complete,
  no_memory,   // the connection is cut
  no_upgrade,  // switch_protocol() for a request that did not ask for it, or whose body is not complete
};

class Exchange {
 public:
  // ---- the request (immutable from on_request() on)
  [[nodiscard]] const RequestHead& request() const noexcept { return request_; }
  [[nodiscard]] ConnectionInfo& connection_info() noexcept { return *info_; }
  [[nodiscard]] const ForwardedInfo& forwarded() const noexcept { return forwarded_; }

  // ---- the request body
  [[nodiscard]] std::uint64_t body_available() const noexcept { return body_size_; }  // received, decoded, not yet read
  [[nodiscard]] bool body_complete() const noexcept { return body_complete_; }  // nothing comes after body_available()
  // The app waits for more of the body: sends "100 Continue" if the request expects it, nothing of the body has come
  // and the response's head is not sent; goes on reading.
  void want_body() noexcept;
  // Takes exactly `out.size()` (<= body_available()) bytes off the front; reading goes on when below low water.
  void read_body(std::span<std::byte> out) noexcept;

  // ---- the response
  // Fill this, then start(). Until start() the application may reset and fill it again.
  [[nodiscard]] ResponseHead& response_head() noexcept { return head_; }
  // Takes the head over. It is held back until the first body piece (or finish, or a flush of an incomplete response),
  // so that one gathered write carries both, and a body whose first piece is the last gets a Content-Length.
  Outcome start(bool trailers_follow = false) noexcept;
  // A piece of the body. `owner.release` null: the bytes are copied. Else, if the result is ok, the piece is borrowed
  // and released later (possibly at once: HEAD, an empty piece, or a small one that was copied); if not ok, owner is
  // not released. `last` ends the body (and the exchange, unless trailers follow).
  Outcome write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept;
  Outcome write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                     bool last) noexcept;
  // After the last body piece of a response started with trailers_follow: checked like fields; framing, routing and
  // authentication fields are refused (RFC 9110 6.5.1). Dropped where they cannot go (HTTP/1.0, Content-Length
  // framing).
  [[nodiscard]] FieldError add_trailer(std::string_view name, std::string_view value) noexcept;
  Outcome end_trailers() noexcept;
  // 103 and the like, before the start. `fields` are complete "name: value\r\n" lines that were checked by a
  // ResponseHead. Not sent to HTTP/1.0.
  Outcome send_informational(std::uint16_t status, std::string_view fields) noexcept;
  // Instead of start(), for a request with `upgrade` and a complete body: sends `head` (a whole 101 response) and gives
  // the connection's stream to `session`, with what was received behind the request: none of it is taken for HTTP
  // before this request is answered. Completes the exchange.
  Outcome switch_protocol(std::string_view head, ProtocolSession& session) noexcept;
  // Before the start: a plain-text answer of the server's own, e.g. 500 or 503. After it: the connection is cut (RST),
  // so that the client can tell. Completes the exchange in both cases.
  void fail(std::uint16_t status) noexcept;

  [[nodiscard]] bool started() const noexcept { return started_; }
  [[nodiscard]] bool complete() const noexcept { return complete_; }  // the response's last byte was queued
  // The connection was lost before the response was complete.
  [[nodiscard]] bool dead() const noexcept { return dead_; }
  [[nodiscard]] bool peer_finished() const noexcept { return peer_finished_; }  // FIN after the complete request
  // Output above high water: send() should wait for on_drained(). Always false when dead or complete.
  [[nodiscard]] bool should_wait() const noexcept;

  // The application is done with it (its task ended). If the response is not complete by now, fail(500).
  void release() noexcept;

  // ---- the application side's own slots; the http layer never looks at them
  void* app = nullptr;           // e.g. the HttpCycle
  Exchange* app_next = nullptr;  // an intrusive list of the application's
  std::uint8_t app_flags = 0;

 private:
  friend class Connection;
  friend class ExchangePool;
  friend struct ServerCore;
  enum class Holder : std::uint8_t { connection = 1, application = 2, log = 4 };

  explicit Exchange(ServerCore& core) noexcept : core_(core) {}
  ~Exchange() = default;
  void hold(Holder holder) noexcept {
    holders_ = static_cast<std::uint8_t>(holders_ | static_cast<std::uint8_t>(holder));
  }
  [[nodiscard]] bool held_by(Holder holder) const noexcept {
    return (holders_ & static_cast<std::uint8_t>(holder)) != 0;
  }
  void drop(Holder holder) noexcept;  // the last one puts it back into the pool
  void clear_body() noexcept;
  // The response may be written to; else why not.
  [[nodiscard]] Outcome writable() const noexcept;

  ServerCore& core_;
  RequestHead request_;
  ResponseHead head_;
  ConnectionInfo* info_ = nullptr;
  ForwardedInfo forwarded_;
  Connection* connection_ = nullptr;  // until the response is complete or the connection is lost
  Exchange* next_ = nullptr;          // the pool's, the connection's or the log's list
  BodyQueue body_;
  std::uint64_t body_size_ = 0;
  std::uint64_t body_left_ = 0;    // of the response, when its length is told
  std::uint64_t body_sent_ = 0;    // of the response, queued
  platform::TimePoint head_at_{};  // when the head was complete; only with an access log
  std::uint64_t duration_us_ = 0;
  std::uint16_t status_ = 0;  // of the response, once started
  std::uint8_t holders_ = 0;
  BodyFraming::Kind framing_ = BodyFraming::Kind::none;
  bool body_complete_ = false;
  bool body_began_ = false;   // some of the request's body came
  bool body_awaited_ = true;  // on_body() may be called
  bool continue_sent_ = false;
  bool announced_ = false;  // on_request() was called
  bool started_ = false;
  bool head_held_ = false;  // started, and the head is not in the output yet
  bool trailers_follow_ = false;
  bool body_ended_ = false;  // the last piece was given; only trailers may follow
  bool complete_ = false;
  bool dead_ = false;
  bool peer_finished_ = false;
  mutable bool drain_awaited_ = false;  // should_wait() was true
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
