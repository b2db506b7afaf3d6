// CodedBody: the body of one response on its way through an encoder, between the application's side of an Exchange and
// its Connection. What the application writes is gathered until the loop's deferred work runs, which holds no GIL; a
// small piece is encoded there, a larger one by the Offload. What comes out is written to the connection in the order
// in which it came in.
//
// A body that is complete by then, and short, is encoded as a whole: it gets a Content-Length, and is sent as it is if
// coding gains nothing. All others are streams: an encoder of their own, chunked framing, and a flush whenever no more
// waits to be encoded, so that an event goes out when it is sent.
//
// The loop's thread only, except encode().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "http/compression.h"
#include "http/encoder.h"
#include "http/exchange.h"
#include "net/file_pool.h"
#include "net/loop.h"
#include "net/offload.h"

namespace pyre::http {

class CodedBody {
 public:
  // How much one step encodes: some 5 ms at gzip's usual level. A longer one would keep a thread from the other
  // connections, and hold that much output at once.
  static constexpr std::uint32_t kStepBytes = 256 * 1024;
  // What the streams of one loop may hold in encoders: 200 with gzip, 40 with br. More are sent uncoded, so that
  // clients who open thousands of event streams do not make the process grow.
  static constexpr std::uint64_t kStreamMemory = std::uint64_t{64} << 20;
  // Steps of one loop that wait for the Offload or are being done: 128 MiB at most, and with two processors a second or
  // two of their time at the usual levels. What comes then is sent uncoded.
  static constexpr std::uint32_t kMaxStepsOut = 512;
  // What the loop's thread encodes itself in one tick, a millisecond or two; more goes to the Offload, however small.
  static constexpr std::uint32_t kInlineBytes = 64 * 1024;

  // Called with the first write of a response, or with none when its head must go out: takes the body over if it is to
  // be coded. `size`: of that write; `last`: that is all. Where there is no body to send (HEAD, 304) it only writes
  // into the head what must be the same as in a GET's.
  [[nodiscard]] static bool take_over(Exchange& exchange, std::uint64_t size, bool last) noexcept;
  ~CodedBody();
  CodedBody(const CodedBody&) = delete;
  CodedBody& operator=(const CodedBody&) = delete;

  // As the exchange's own.
  Outcome write(std::span<const std::byte> piece, net::Borrowed owner, bool last) noexcept;
  Outcome write_file(platform::NativeFile file, std::uint64_t offset, std::uint64_t count, net::Borrowed owner,
                     bool last) noexcept;
  // Of what was given and is not in the connection's output: with what it costs to keep it.
  [[nodiscard]] bool holds_more_than(std::uint64_t bytes, std::uint32_t files) const noexcept {
    return pending_ + pieces_ * kPieceCost > bytes || files_ > files;
  }
  // Something is on its way that will bring the response's head.
  [[nodiscard]] bool brings_head() const noexcept { return pending_ != 0 || ended_ || task_out_; }
  // The head is to go out before anything is there to be coded: this is a stream then. False: memory is exhausted.
  [[nodiscard]] bool become_stream() noexcept;
  // The connection's output fell to low water.
  void go_on() noexcept;
  // The response will not be sent: what can be let go is let go now.
  void connection_lost() noexcept;

 private:
  friend class ExchangePool;
  static constexpr std::uint64_t kPieceCost = 80;
  enum class Mode : std::uint8_t {
    gathering,  // the first step has not begun
    whole,      // one step, and its result decides
    stream,
    plain,  // as it is
  };
  struct Piece;
  struct Work : net::Deferred {
    explicit Work(CodedBody& b) noexcept : Deferred(&CodedBody::run_work), body(b) {}
    CodedBody& body;
  };
  // A step that reads from a file: a disk may hold it up, so it is not the Offload's.
  struct FileStep : net::FilePool::CallRequest {
    explicit FileStep(CodedBody& b) noexcept
        : CallRequest(&CodedBody::end_file_step, &CodedBody::run_file_step), body(b) {}
    CodedBody& body;
  };
  struct Step : net::Offload::Task {
    explicit Step(CodedBody& b) noexcept : Task(&CodedBody::run_step, &CodedBody::end_step), body(b) {}
    CodedBody& body;
  };

  CodedBody(Exchange& exchange, Compression::Choice choice) noexcept;
  [[nodiscard]] static CodedBody* make(Exchange& exchange, Compression::Choice choice) noexcept;
  static void destroy(CodedBody* body) noexcept;
  Outcome add(Piece* piece, bool last) noexcept;
  Outcome check_length(std::uint64_t size, bool last) noexcept;
  void run() noexcept;
  void decide() noexcept;
  void forward() noexcept;
  void begin_step() noexcept;
  void encode() noexcept;
  void encode_pieces(Encoder& encoder, ByteBuffer& out) noexcept;
  void deliver() noexcept;
  void write_result() noexcept;
  void consume(std::uint64_t size) noexcept;
  void drop_pieces() noexcept;
  void tell_if_drained() noexcept;
  void give_stream_back() noexcept;
  static void run_work(net::Deferred& work) noexcept;
  static void run_step(net::Offload::Task& task) noexcept;
  static void end_step(net::Offload::Task& task) noexcept;
  static void run_file_step(net::FilePool::CallRequest& request) noexcept;
  static void end_file_step(net::Letter& letter) noexcept;
  [[nodiscard]] bool send_step_away() noexcept;
  void step_is_home() noexcept;
  static void adapt_head_without_body(Exchange& exchange, std::uint64_t size) noexcept;

  Exchange& exchange_;
  const Compression::Choice choice_;
  Mode mode_ = Mode::gathering;
  bool ended_ = false;     // the application's last piece is here
  bool task_out_ = false;  // a step is under way: its pieces are the encoder's to read
  bool step_ends_ = false;
  bool step_flushes_ = false;  // nothing waits behind it
  bool step_failed_ = false;
  Piece* first_ = nullptr;
  Piece* last_ = nullptr;
  std::uint64_t pending_ = 0;  // bytes in the pieces
  std::uint32_t pieces_ = 0;
  std::uint32_t files_ = 0;        // of those
  std::uint64_t length_left_ = 0;  // of the application's Content-Length
  bool has_length_ = false;
  std::uint64_t step_size_ = 0;
  std::uint64_t first_done_ = 0;      // of the first piece
  std::unique_ptr<Encoder> encoder_;  // a stream's
  std::byte* result_ = nullptr;       // of the step
  std::size_t result_size_ = 0;
  Work work_{*this};
  Step step_{*this};
  FileStep file_step_{*this};
  std::atomic<bool> unwanted_{false};  // told to the thread that encodes
};

}  // namespace pyre::http
