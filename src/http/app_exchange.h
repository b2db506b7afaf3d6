// AppExchange: one request and its response as the application side (src/asgi) sees them. Two classes stand behind it:
// Exchange, where the application runs on the loop's own thread (the embedded loop), and RemoteExchange, the mirror
// that the application's thread has of an exchange of another thread's loop (the detached loop).
//
// What a state is asked for is inline, here; what acts is virtual. Every function is called on the application's
// thread, never from inside a RequestHandler callback except where it says so. If the connection dies first, the
// exchange lives on, dead(): its functions then do nothing and say Outcome::dead.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "http/body_framing.h"
#include "http/request_head.h"
#include "http/response_head.h"
#include "net/output_queue.h"
#include "platform/endpoint.h"

namespace pyre::http {

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

class AppExchange {
 public:
  AppExchange(const AppExchange&) = delete;
  AppExchange& operator=(const AppExchange&) = delete;

  // ---- the request (immutable from on_request() on)
  [[nodiscard]] const RequestHead& request() const noexcept { return *received_; }
  [[nodiscard]] ConnectionInfo& connection_info() noexcept { return *info_; }
  [[nodiscard]] const ForwardedInfo& forwarded() const noexcept { return *told_; }

  // ---- the request body
  [[nodiscard]] std::uint64_t body_available() const noexcept { return body_size_; }  // received, decoded, not yet read
  [[nodiscard]] bool body_complete() const noexcept { return body_complete_; }  // nothing comes after body_available()
  // The app waits for more of the body: sends "100 Continue" if the request expects it, nothing of the body has come
  // and the response's head is not sent; goes on reading.
  virtual void want_body() noexcept = 0;
  // Takes exactly `out.size()` (<= body_available()) bytes off the front; reading goes on when below low water.
  virtual void read_body(std::span<std::byte> out) noexcept = 0;

  // ---- the response
  // Fill this, then start(). Until start() the application may reset and fill it again.
  [[nodiscard]] ResponseHead& response_head() noexcept { return head_; }
  // Takes the head over. It is held back until the first body piece (or finish, or a flush of an incomplete response),
  // so that one gathered write carries both, and a body whose first piece is the last gets a Content-Length.
  virtual Outcome start(bool trailers_follow) noexcept = 0;
  // A piece of the body. `owner.release` null: the bytes are copied. Else, if the result is ok, the piece is borrowed
  // and released later (possibly at once: HEAD, an empty piece, or a small one that was copied); if not ok, owner is
  // not released. `last` ends the body (and the exchange, unless trailers follow).
  virtual Outcome write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept = 0;
  virtual Outcome write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                             bool last) noexcept = 0;
  // After the last body piece of a response started with trailers_follow: checked like fields; framing, routing and
  // authentication fields are refused (RFC 9110 6.5.1). Dropped where they cannot go (HTTP/1.0, Content-Length
  // framing).
  [[nodiscard]] FieldError add_trailer(std::string_view name, std::string_view value) noexcept;
  virtual Outcome end_trailers() noexcept = 0;
  // 103 and the like, before the start. `fields` are complete "name: value\r\n" lines that were checked by a
  // ResponseHead. Not sent to HTTP/1.0.
  virtual Outcome send_informational(std::uint16_t status, std::string_view fields) noexcept = 0;
  // Before the start: a plain-text answer of the server's own, e.g. 500 or 503. After it: the connection is cut (RST),
  // so that the client can tell. Completes the exchange in both cases.
  virtual void fail(std::uint16_t status) noexcept = 0;

  [[nodiscard]] bool started() const noexcept { return started_; }
  // The application has given the last of the response, or it was ended otherwise: nothing can be written any more.
  [[nodiscard]] bool complete() const noexcept { return complete_; }
  // The connection was lost before the response was complete.
  [[nodiscard]] bool dead() const noexcept { return dead_; }
  [[nodiscard]] bool peer_finished() const noexcept { return peer_finished_; }  // FIN after the complete request
  // Output above high water: send() should wait for on_drained(). Always false when dead or complete.
  [[nodiscard]] virtual bool should_wait() noexcept = 0;

  // The application is done with it (its task ended). If the response is not complete by now, fail(500).
  virtual void release() noexcept = 0;

  // ---- the application side's own slots; the http layer never looks at them
  void* app = nullptr;              // e.g. the HttpCycle
  AppExchange* app_next = nullptr;  // an intrusive list of the application's
  std::uint8_t app_flags = 0;
  std::uint8_t app_slot = 0;  // in the padding

 protected:
  AppExchange(const RequestHead* received, const ForwardedInfo* told) noexcept : received_(received), told_(told) {}
  ~AppExchange() = default;
  // Back to as it is before a request.
  void reset() noexcept;

  const RequestHead* received_;
  const ForwardedInfo* told_;
  ConnectionInfo* info_ = nullptr;
  ResponseHead head_;
  std::uint64_t body_size_ = 0;  // of the request, to be read
  std::uint64_t body_left_ = 0;  // of the response, when its length is told
  BodyFraming::Kind framing_ = BodyFraming::Kind::none;
  bool body_complete_ = false;
  bool started_ = false;
  bool trailers_follow_ = false;
  bool body_ended_ = false;  // the last piece was given; only trailers may follow
  bool complete_ = false;
  bool dead_ = false;
  bool peer_finished_ = false;
};

}  // namespace pyre::http
