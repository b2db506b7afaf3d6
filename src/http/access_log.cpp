#include "http/access_log.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#include "http/access_log_format.h"
#include "http/log_ring.h"
#include "platform/log_sink.h"
#include "platform/signals.h"
#include "platform/wait.h"

namespace pyre::http {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCollect{50};        // lines wait at most this long for company; a line is visible within ~60 ms
constexpr milliseconds kSlice{100};         // longest wait for a blocked output before looking whether to stop
constexpr milliseconds kRetry{1'000};       // after an error (ENOSPC, EPIPE) the output is left alone for so long
constexpr milliseconds kLastChance{1'000};  // the destructor's patience
constexpr std::size_t kHurry =
    AccessLog::kRingBytes / 4;  // fuller than this, the writer is woken before kCollect is over
static_assert((AccessLog::kRingBytes & (AccessLog::kRingBytes - 1)) == 0);

std::int64_t wall_clock_ms() noexcept {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace

// Shared by the two threads; the last one frees it, so that a writer that hangs in a dead disk's write(2) can be left
// behind.
struct AccessLog::Impl {
  // What one loop's thread records into.
  struct Source {
    LogRing ring{kRingBytes};
    std::uint64_t flushed_at = 0;
    CachedDate date;
  };

  Impl(platform::NativeFile fd, Format wanted, std::uint32_t count)
      : sources(std::make_unique<Source[]>(count)), source_count(count), format(wanted), sink(fd) {}

  const std::unique_ptr<Source[]> sources;
  const std::uint32_t source_count;
  const Format format;
  const std::uint32_t made_under = platform::fork_generation();
  std::atomic<std::uint64_t> dropped{0};

  // Both. `asleep`: the writer found nothing and waits without a time-out. `hurried`: it was told that the ring fills
  // up.
  std::mutex mutex;
  std::condition_variable changed;
  std::atomic<bool> asleep{false};
  std::atomic<bool> hurried{false};
  bool stop = false;      // under the mutex
  bool finished = false;  // under the mutex

  // The writer's.
  platform::LogSink sink;
  std::uint32_t next_source = 0;  // whose lines are written next, or whose line is half written
  std::atomic<std::uint64_t> written{0};
  std::uint64_t confessed = 0;  // dropped lines that were told of
  char loss[kLossLineBound];
  std::size_t loss_size = 0;
  std::size_t loss_at = 0;

  // A fork()ed child has no writer, and perhaps a mutex that nobody will ever unlock.
  [[nodiscard]] bool inert() const noexcept { return made_under != platform::fork_generation(); }

  [[nodiscard]] bool all_empty() const noexcept {
    return std::all_of(sources.get(), sources.get() + source_count, [](const Source& s) { return s.ring.empty(); });
  }
  // Whole records of one source, which is `next_source` then; empty if nobody has any.
  [[nodiscard]] std::string_view readable() noexcept {
    for (std::uint32_t i = 0; i < source_count; ++i) {
      const std::string_view bytes = sources[next_source].ring.readable();
      if (!bytes.empty()) return bytes;
      next_source = (next_source + 1) % source_count;
    }
    return {};
  }

  void write_until_stopped() noexcept;
  enum class Progress : std::uint8_t { all, blocked, failed };
  Progress write_everything(std::chrono::steady_clock::time_point until) noexcept;
  platform::LogSink::Written write(std::string_view bytes, milliseconds patience) noexcept {
    return sink.write(std::as_bytes(std::span(bytes.data(), bytes.size())), patience);
  }
};

AccessLog::AccessLog(platform::NativeFile fd, Format format, std::uint32_t sources) noexcept {
  try {
    impl_ = std::make_shared<Impl>(fd, format, sources);
    const platform::SignalsBlocked for_the_new_thread;
    std::thread([shared = impl_] { shared->write_until_stopped(); }).detach();
  } catch (const std::bad_alloc&) {
  } catch (const std::system_error&) {
    impl_->finished = true;  // no thread: the ring fills up, then lines are counted as dropped
  }
}

AccessLog::~AccessLog() {
  if (impl_ == nullptr) return;
  if (impl_->inert()) {
    // Not even freed: the mutex may be locked by a thread that does not exist here.
    static_cast<void>(new (std::nothrow) std::shared_ptr<Impl>(std::move(impl_)));
    return;
  }
  std::unique_lock lock(impl_->mutex);
  impl_->stop = true;
  impl_->changed.notify_all();
  impl_->changed.wait_for(lock, kLastChance, [this] { return impl_->finished; });
}

void AccessLog::record(const Entry& entry, std::int64_t /*wall_second*/, std::uint32_t source) noexcept {
  if (impl_ == nullptr || impl_->inert()) return;
  Impl& log = *impl_;
  Impl::Source& own = log.sources[source];
  char* const line = own.ring.reserve(log_line_bound(entry));
  if (line == nullptr) {
    log.dropped.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  // The loop's second is too coarse for JSON's milliseconds; text has no time.
  char* const end = log.format == Format::text ? write_text_line(entry, line)
                                               : write_json_line(entry, wall_clock_ms(), own.date, line);
  own.ring.commit(static_cast<std::size_t>(end - line));
}

void AccessLog::flush(std::uint32_t source) noexcept {
  if (impl_ == nullptr) return;
  Impl& log = *impl_;
  Impl::Source& own = log.sources[source];
  if (own.ring.position() == own.flushed_at || log.inert()) return;
  own.flushed_at = own.ring.position();
  // Either this sees `asleep`, or the writer, which sets it before it looks at the ring for the last time, sees the
  // line.
  own.ring.publish();
  if (log.asleep.load(std::memory_order_seq_cst)) {
    {
      const std::lock_guard lock(log.mutex);
      log.asleep.store(false, std::memory_order_relaxed);
    }
    log.changed.notify_all();
  } else if (own.ring.used() >= kHurry && !log.hurried.load(std::memory_order_relaxed)) {
    {
      const std::lock_guard lock(log.mutex);
      log.hurried.store(true, std::memory_order_relaxed);
    }
    log.changed.notify_all();
  }
}

std::uint64_t AccessLog::written() const noexcept {
  return impl_ == nullptr ? 0 : impl_->written.load(std::memory_order_relaxed);
}

std::uint64_t AccessLog::dropped() const noexcept {
  return impl_ == nullptr ? 0 : impl_->dropped.load(std::memory_order_relaxed);
}

void AccessLog::format(Format format, const Entry& entry, std::int64_t wall_ms, std::string& out) {
  const std::size_t before = out.size();
  out.resize(before + log_line_bound(entry));
  CachedDate date;
  char* const line = out.data() + before;
  char* const end = format == Format::text ? write_text_line(entry, line) : write_json_line(entry, wall_ms, date, line);
  out.resize(static_cast<std::size_t>(end - out.data()));
}

// Until `until`, or all is written, or the output fails.
AccessLog::Impl::Progress AccessLog::Impl::write_everything(std::chrono::steady_clock::time_point until) noexcept {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
    const milliseconds patience = std::max(left, milliseconds{0});
    if (loss_at < loss_size) {
      const auto result = write({loss + loss_at, loss_size - loss_at}, patience);
      loss_at += result.bytes;
      if (result.os_error != 0) return Progress::failed;
      if (result.blocked) return Progress::blocked;
    }
    const std::string_view bytes = readable();
    if (bytes.empty()) {
      // What was lost came after what was in the rings by then; now is the time to tell.
      const std::uint64_t lost = dropped.load(std::memory_order_relaxed) - confessed;
      if (lost == 0) return Progress::all;
      loss_size = static_cast<std::size_t>(write_loss_line(format, lost, wall_clock_ms(), loss) - loss);
      loss_at = 0;
      confessed += lost;
      continue;
    }
    const auto result = write(bytes, patience);
    // Escaping sees to it that a line has exactly one '\n'.
    const auto lines = std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(result.bytes), '\n');
    sources[next_source].ring.consume(result.bytes);
    if (result.bytes == bytes.size()) next_source = (next_source + 1) % source_count;
    written.fetch_add(static_cast<std::uint64_t>(lines), std::memory_order_relaxed);
    if (result.os_error != 0) return Progress::failed;
    if (result.blocked) return Progress::blocked;
  }
}

void AccessLog::Impl::write_until_stopped() noexcept {
  using std::chrono::steady_clock;
  std::unique_lock lock(mutex);
  Progress progress = Progress::all;
  while (!stop) {
    if (progress == Progress::failed) {
      changed.wait_for(lock, kRetry, [this] { return stop; });
    } else {
      if (progress == Progress::all && all_empty()) {
        asleep.store(true, std::memory_order_seq_cst);
        platform::wait_until_ready(changed, lock,
                                   [this] { return !all_empty() || stop || !asleep.load(std::memory_order_relaxed); });
        asleep.store(false, std::memory_order_relaxed);
      }
      // Let lines gather: 20 writes a second at most, unless there is much. A blocked output has been waited for
      // already.
      changed.wait_for(lock, kCollect, [this] { return stop || hurried.load(std::memory_order_relaxed); });
    }
    if (stop) break;
    lock.unlock();
    progress = write_everything(steady_clock::now() + kSlice);
    lock.lock();
    // Not before the write: while it lasts, and while it fails, more calls to hurry are of no use.
    if (progress == Progress::all) hurried.store(false, std::memory_order_relaxed);
  }
  lock.unlock();
  const auto deadline = steady_clock::now() + kLastChance * 9 / 10;
  do {
    progress = write_everything(std::min(deadline, steady_clock::now() + kSlice));
  } while (progress == Progress::blocked && steady_clock::now() < deadline);
  lock.lock();
  finished = true;
  changed.notify_all();
}

}  // namespace pyre::http
