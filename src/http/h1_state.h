// H1State: where an HTTP/1.1 connection stands, as two enums that move independently, reading ahead of writing when
// requests are pipelined. Every transition is a function here, and asserts where it may come from.
#pragma once

#include <cassert>
#include <cstdint>

namespace pyre::http {

// What the next byte from the peer is.
enum class Reading : std::uint8_t {
  idle,    // the first byte of a request, or nothing
  head,    // part of a request's head: some of it has come
  body,    // part of the body of a request that the app has, or will have
  drain,   // part of the body of a request that was answered already: dropped, to keep the connection
  closed,  // nothing to us: no further request will be read
};

// What may be sent.
enum class Writing : std::uint8_t {
  idle,       // no request has its turn
  response,   // the front exchange has its turn
  finishing,  // the last response is queued; then comes our FIN
  lingering,  // FIN is sent; what the peer still sends is dropped, so that it is not answered by a reset
  gone,       // the stream is closing
};

class H1State {
 public:
  [[nodiscard]] Reading reading() const noexcept { return reading_; }
  [[nodiscard]] Writing writing() const noexcept { return writing_; }
  [[nodiscard]] bool ending() const noexcept { return writing_ >= Writing::finishing; }
  // No further request after those that were begun: "Connection: close" was asked for or is owed, or the server drains.
  [[nodiscard]] bool last() const noexcept { return last_; }
  void make_last() noexcept { last_ = true; }

  void head_began() noexcept {
    assert(reading_ == Reading::idle);
    reading_ = Reading::head;
  }
  void head_ended(bool has_body) noexcept {
    assert(reading_ == Reading::head || reading_ == Reading::idle);
    reading_ = has_body ? Reading::body : after_message();
  }
  void body_ended() noexcept {
    assert(reading_ == Reading::body || reading_ == Reading::drain);
    reading_ = after_message();
  }
  // The response is complete, the request's body is not.
  void body_is_unwanted() noexcept {
    assert(reading_ == Reading::body);
    reading_ = Reading::drain;
  }
  // Whatever it was, no request comes out of it any more.
  void stop_reading() noexcept {
    reading_ = Reading::closed;
    last_ = true;
  }

  void response_began() noexcept {
    assert(writing_ == Writing::idle);
    writing_ = Writing::response;
  }
  void response_ended() noexcept {
    assert(writing_ == Writing::response);
    writing_ = Writing::idle;
  }
  void finish() noexcept {
    assert(writing_ == Writing::idle);
    writing_ = Writing::finishing;
    stop_reading();
  }
  void linger() noexcept {
    assert(writing_ == Writing::finishing);
    writing_ = Writing::lingering;
  }
  void go() noexcept {
    writing_ = Writing::gone;
    stop_reading();
  }

 private:
  [[nodiscard]] Reading after_message() const noexcept { return last_ ? Reading::closed : Reading::idle; }

  Reading reading_ = Reading::idle;
  Writing writing_ = Writing::idle;
  bool last_ = false;
};

}  // namespace pyre::http
