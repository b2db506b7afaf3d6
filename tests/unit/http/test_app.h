// An application for the tests: gets its events as the real one does (a list that is worked off later, never inside a
// callback) and checks the handler's side of the contract.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "http/exchange.h"

namespace pyre::http::test {

inline std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

class TestApp final : public RequestHandler {
 public:
  enum class Event { request, body, drained, finished, dead };

  // Called from run(), never from inside the http layer.
  std::function<void(Exchange&, Event)> on_event = [this](Exchange& exchange, Event event) {
    if (event == Event::request) answer(exchange, "Hello, world!");
  };

  bool run() {
    bool worked = false;
    while (!events_.empty()) {
      const Note note = events_.front();
      events_.pop_front();
      if (!live_.contains(note.exchange) || live_[note.exchange].serial != note.serial) continue;
      worked = true;
      on_event(*note.exchange, note.event);
    }
    return worked;
  }
  [[nodiscard]] bool pending() const { return !events_.empty(); }
  void step_later(Exchange& exchange, Event event) { events_.push_back({&exchange, event, live_[&exchange].serial}); }

  static std::string take_body(Exchange& exchange) {
    std::string body(exchange.body_available(), '\0');
    exchange.read_body(std::as_writable_bytes(std::span(body)));
    return body;
  }
  void answer(Exchange& exchange, std::string_view body, std::uint16_t status = 200) {
    exchange.response_head().start(status);
    EXPECT_EQ(exchange.response_head().add("content-type", "text/plain"), FieldError::ok);
    if (exchange.start() == Outcome::ok) (void)exchange.write(bytes_of(body), {}, true);
    release(exchange);
  }
  void release(Exchange& exchange) {
    ASSERT_TRUE(live_.contains(&exchange));
    live_.erase(&exchange);
    ++released;
    exchange.release();
  }
  [[nodiscard]] std::size_t live() const { return live_.size(); }
  [[nodiscard]] Exchange* any() { return live_.empty() ? nullptr : live_.begin()->first; }
  [[nodiscard]] std::vector<Exchange*> all() {
    std::vector<Exchange*> exchanges;
    for (const auto& [exchange, state] : live_) exchanges.push_back(exchange);
    return exchanges;
  }

  int requests = 0;
  int released = 0;
  int bodies = 0;
  int finished = 0;
  int dead = 0;
  int infos_released = 0;

 private:
  struct Note {
    Exchange* exchange;
    Event event;
    int serial;
  };
  struct State {
    int serial = 0;
    bool finished = false;
    bool dead = false;
  };

  void on_request(Exchange& exchange) noexcept override {
    EXPECT_FALSE(live_.contains(&exchange)) << "announced twice";
    EXPECT_FALSE(exchange.complete());
    EXPECT_FALSE(exchange.dead());
    EXPECT_FALSE(exchange.started());
    live_[&exchange] = {++requests, false, false};
    events_.push_back({&exchange, Event::request, requests});
  }
  void note(Exchange& exchange, Event event) {
    ASSERT_TRUE(live_.contains(&exchange)) << "an event after release(), or before on_request()";
    events_.push_back({&exchange, event, live_[&exchange].serial});
  }
  void on_body(Exchange& exchange) noexcept override {
    ++bodies;
    note(exchange, Event::body);
  }
  void on_drained(Exchange& exchange) noexcept override { note(exchange, Event::drained); }
  void on_disconnect(Exchange& exchange, bool is_dead) noexcept override {
    ASSERT_TRUE(live_.contains(&exchange));
    State& state = live_[&exchange];
    EXPECT_FALSE(is_dead ? state.dead : state.finished) << "told twice";
    EXPECT_FALSE(exchange.complete()) << "told after the response was complete";
    (is_dead ? state.dead : state.finished) = true;
    ++(is_dead ? dead : finished);
    EXPECT_EQ(exchange.dead(), is_dead);
    note(exchange, is_dead ? Event::dead : Event::finished);
  }
  void on_connection_info_released(ConnectionInfo&) noexcept override { ++infos_released; }

  std::deque<Note> events_;
  std::map<Exchange*, State> live_;
};

}  // namespace pyre::http::test
