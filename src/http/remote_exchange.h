// RemoteExchange: the application thread's mirror of an Exchange whose loop runs on another thread. What send() and
// receive() ask is answered from here, at once; what they do becomes a command to the loop (remote_port.h), and what
// happens to the exchange arrives as an event that changes the mirror. So misuse raises where it is made, and a dead
// connection raises as soon as the application's thread can know.
//
// The mirror's fields belong to the application's thread, from the request's event to release(); the last ones to the
// loop's. Between two requests nobody reads the mirror: events that were on their way when it was released find it
// detached, and come before the event of the next request, since both come from one sender.
#pragma once

#include <cstddef>
#include <cstdint>

#include "http/app_exchange.h"

namespace pyre::http {

class Exchange;
class RemotePort;

// Bytes of a request's body on their way to the application's thread, which frees them.
struct BodyPiece {
  BodyPiece* next = nullptr;
  std::uint32_t size = 0;
  std::uint32_t at = 0;                                               // read up to here
  [[nodiscard]] static BodyPiece* make(std::uint32_t size) noexcept;  // null when memory is exhausted
  [[nodiscard]] std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
};

class RemoteExchange final : public AppExchange {
 public:
  void want_body() noexcept override;
  void read_body(std::span<std::byte> out) noexcept override;
  Outcome start(bool trailers_follow) noexcept override;
  Outcome write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept override;
  Outcome write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                     bool last) noexcept override;
  Outcome end_trailers() noexcept override;
  Outcome send_informational(std::uint16_t status, std::string_view fields) noexcept override;
  void fail(std::uint16_t status) noexcept override;
  // Counts what is posted and not yet consumed, and what the connection's output held when we last heard of it.
  [[nodiscard]] bool should_wait() noexcept override;
  void release() noexcept override;

 private:
  friend class RemotePort;

  explicit RemoteExchange(RemotePort& port) noexcept : AppExchange(nullptr, nullptr), port_(port) {}
  ~RemoteExchange() = default;

  void begin(bool body_complete, std::uint64_t queued) noexcept;
  void add_body(BodyPiece* piece, bool complete) noexcept;
  void drained(std::uint64_t position, std::uint64_t queued) noexcept;
  void drop_body() noexcept;
  [[nodiscard]] Outcome writable() const noexcept;
  [[nodiscard]] Outcome check_piece(std::uint64_t size, bool last) noexcept;
  [[nodiscard]] bool drop_piece(net::Borrowed owner, bool last) noexcept;
  void after_piece(std::uint64_t size, bool last) noexcept;
  [[nodiscard]] std::uint64_t outstanding() const noexcept { return posted_ - acknowledged_ + queued_; }
  void ask_when_drained() noexcept;

  RemotePort& port_;
  BodyPiece* body_first_ = nullptr;
  BodyPiece* body_last_ = nullptr;
  std::uint64_t posted_ = 0;        // bytes of the response that were given to the loop
  std::uint64_t acknowledged_ = 0;  // as far as the loop's last answer goes
  std::uint64_t queued_ = 0;        // in the connection's output at that answer
  std::uint64_t asked_ = 0;         // posted_ when the loop was asked
  std::uint32_t files_ = 0;         // posted since the last answer
  bool asking_ = false;
  bool attached_ = false;
  bool continue_wanted_ = false;
  bool has_piece_ = false;  // of a response without a body on the wire

  // ---- the loop's thread only
  alignas(64) Exchange* exchange_ = nullptr;
  RemoteExchange* next_ = nullptr;  // the pool's
  std::uint64_t body_out_ = 0;      // bytes of the body that the application has not read yet
  std::uint32_t pieces_out_ = 0;    // pieces of it that the application has not freed yet
  std::uint64_t asked_position_ = 0;
  bool drain_asked_ = false;
  bool to_pump_ = false;
  bool body_end_told_ = false;
};

}  // namespace pyre::http
