// RequestParser: HTTP/1.1 requests out of bytes (RFC 9112), sans-IO. The only file that knows llhttp is
// request_parser.cpp.
//
// Pull style: parse() runs until one event is there and says how many bytes it used; call it again with the rest.
// Strict: no lenient flag of llhttp is on, and what llhttp lets through but RFC 9112 or smuggling forbids is refused
// here (bare CR or LF, obs-fold, NUL and control bytes, whitespace before the colon, missing / several / malformed Host
// in 1.1, CL with TE, differing CL, TE that does not end in chunked or comes with HTTP/1.0, unknown transfer codings
// (501), bad chunk sizes and terminators, bad methods and targets, versions other than 1.0 and 1.1 (505), fragments).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "http/limits.h"
#include "http/request_head.h"

namespace pyre::http {

class RequestParser {
 public:
  enum class Event : std::uint8_t {
    need_more,  // all bytes used
    head,       // the head that was given to begin() is complete. If it has no body, the message is complete, too:
                // no message_complete event follows
    body,       // step.body is a piece of the (de-chunked) body, pointing into the input
    message_complete,
    error,  // step.status and step.reason; the parser is unusable until reset()
  };
  struct Step {
    Event event = Event::need_more;
    std::size_t used = 0;
    std::span<const std::byte> body{};
    std::uint16_t status = 0;      // 400, 413, 414, 417, 431, 501 (CONNECT, too), 505
    const char* reason = nullptr;  // static text for the log
  };

  explicit RequestParser(const Limits& limits) noexcept;  // kept by reference
  ~RequestParser() = default;
  RequestParser(const RequestParser&) = delete;
  RequestParser& operator=(const RequestParser&) = delete;

  // The head that the next request is written into; it must stay until the `head` event. Must be called before the
  // first byte of each request. Leading CRLFs before a request line are skipped (RFC 9112 2.2), at most 16 bytes of
  // them.
  void begin(RequestHead& head) noexcept;
  [[nodiscard]] Step parse(std::span<const std::byte> input) noexcept;

  // After the last body byte a message_complete still comes, also out of an empty input: so call parse() until
  // need_more.

  // No byte of a request (but skipped CRLFs) has come since begin() or reset(), or since the last message was complete.
  [[nodiscard]] bool at_start() const noexcept;
  [[nodiscard]] bool is_fresh() const noexcept;  // and none was skipped
  [[nodiscard]] bool in_head() const noexcept;
  [[nodiscard]] bool in_body() const noexcept;                 // chunk framing and trailers are part of the body
  [[nodiscard]] std::uint64_t body_received() const noexcept;  // decoded bytes of the present message
  void reset() noexcept;

 private:
  struct State;                                    // in request_parser.cpp: it contains llhttp's own
  static constexpr std::size_t kStateBytes = 160;  // small, since it is part of every idle connection
  [[nodiscard]] State& state() noexcept { return *reinterpret_cast<State*>(storage_); }
  [[nodiscard]] const State& state() const noexcept { return *reinterpret_cast<const State*>(storage_); }

  alignas(8) std::byte storage_[kStateBytes];
};

}  // namespace pyre::http
