// Connection: one client's HTTP/1.1 conversation. Glue between the stream (bytes), the parser (requests) and the
// exchanges (what the application sees): pipelining, time-outs, keep-alive, refusals, and the end. Which state follows
// which is in h1_state.h; reading is in connection_read.cpp, writing in connection_write.cpp, time and life in
// connection.cpp.
//
// What an idle connection costs counts (see the size at the end): it holds no buffer and no exchange.
#pragma once

#include <cstdint>
#include <span>

#include "http/exchange.h"
#include "http/exchange_pool.h"
#include "http/h1_state.h"
#include "http/head_batch.h"
#include "http/protocol.h"
#include "http/refusal.h"
#include "http/request_parser.h"
#include "net/stream.h"

namespace pyre::http {

class Connection final : private net::StreamEvents {
 public:
  // A connection on an accepted socket; it destroys itself when the stream is closed. On failure the socket is closed,
  // nothing is left, and this says false.
  [[nodiscard]] static bool accept(ServerCore& core, platform::NativeSocket socket, const platform::Endpoint& peer,
                                   std::uint32_t listener) noexcept;

  Connection(ServerCore& core, SharedInfo& info) noexcept;  // for accept()
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void drain() noexcept;  // Server::drain() for this one
  void abort() noexcept;  // RST, and the application is told
  // What it offered is its own again; `parsed`: and has become this head. Called by Overflow.
  void take_head(HeadBatch::Item* parsed) noexcept;

  // ---- what exchanges call; each only while exchange.connection_ is this
  void want_body(Exchange& exchange) noexcept;
  void body_was_read(Exchange& exchange) noexcept;
  Outcome start(Exchange& exchange) noexcept;
  Outcome write(Exchange& exchange, std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept;
  Outcome write_file(Exchange& exchange, platform::NativeFile file, std::uint64_t offset, std::uint64_t count,
                     net::Borrowed owner, bool last) noexcept;
  Outcome end_trailers(Exchange& exchange) noexcept;
  Outcome send_informational(Exchange& exchange, std::uint16_t status, std::string_view fields) noexcept;
  void fail(Exchange& exchange, std::uint16_t status) noexcept;
  Outcome switch_protocol(Exchange& exchange, std::string_view head, ProtocolSession& session) noexcept;
  [[nodiscard]] bool output_is_full() const noexcept;
  [[nodiscard]] std::uint64_t output_queued() const noexcept { return stream_.output().size(); }

 private:
  friend class CodedBody;
  friend struct ServerCore;

  // Whose turn it is, for the time-outs. Each phase has one deadline, which is set when the phase begins.
  enum class Wait : std::uint8_t {
    nobody,      // ours, or the app's
    head,        // the peer's: from accept, or from the first byte of a later request
    body,        // the peer's: we are reading a body
    keep_alive,  // the peer's: all is answered and sent
    linger,      // the peer's: to end its side
  };
  struct Work : net::Deferred {
    explicit Work(Connection& c) noexcept : Deferred(&Connection::run_work), connection(c) {}
    Connection& connection;
  };
  struct Clock : net::Timer {
    explicit Clock(Connection& c) noexcept : Timer(&Connection::run_clock), connection(c) {}
    Connection& connection;
  };

  // ---- net::StreamEvents
  void on_data(platform::Lease& data) noexcept override;
  void on_end() noexcept override;
  void on_error(platform::Result result) noexcept override;
  void on_sent() noexcept override;
  void on_closed() noexcept override;

  // ---- reading (connection_read.cpp)
  void consume(std::span<const std::byte> bytes, platform::Lease* lease) noexcept;
  [[nodiscard]] bool may_parse(bool input_is_empty) const noexcept;
  [[nodiscard]] bool offer(std::span<const std::byte> bytes) noexcept;
  [[nodiscard]] bool take_exchange() noexcept;
  void on_head() noexcept;
  void on_body_bytes(std::span<const std::byte> piece, platform::Lease* lease) noexcept;
  void on_message_complete() noexcept;
  void keep(std::span<const std::byte> rest) noexcept;
  void drop_kept() noexcept;
  void consume_kept() noexcept;
  void discard(std::size_t bytes) noexcept;
  void tell_application() noexcept;
  void handle_end() noexcept;
  void refuse(Refusal refusal) noexcept;
  void give_body_up() noexcept;
  [[nodiscard]] bool wants_to_read() noexcept;
  void update_reading() noexcept;

  // ---- turns
  void begin_response(Exchange& exchange) noexcept;
  void retire(Exchange& exchange) noexcept;  // nothing more can be said to it: counted and logged
  void complete(Exchange& exchange) noexcept;
  void next_turn() noexcept;
  void drop_waiting() noexcept;
  void drop_last_waiting() noexcept;
  [[nodiscard]] bool can_drain(const Exchange& exchange) const noexcept;

  // ---- writing (connection_write.cpp)
  struct HeadText;  // the parts of a head that is about to be written
  [[nodiscard]] bool will_close(const Exchange& exchange, BodyFraming::Kind kind, bool last) const noexcept;
  void plan_head(const Exchange& exchange, bool last, std::uint64_t total, HeadText& text) noexcept;
  void commit_head(Exchange& exchange, const HeadText& text) noexcept;
  [[nodiscard]] bool emit(const HeadText* head, std::string_view prefix, std::span<const std::byte> piece,
                          net::Borrowed owner, std::string_view suffix) noexcept;
  [[nodiscard]] bool emit_head(const HeadText& head) noexcept;
  Outcome check_length(Exchange& exchange, const HeadText* head, std::uint64_t size, bool last) noexcept;
  Outcome after_piece(Exchange& exchange, std::uint64_t size, bool last) noexcept;
  void flush_held_head() noexcept;
  void emit_refusal() noexcept;
  Outcome out_of_memory() noexcept;
  void cut(Exchange& exchange) noexcept;  // the response can not be completed as it was begun
  void output_added() noexcept;
  void tell_if_drained(Exchange& exchange) noexcept;

  // ---- time and life (connection.cpp)
  void finish() noexcept;  // FIN after the output
  void output_is_empty() noexcept;
  void linger() noexcept;
  void die(bool abort) noexcept;  // now; the application is told
  void lose(Exchange& exchange) noexcept;
  void close_stream(bool abort) noexcept;
  [[nodiscard]] Wait waits_for() const noexcept;
  void update_clock() noexcept;
  void arm_clock() noexcept;
  [[nodiscard]] bool body_is_too_slow() noexcept;
  void time_out_reading() noexcept;
  void time_out_writing() noexcept;
  void settle() noexcept;  // after every event: reading and the clock follow the state
  static void run_work(net::Deferred& work) noexcept;
  static void run_clock(net::Timer& clock) noexcept;

  ServerCore& core_;
  net::Stream stream_;
  RequestParser parser_;
  SharedInfo* info_;
  H1State state_;
  Wait wait_ = Wait::nobody;
  bool peer_ended_ = false;
  bool end_handled_ = false;
  bool body_paused_ = false;      // the front's body is above high water, and not yet below low water
  bool body_to_tell_ = false;     // the front's body grew in this event
  bool served_ = false;           // a request's head was complete
  bool closing_ = false;          // the front's response said "Connection: close", or ends with the connection
  bool upgrade_awaited_ = false;  // a request may still switch protocols: what follows it may not be HTTP
  bool dropped_input_ = false;    // bytes of the peer's were not looked at: closing now would reset the connection
  std::uint16_t waiting_count_ = 0;
  std::uint32_t waiting_bytes_ = 0;
  Exchange* parsing_ = nullptr;       // its head is being read
  Exchange* front_ = nullptr;         // has its turn
  Exchange* reading_body_ = nullptr;  // the front, or the last that waits
  Exchange* waiting_first_ = nullptr;
  Exchange* waiting_last_ = nullptr;
  Exchange* refused_ = nullptr;  // is answered by us, after those before it
  Refusal refusal_;
  std::byte* kept_ = nullptr;           // received, not parsed
  HeadBatch::Item* offered_ = nullptr;  // parses what is kept, on another thread, and owns it for so long
  std::uint32_t kept_at_ = 0;
  std::uint32_t kept_size_ = 0;
  std::uint32_t discarded_ = 0;      // bytes dropped: of an unwanted body, then while closing
  std::uint32_t body_spent_ms_ = 0;  // reading the present body, before the present wait
  platform::TimePoint body_since_{};
  platform::TimePoint read_deadline_ = platform::TimePoint::max();
  platform::TimePoint write_deadline_ = platform::TimePoint::max();
  std::uint64_t write_mark_ = 0;  // the stream's progress when write_deadline_ was set
  std::uint64_t counted_out_ = 0;
  ProtocolSession* session_ = nullptr;
  Connection* previous_ = nullptr;  // the server's list
  Connection* next_ = nullptr;
  Work work_{*this};
  Clock clock_{*this};
};
// With the info some 0.95 KiB: 5,000 idle connections must cost at most 1.5 KiB each, the kernel's part not counted.
static_assert(sizeof(void*) > 8 || sizeof(Connection) <= 960);

}  // namespace pyre::http
