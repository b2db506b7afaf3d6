#include "net/stream.h"

#include <algorithm>
#include <cassert>

#include "net/file_pool.h"
#include "platform/memory.h"
#include "platform/socket.h"

namespace pyre::net {

using platform::Errc;
using platform::Lease;
using platform::Result;

// Everything that sending files needs, so that the streams that send none do not carry it.
struct Stream::FileSend {
  struct Send : platform::SendFileOp {
    FileSend* self = nullptr;
  };
  struct Ahead : FilePool::ReadAheadRequest {
    explicit Ahead(Deliver completed) noexcept : ReadAheadRequest(completed) {}
    FileSend* self = nullptr;
  };

  explicit FileSend(Stream& s) noexcept : stream(s) { send.self = ahead.self = this; }

  Stream& stream;
  Send send;
  Ahead ahead{[](Letter& letter) noexcept {
    FileSend& self = *static_cast<Ahead&>(letter).self;
    self.reading_ahead = false;
    self.ready = true;  // or failed; then the send will meet the same error, and report it
    if (self.stream.StreamSend::state == State::closing) {
      self.stream.finish_close();
    } else {
      self.stream.request_flush();
    }
  }};
  bool reading_ahead = false;
  bool ready = false;  // the range of `ahead` was read: no need to ask whether it is cached
};

Stream::Stream(Loop& loop, StreamEvents& events) noexcept : loop_(loop), events_(events), output_(loop.blocks()) {
  StreamRecv::done = [](platform::Op& op, Result result) noexcept {
    static_cast<Stream&>(static_cast<StreamRecv&>(op)).on_received(result);
  };
  StreamSend::done = [](platform::Op& op, Result result) noexcept {
    auto& stream = static_cast<Stream&>(static_cast<StreamSend&>(op));
    if (stream.frame_ != nullptr) {
      stream.loop_.give_back(stream.frame_);
      stream.frame_ = nullptr;
    }
    stream.on_taken(result);
  };
  StreamClose::done = [](platform::Op& op, Result) noexcept {
    auto& stream = static_cast<Stream&>(static_cast<StreamClose&>(op));
    stream.bits().close_done = true;
    stream.finish_close();
  };
}

Stream::~Stream() {
  assert(StreamSend::state == State::fresh || StreamSend::state == State::closed);
  assert(!StreamRecv::in_flight && !StreamSend::in_flight && !StreamClose::in_flight && file_send_ == nullptr);
}

Errc Stream::open(platform::NativeSocket socket) noexcept {
  assert(StreamSend::state == State::fresh);
  platform::Expected<platform::Socket*> attached = loop_.reactor().attach(socket);
  if (!attached) return attached.error().code;
  socket_ = *attached;
  StreamSend::native = socket;
  StreamSend::state = State::open;
  return Errc::ok;
}

// ---- reading

void Stream::set_reading(bool on) noexcept {
  if (bits().reading == on) return;
  bits().reading = on;
  if (!on) return;
  if (StreamRecv::data) {
    if (is_open()) loop_.resume(*this);  // not delivered from in here
  } else {
    receive();
  }
}

void Stream::receive() noexcept {
  // `listed`: kept bytes come first, and a starved stream waits for its turn.
  if (!bits().reading || bits().ended || bits().listed || StreamRecv::in_flight || StreamRecv::data || !is_open())
    return;
  loop_.reactor().recv(*socket_, *this);
}

void Stream::on_received(Result result) noexcept {
  if (!is_open()) {
    StreamRecv::data.reset();
    return;
  }
  if (result.ok()) [[likely]] {
    if (!bits().reading) return;  // kept until reading is on again
    Lease bytes = std::move(StreamRecv::data);
    deliver(bytes);
    return;
  }
  StreamRecv::data.reset();
  switch (result.code) {
    case Errc::eof:
      bits().ended = true;
      events_.on_end();
      break;
    case Errc::exhausted:
      loop_.starve(*this);
      break;
    default:
      fail(result);
      break;
  }
}

void Stream::deliver(Lease& bytes) noexcept {
  events_.on_data(bytes);
  bytes.reset();  // before the next recv, which may want just this buffer
  receive();
}

void Stream::deliver_kept() noexcept {
  if (!is_open()) return;
  if (bits().broken) {
    fail({Errc::exhausted, 0, 0});
    return;
  }
  if (!bits().reading) return;
  Lease bytes = std::move(StreamRecv::data);
  if (bytes) {
    deliver(bytes);
  } else {
    receive();
  }
}

// ---- writing

std::uint64_t Stream::progress() const noexcept {
  std::uint64_t taken = taken_;
  if (StreamSend::in_flight) taken += StreamSend::progress;
  if (file_send_ != nullptr && file_send_->send.in_flight) taken += file_send_->send.progress;
  return taken;
}

bool Stream::sending() const noexcept {
  return StreamSend::in_flight || (file_send_ != nullptr && (file_send_->send.in_flight || file_send_->reading_ahead));
}

void Stream::finish_sending() noexcept {
  if (!is_open() || bits().finishing) return;
  bits().finishing = true;
  request_flush();
}

void Stream::flush_now() noexcept {
  if (!is_open() || StreamSend::in_flight || (file_send_ != nullptr && file_send_->send.in_flight)) return;
  if (output_.empty()) {
    if (bits().finishing && !bits().finished) {
      bits().finished = true;
      loop_.reactor().finish_sending(*socket_);
    }
  } else if (output_.front_is_file()) {
    send_file();
  } else if (!send_headed_file()) {
    send_memory();
  }
}

void Stream::send_memory() noexcept {
  std::span<platform::ConstBytes> room = pieces_;
  if (!output_.front_fits(pieces_.size())) {
    frame_ = loop_.take_frame();
    if (frame_ != nullptr) room = frame_->pieces;  // else two pieces at a time: slow, but it goes on
  }
  const std::size_t count = output_.gather(room, kMaxSendBytes);
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < count; ++i) bytes += room[i].size();
  StreamSend::pieces = room.first(count);
  StreamSend::progress = 0;
  StreamSend::more = output_.size() > bytes;
  loop_.reactor().send(*socket_, *this);
}

bool Stream::make_file_send() noexcept {
  if (file_send_ != nullptr) return true;
  file_send_ = platform::create<FileSend>(*this);
  if (file_send_ == nullptr) return false;
  file_send_->send.done = [](platform::Op& op, Result result) noexcept {
    static_cast<FileSend::Send&>(op).self->stream.on_taken(result);
  };
  return true;
}

// A response's head and its file as one operation: one completion, so one tick less, and one packet where they fit.
// False: the head goes alone. A file that must be read first does not hold its head up.
bool Stream::send_headed_file() noexcept {
  const OutputQueue::HeadedFile front = output_.front_headed_file();
  if (front.range.file == platform::no_file || front.head.size() > kMaxSendBytes) return false;
  if (file_send_ != nullptr && file_send_->reading_ahead) return false;
  if (!loop_.is_cached_(front.range.file, front.range.offset) || !make_file_send()) return false;
  start_file_send(front.head, front.range);
  return true;
}

void Stream::send_file() noexcept {
  if (!make_file_send()) {
    // Not from in here: on_error comes with the next deferred work.
    bits().broken = true;
    loop_.forget_reader(*this);
    loop_.resume(*this);
    return;
  }
  // One request for both "read this, then send it" and "read the next range meanwhile": the owner of the file must
  // outlive the request, and while it runs no further range is sent, so the file's last byte cannot be taken before it
  // is back.
  if (file_send_->reading_ahead) return;
  const OutputQueue::FileRange range = output_.front_file();
  const FilePool::ReadAheadRequest& ahead = file_send_->ahead;
  const bool known = file_send_->ready && ahead.file == range.file && ahead.offset == range.offset;
  file_send_->ready = false;
  if (!known && !loop_.is_cached_(range.file, range.offset) && read_ahead(range)) return;
  start_file_send({}, range);
}

void Stream::start_file_send(platform::ConstBytes head, OutputQueue::FileRange range) noexcept {
  FileSend::Send& send = file_send_->send;
  send.head = head;
  send.file = range.file;
  send.offset = range.offset;
  send.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(range.count, platform::kMaxSendFileBytes));
  send.progress = 0;
  send.more = output_.size() > head.size() + send.count;
  loop_.reactor().send_file(*socket_, send);

  range.offset += send.count;
  range.count -= send.count;
  if (range.count != 0 && !loop_.is_cached_(range.file, range.offset)) static_cast<void>(read_ahead(range));
}

// False if the pool is full: then the caller sends at once, and the loop may wait for the disk.
bool Stream::read_ahead(const OutputQueue::FileRange& range) noexcept {
  FilePool* files = loop_.files();
  if (files == nullptr) return false;
  FilePool::ReadAheadRequest& ahead = file_send_->ahead;
  ahead.file = range.file;
  ahead.offset = range.offset;
  ahead.count = static_cast<std::uint32_t>(std::min<std::uint64_t>(range.count, platform::kMaxSendFileBytes));
  file_send_->reading_ahead = files->submit(loop_, ahead) == Errc::ok;
  return file_send_->reading_ahead;
}

// A send of memory or of a file is done.
void Stream::on_taken(Result result) noexcept {
  taken_ += result.bytes;
  if (!is_open()) {
    if (StreamSend::state == State::closing && !sending()) output_.clear();
    return;
  }
  output_.consume(result.bytes);
  if (!result.ok()) {
    fail(result);
    return;
  }
  events_.on_sent();
  if (!is_open()) return;
  if (!output_.empty()) {
    request_flush();
    return;
  }
  if (file_send_ != nullptr && !sending()) {
    platform::destroy(file_send_);
    file_send_ = nullptr;
  }
  if (bits().finishing) request_flush();
}

// ---- the end

void Stream::fail(Result result) noexcept {
  bits().dead = true;
  loop_.forget(*this);
  loop_.forget_reader(*this);
  StreamRecv::data.reset();
  events_.on_error(result);
}

void Stream::close(bool abort) noexcept {
  if (StreamSend::state != State::open) return;
  StreamSend::state = State::closing;
  bits().reading = false;
  loop_.forget(*this);
  loop_.forget_reader(*this);
  StreamRecv::data.reset();
  if (!sending()) output_.clear();  // else the kernel or the file pool may still look at it
  if (abort) platform::set_linger_zero(StreamSend::native);
  loop_.reactor().close(*socket_, static_cast<StreamClose&>(*this));
}

void Stream::finish_close() noexcept {
  if (!bits().close_done || sending()) return;
  output_.clear();
  if (file_send_ != nullptr) {
    platform::destroy(file_send_);
    file_send_ = nullptr;
  }
  StreamSend::state = State::closed;
  events_.on_closed();  // `this` may be gone now
}

}  // namespace pyre::net
