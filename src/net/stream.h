// Stream: one connected socket on one loop. Reads with late-bound buffers, writes from an OutputQueue in gathered
// sends, closes asynchronously. Knows nothing of HTTP. The loop's thread only.
//
// States: open -> (finishing: FIN after the output) -> closing -> closed. A stream that met an error is `dead`: it
// reads and writes nothing any more, and waits for close().
#pragma once

#include <array>
#include <cstdint>

#include "net/loop.h"
#include "net/output_queue.h"
#include "platform/reactor.h"

namespace pyre::net {

// Called only inside Loop::run_once(), never from inside a Stream call or flush(). Any of them may call close().
class StreamEvents {
 public:
  // Bytes came. The callee may move the lease away to keep the bytes; else they are gone afterwards. Called again as
  // long as reading() is on.
  virtual void on_data(platform::Lease& data) noexcept = 0;
  // FIN: no more data will come; writing still works. Reported also while reading is off (all bytes before it were
  // delivered).
  virtual void on_end() noexcept = 0;
  virtual void on_error(platform::Result result) noexcept = 0;  // dead: at most once; nothing but on_closed follows
  // Bytes left for the kernel since the last call (once per completed send op, so every <= kMaxSendBytes); the output
  // queue may be empty now. Not called for each partial progress: for a write time-out compare progress().
  virtual void on_sent() noexcept = 0;
  virtual void on_closed() noexcept = 0;  // last call ever; the stream may be destroyed from inside it

 protected:
  ~StreamEvents() = default;
};

// The operations are bases, so that an op that is done leads back to its stream by a cast. What is left of SendOp's
// last line holds the stream's small state.
struct StreamRecv : platform::RecvOp {};
struct StreamClose : platform::Op {};
struct StreamSend : platform::SendOp {
  enum class State : std::uint8_t { fresh, open, closing, closed };
  struct Bits {
    bool dead : 1 = false;
    bool reading : 1 = false;
    bool ended : 1 = false;      // FIN received
    bool finishing : 1 = false;  // FIN wanted
    bool finished : 1 = false;   // FIN sent
    bool listed : 1 = false;     // on one of the loop's lists of readers
    bool close_done : 1 = false;
    bool broken : 1 = false;  // out of memory: on_error is due
  };
  State state = State::fresh;
  Bits flags;
  platform::NativeSocket native = platform::no_socket;
};

class Stream : private FlushLink, private StreamRecv, private StreamSend, private StreamClose {
 public:
  // One send op; SendOp::progress shows its steps. Twice the HTTP layer's high-water mark: what a producer queues
  // before it waits, with its framing, must fit, or each round ends with a small packet for the rest.
  static constexpr std::uint64_t kMaxSendBytes = 512 * 1024;
  static constexpr std::size_t kMaxPieces = SendFrame::kPieces;  // iovecs in one gathered send (kept in the loop, not
                                                                 // in the stream: an idle stream must be small)
  Stream(Loop& loop, StreamEvents& events) noexcept;
  ~Stream();  // closed, or never opened
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Attaches an accepted socket to the loop's reactor. On an error the caller still owns it.
  [[nodiscard]] platform::Errc open(platform::NativeSocket socket) noexcept;

  // Reading is off after open(). Turning it off lets a recv that is in flight finish: its bytes are kept, and delivered
  // when reading is on again.
  void set_reading(bool on) noexcept;
  [[nodiscard]] bool reading() const noexcept { return StreamSend::flags.reading; }
  [[nodiscard]] bool ended() const noexcept { return StreamSend::flags.ended; }  // FIN was received

  [[nodiscard]] OutputQueue& output() noexcept { return output_; }
  [[nodiscard]] const OutputQueue& output() const noexcept { return output_; }
  // Call after appending; the loop sends at the end of the tick. Cheap when already asked.
  void request_flush() noexcept { loop_.request_flush(*this); }
  // Bytes that the kernel has taken, ever; includes the progress of the op in flight.
  [[nodiscard]] std::uint64_t progress() const noexcept;

  // FIN once the output is empty.
  void finish_sending() noexcept;
  // Discards the output, ends everything, then on_closed. Idempotent. `abort`: RST instead of FIN (SO_LINGER 0), so
  // that the peer can tell a cut from an end.
  void close(bool abort = false) noexcept;
  [[nodiscard]] bool is_open() const noexcept {  // neither dead nor closing
    return StreamSend::state == State::open && !StreamSend::flags.dead;
  }
  [[nodiscard]] Loop& loop() noexcept { return loop_; }

 private:
  friend class Loop;
  struct FileSend;

  [[nodiscard]] Bits& bits() noexcept { return StreamSend::flags; }
  [[nodiscard]] bool sending()
      const noexcept;  // an op is in flight, or the file pool reads ahead for us: the output must stay
  void receive() noexcept;
  void deliver(platform::Lease& bytes) noexcept;
  void deliver_kept() noexcept;
  void flush_now() noexcept;
  void send_memory() noexcept;
  void send_file() noexcept;
  [[nodiscard]] bool send_headed_file() noexcept;
  void start_file_send(platform::ConstBytes head, OutputQueue::FileRange range) noexcept;
  [[nodiscard]] bool make_file_send() noexcept;
  [[nodiscard]] bool read_ahead(const OutputQueue::FileRange& range) noexcept;
  void on_received(platform::Result result) noexcept;
  void on_taken(platform::Result result) noexcept;
  void finish_close() noexcept;
  void fail(platform::Result result) noexcept;

  Loop& loop_;
  StreamEvents& events_;
  OutputQueue output_;
  platform::Socket* socket_ = nullptr;
  Stream* next_reader_ = nullptr;                 // the loop's lists of readers
  SendFrame* frame_ = nullptr;                    // only while a send of many pieces is in flight
  FileSend* file_send_ = nullptr;                 // only while files are sent
  std::uint64_t taken_ = 0;                       // by ops that are done
  std::array<platform::ConstBytes, 2> pieces_{};  // a head and a body need no frame
};
static_assert(sizeof(void*) > 8 || sizeof(platform::NativeSocket) > 4 || sizeof(Stream) <= 400,
              "ten thousand idle streams count");

}  // namespace pyre::net
