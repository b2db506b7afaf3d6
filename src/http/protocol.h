// The seam for protocols that begin as HTTP/1.1 and go on as something else on the same connection (WebSocket, HTTP/2).
// Nothing but tests implements it yet: an Upgrade field is ordinary HTTP until then, and is answered by the app.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "net/stream.h"

namespace pyre::http {

enum class Protocol : std::uint8_t { http1, http2, websocket };

// What takes a connection over (Exchange::switch_protocol()). From taken_over() on it gets the stream's events in the
// connection's place; the connection keeps owning the stream, and ends when the stream is closed.
class ProtocolSession {
 public:
  [[nodiscard]] virtual Protocol protocol() const noexcept = 0;
  // `leftover` was received behind the request that switched; it is gone afterwards. The peer's FIN may have come
  // already: stream.ended(). Reading goes on as it was; the 101 response is in the output.
  virtual void taken_over(net::Stream& stream, std::span<const std::byte> leftover) noexcept = 0;
  virtual void on_data(platform::Lease& data) noexcept = 0;
  virtual void on_end() noexcept = 0;
  virtual void on_error(platform::Result result) noexcept = 0;
  virtual void on_sent() noexcept = 0;
  virtual void on_closed() noexcept = 0;  // the last call; the session may end itself in it
  // Graceful shutdown, and the cut (Server::drain() and abort()).
  virtual void drain() noexcept = 0;
  virtual void abort() noexcept = 0;

 protected:
  ~ProtocolSession() = default;
};

}  // namespace pyre::http
