// Runs bytes through a RequestParser and writes down what came out, for tests that compare.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/request_parser.h"

namespace pyre::http::test {

struct Parsed {
  struct Message {
    std::string method, target, path, query, body;
    int minor_version = 1;
    bool keep_alive = true;
    bool chunked = false;
    bool complete = false;
    std::vector<std::pair<std::string, std::string>> fields;
    bool operator==(const Message&) const = default;
  };
  std::vector<Message> messages;
  int status = 0;  // of the refusal; 0 if there was none
  std::string reason;
  bool in_the_middle = false;  // more bytes were expected
};

// `step` bytes at a time; 0 is all at once.
inline Parsed parse_all(std::string_view input, std::size_t step = 0, const Limits& limits = {}) {
  Parsed out;
  RequestParser parser(limits);
  RequestHead head;
  parser.begin(head);
  std::size_t at = 0;
  if (step == 0) step = input.size() + 1;
  while (true) {
    const std::string_view piece = input.substr(at, step);
    at += piece.size();
    std::vector<char> copy(piece.begin(),
                           piece.end());  // on the heap, so that AddressSanitizer sees any step over its end
    std::span<const std::byte> rest = std::as_bytes(std::span(copy));
    bool more = true;
    while (more) {
      const RequestParser::Step result = parser.parse(rest);
      rest = rest.subspan(result.used);
      switch (result.event) {
        case RequestParser::Event::head: {
          Parsed::Message& message = out.messages.emplace_back();
          message.method = head.method();
          message.target = head.target();
          message.path = head.path();
          message.query = head.query();
          message.minor_version = head.minor_version;
          message.keep_alive = head.keep_alive;
          message.chunked = head.chunked;
          message.complete = !head.has_body();
          for (const HeaderField& field : head.fields) message.fields.emplace_back(head.name(field), head.value(field));
          if (!head.has_body()) parser.begin(head);
          break;
        }
        case RequestParser::Event::body:
          out.messages.back().body.append(reinterpret_cast<const char*>(result.body.data()), result.body.size());
          break;
        case RequestParser::Event::message_complete:
          out.messages.back().complete = true;
          parser.begin(head);
          break;
        case RequestParser::Event::error:
          out.status = result.status;
          out.reason = result.reason == nullptr ? "" : result.reason;
          return out;
        case RequestParser::Event::need_more:
          more = false;
          break;
      }
    }
    if (at == input.size()) break;
  }
  out.in_the_middle = !parser.at_start();
  return out;
}

}  // namespace pyre::http::test
