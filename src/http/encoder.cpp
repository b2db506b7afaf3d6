// The only file that knows zlib-ng, brotli and zstd.
#include "http/encoder.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "platform/memory.h"

#if defined(PYRE_HAVE_COMPRESSION)
#include <brotli/encode.h>
#include <zlib-ng.h>
#include <zstd.h>
#endif

namespace pyre::http {

ByteBuffer::~ByteBuffer() { platform::deallocate(data_); }

std::span<std::byte> ByteBuffer::room(std::size_t size) noexcept {
  if (capacity_ - size_ < size) {
    const std::size_t capacity = std::max(size_ + size, capacity_ * 2);
    auto* data = static_cast<std::byte*>(platform::allocate(capacity));
    if (data == nullptr) return {};
    if (size_ != 0) std::memcpy(data, data_, size_);
    platform::deallocate(data_);
    data_ = data;
    capacity_ = capacity;
  }
  return {data_ + size_, capacity_ - size_};
}

void ByteBuffer::shrink(std::size_t keep) noexcept {
  if (capacity_ <= keep || size_ != 0) return;
  platform::deallocate(data_);
  data_ = nullptr;
  capacity_ = 0;
}

LevelRange level_range(Coding coding) noexcept {
  switch (coding) {
    case Coding::gzip:
      return {1, 9, 6};  // what everybody's gzip does
    case Coding::br:
      return {0, 11, 4};  // about the time of gzip's 6, and 10 % smaller
    case Coding::zstd:
      return {1, 12, 3};  // the library is built without the search that the higher ones have (cmake/compression.cmake)
    case Coding::identity:
      break;
  }
  return {};
}

bool is_slow(Coding coding, int level) noexcept {
  return (coding == Coding::br && level >= 7) || (coding == Coding::zstd && level >= 10);
}

#if !defined(PYRE_HAVE_COMPRESSION)

bool has_encoders() noexcept { return false; }
std::unique_ptr<Encoder> Encoder::create(Coding, int) noexcept { return nullptr; }

#else

namespace {

constexpr std::size_t kRoom = 16 * 1024;         // output is asked for in steps of this size at least
constexpr std::uint32_t kStreamWindowBits = 17;  // 128 KiB; gzip's is 32 KiB anyway
constexpr std::uint32_t kBodyWindowBits = 18;    // a body that is known beforehand has 256 KiB at most

// Text becomes a quarter to a tenth of its size.
std::size_t room_for(std::size_t input) noexcept { return std::max(kRoom, input / 4); }

class GzipEncoder final : public Encoder {
 public:
  explicit GzipEncoder(int level) noexcept : level_(level) {}
  ~GzipEncoder() override {
    if (ready_) zng_deflateEnd(&stream_);
  }
  [[nodiscard]] bool begin(std::uint64_t) noexcept override {
    if (ready_) return zng_deflateReset(&stream_) == Z_OK;
    constexpr int kGzip = 16;  // added to the window's bits: a gzip header instead of zlib's
    ready_ = zng_deflateInit2(&stream_, level_, Z_DEFLATED, 15 + kGzip, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    return ready_;
  }
  [[nodiscard]] bool encode(std::span<const std::byte> in, End end, ByteBuffer& out) noexcept override {
    const int flush = end == End::finish ? Z_FINISH : end == End::flush ? Z_SYNC_FLUSH : Z_NO_FLUSH;
    stream_.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    stream_.avail_in = static_cast<std::uint32_t>(in.size());
    while (true) {
      const std::span<std::byte> room = out.room(room_for(stream_.avail_in));
      if (room.empty()) return false;
      stream_.next_out = reinterpret_cast<std::uint8_t*>(room.data());
      stream_.avail_out = static_cast<std::uint32_t>(std::min<std::size_t>(room.size(), UINT32_MAX));
      const std::uint32_t before = stream_.avail_out;
      const std::int32_t result = zng_deflate(&stream_, flush);
      out.add(before - stream_.avail_out);
      if (result == Z_STREAM_ERROR) return false;
      if (result == Z_STREAM_END) return true;
      // Room that is left: everything is out. (Z_BUF_ERROR says only that nothing was left to do.)
      if (stream_.avail_out != 0 && end != End::finish) return true;
    }
  }
  [[nodiscard]] std::size_t memory() const noexcept override { return 350 * 1024; }

 private:
  int level_;
  bool ready_ = false;
  zng_stream stream_{};
};

class BrotliEncoder final : public Encoder {
 public:
  explicit BrotliEncoder(int level) noexcept : level_(level) {}
  ~BrotliEncoder() override { BrotliEncoderDestroyInstance(state_); }
  [[nodiscard]] bool begin(std::uint64_t size) noexcept override {
    BrotliEncoderDestroyInstance(state_);  // it cannot be used twice
    state_ = BrotliEncoderCreateInstance(nullptr, nullptr, nullptr);
    if (state_ == nullptr) return false;
    const auto set = [this](BrotliEncoderParameter parameter, std::uint32_t value) {
      return BrotliEncoderSetParameter(state_, parameter, value) == BROTLI_TRUE;
    };
    const bool known = size != kUnknown;
    return set(BROTLI_PARAM_QUALITY, static_cast<std::uint32_t>(level_)) &&
           set(BROTLI_PARAM_LGWIN, known ? kBodyWindowBits : kStreamWindowBits) &&
           (!known || set(BROTLI_PARAM_SIZE_HINT, static_cast<std::uint32_t>(std::min<std::uint64_t>(size, 1U << 30))));
  }
  [[nodiscard]] bool encode(std::span<const std::byte> in, End end, ByteBuffer& out) noexcept override {
    const BrotliEncoderOperation operation = end == End::finish  ? BROTLI_OPERATION_FINISH
                                             : end == End::flush ? BROTLI_OPERATION_FLUSH
                                                                 : BROTLI_OPERATION_PROCESS;
    const auto* next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    std::size_t avail_in = in.size();
    while (true) {
      const std::span<std::byte> room = out.room(room_for(avail_in));
      if (room.empty()) return false;
      auto* next_out = reinterpret_cast<std::uint8_t*>(room.data());
      std::size_t avail_out = room.size();
      if (BrotliEncoderCompressStream(state_, operation, &avail_in, &next_in, &avail_out, &next_out, nullptr) ==
          BROTLI_FALSE)
        return false;
      out.add(room.size() - avail_out);
      if (avail_in == 0 && BrotliEncoderHasMoreOutput(state_) == BROTLI_FALSE &&
          (end != End::finish || BrotliEncoderIsFinished(state_) == BROTLI_TRUE))
        return true;
    }
  }
  [[nodiscard]] std::size_t memory() const noexcept override { return 1536 * 1024; }

 private:
  int level_;
  BrotliEncoderState* state_ = nullptr;
};

class ZstdEncoder final : public Encoder {
 public:
  explicit ZstdEncoder(int level) noexcept : level_(level) {}
  ~ZstdEncoder() override { ZSTD_freeCCtx(context_); }
  [[nodiscard]] bool begin(std::uint64_t size) noexcept override {
    if (context_ == nullptr) context_ = ZSTD_createCCtx();
    if (context_ == nullptr) return false;
    const bool known = size != kUnknown;
    return ok(ZSTD_CCtx_reset(context_, ZSTD_reset_session_and_parameters)) &&
           ok(ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, level_)) &&
           (known ? ok(ZSTD_CCtx_setPledgedSrcSize(context_, size))
                  : ok(ZSTD_CCtx_setParameter(context_, ZSTD_c_windowLog, static_cast<int>(kStreamWindowBits))));
  }
  [[nodiscard]] bool encode(std::span<const std::byte> in, End end, ByteBuffer& out) noexcept override {
    const ZSTD_EndDirective directive = end == End::finish  ? ZSTD_e_end
                                        : end == End::flush ? ZSTD_e_flush
                                                            : ZSTD_e_continue;
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    while (true) {
      const std::span<std::byte> room = out.room(room_for(input.size - input.pos));
      if (room.empty()) return false;
      ZSTD_outBuffer output{room.data(), room.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context_, &output, &input, directive);
      if (!ok(left)) return false;
      out.add(output.pos);
      if (input.pos == input.size && (left == 0 || directive == ZSTD_e_continue)) return true;
    }
  }
  [[nodiscard]] std::size_t memory() const noexcept override { return 1280 * 1024; }

 private:
  [[nodiscard]] static bool ok(std::size_t result) noexcept { return ZSTD_isError(result) == 0; }
  int level_;
  ZSTD_CCtx* context_ = nullptr;
};

}  // namespace

bool has_encoders() noexcept { return true; }

std::unique_ptr<Encoder> Encoder::create(Coding coding, int level) noexcept {
  switch (coding) {
    case Coding::gzip:
      return std::unique_ptr<Encoder>(new (std::nothrow) GzipEncoder(level));
    case Coding::br:
      return std::unique_ptr<Encoder>(new (std::nothrow) BrotliEncoder(level));
    case Coding::zstd:
      return std::unique_ptr<Encoder>(new (std::nothrow) ZstdEncoder(level));
    case Coding::identity:
      break;
  }
  return nullptr;
}

#endif

}  // namespace pyre::http
