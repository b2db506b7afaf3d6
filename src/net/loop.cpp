#include "net/loop.h"

#include <algorithm>
#include <cassert>
#include <new>
#include <thread>

#include "net/file_pool.h"
#include "net/stream.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "platform/memory.h"

namespace pyre::net {
namespace {

constexpr std::chrono::milliseconds kTaskPause{1};  // at the end of a loop, between two looks at what is still away

}  // namespace

Deferred::~Deferred() {
  if (next_ == nullptr) return;
  previous_->next_ = next_;
  next_->previous_ = previous_;
}

platform::Expected<std::unique_ptr<Loop>> Loop::create() noexcept {
  return create([](platform::BufferSource& buffers, void*) { return platform::make_reactor(buffers); }, nullptr);
}

platform::Expected<std::unique_ptr<Loop>> Loop::create(MakeReactor make, void* context) noexcept {
  std::unique_ptr<Loop> loop(new (std::nothrow) Loop());
  if (loop == nullptr) return platform::Error{platform::Errc::exhausted, 0};
  platform::Expected<std::unique_ptr<platform::Reactor>> reactor = make(loop->buffers_, context);
  if (!reactor) return reactor.error();
  loop->reactor_ = std::move(reactor.value());
  loop->mailbox_.bind(*loop->reactor_);
  loop->reactor_->after_wait([](void* self) noexcept { static_cast<Loop*>(self)->update_now(); }, loop.get());
  // Only now: a simulated reactor brings its own clock.
  loop->update_now();
  loop->harvested_at_ = loop->now_;
  loop->timers_.restart(loop->now_);
  return loop;
}

Loop::Loop() noexcept : is_cached_(&platform::is_cached) { deferred_.previous_ = deferred_.next_ = &deferred_; }

Loop::~Loop() {
  files_.reset();
  wait_for_tasks();
  assert(unflushed_.next == &unflushed_ || abandoned_);
  assert(frames_in_use_ == 0 || abandoned_);
  while (free_frames_ != nullptr) {
    SendFrame* frame = free_frames_;
    free_frames_ = frame->next;
    platform::destroy(frame);
  }
  // What is still deferred belongs to others and outlives us.
  while (deferred_.next_ != &deferred_) cancel(*deferred_.next_);
}

void Loop::wait_for_tasks() noexcept {
  if (abandoned_) return;  // their threads are the parent's
  while (true) {
    const bool none_out = tasks_are_home();
    const bool delivered = mailbox_.deliver() != 0;
    if (none_out && !delivered) return;
    if (!delivered) std::this_thread::sleep_for(kTaskPause);
  }
}

bool Loop::files_are_idle() const noexcept { return files_ == nullptr || files_->idle(); }

FilePool* Loop::files() noexcept {
  if (files_ == nullptr) files_.reset(new (std::nothrow) FilePool());
  return files_.get();
}

void Loop::update_now() noexcept {
  now_ = platform::now();
  if (now_ < next_second_) return;
  // The wall clock is read about once a second; if somebody sets it, we notice a second late at most.
  const std::int64_t wall = platform::wall_ms();
  wall_second_ = wall / 1000;
  next_second_ = now_ + std::chrono::milliseconds(1000 - wall % 1000);
}

std::size_t Loop::run_once(TimePoint until) noexcept {
  if (abandoned_) return 0;
  ++stats_.ticks;
  update_now();
  const bool late = now_ - harvested_at_ > kLate;
  if (now_ - kLate > expected_) ++stats_.late_ticks;

  flush();
  std::size_t ran = run_deferred();
  const bool wait = until != TimePoint::min() && !has_work();  // an embedded loop never waits
  ran += reactor_->poll(wait ? std::min(until, timers_.next_due()) : TimePoint::min());
  update_now();
  harvested_at_ = now_;
  if (armed_ <= now_) armed_ = TimePoint::max();  // it has rung
  ran += mailbox_.deliver();

  if (timers_.next_due() <= now_) {
    if (late) {
      for (int harvest = 0; harvest < kMaxHarvests; ++harvest) {
        ++stats_.harvests;
        const std::size_t harvested = reactor_->poll(TimePoint::min());
        ran += harvested;
        if (harvested == 0 && !reactor_->has_ready()) break;
      }
    }
    ran += timers_.advance(now_, kMaxExpired);
  }
  ran += run_deferred();
  if (unflushed_.next != &unflushed_) {
    flush();
    // Sends that fitted at once are done: reporting them now saves the host another tick.
    ran += reactor_->run_ready();
  }
  expected_ = has_work() ? now_ : timers_.next_due();
  return ran;
}

void Loop::flush() noexcept {
  if (unflushed_.next == &unflushed_ || abandoned_) return;
  // Taken over as a whole: what is queued meanwhile belongs to the next flush.
  FlushLink ring{unflushed_.previous, unflushed_.next};
  ring.previous->next = ring.next->previous = &ring;
  unflushed_.previous = unflushed_.next = &unflushed_;
  while (ring.next != &ring) {
    auto& stream = static_cast<Stream&>(*ring.next);
    forget(stream);
    ++stats_.flushes;
    stream.flush_now();
  }
}

bool Loop::has_work() const noexcept {
  if (abandoned_) return false;
  return unflushed_.next != &unflushed_ || deferred_.next_ != &deferred_ || resumed_ != nullptr ||
         reactor_->has_ready() || !mailbox_.empty();
}

void Loop::arm_alarm() noexcept {
  const TimePoint due = timers_.next_due();
  if (due >= armed_ || abandoned_) return;
  armed_ = due;
  reactor_->arm_alarm(due);
}

void Loop::defer(Deferred& work) noexcept {
  if (work.next_ != nullptr) return;
  work.previous_ = deferred_.previous_;
  work.next_ = &deferred_;
  work.previous_->next_ = work.next_->previous_ = &work;
}

void Loop::cancel(Deferred& work) noexcept {
  if (work.next_ == nullptr) return;
  work.previous_->next_ = work.next_;
  work.next_->previous_ = work.previous_;
  work.previous_ = work.next_ = nullptr;
}

std::size_t Loop::run_deferred() noexcept {
  std::size_t ran = run_resumed();
  if (deferred_.next_ == &deferred_) return ran;
  // Taken over as a whole: work that defers itself again runs the next time.
  Deferred ring{nullptr};
  ring.previous_ = deferred_.previous_;
  ring.next_ = deferred_.next_;
  ring.previous_->next_ = ring.next_->previous_ = &ring;
  deferred_.previous_ = deferred_.next_ = &deferred_;
  std::size_t count = 0;
  for (; count < kMaxDeferred && ring.next_ != &ring; ++count) {
    Deferred& work = *ring.next_;
    cancel(work);
    work.run_(work);  // it may be gone now
  }
  if (ring.next_ != &ring) {  // the rest goes to the front
    ring.previous_->next_ = deferred_.next_;
    deferred_.next_->previous_ = ring.previous_;
    deferred_.next_ = ring.next_;
    ring.next_->previous_ = &deferred_;
  }
  ring.previous_ = ring.next_ = nullptr;
  return ran + count;
}

void Loop::request_flush(Stream& stream) noexcept {
  FlushLink& link = stream;
  if (link.next != nullptr || !stream.is_open()) return;
  link.previous = unflushed_.previous;
  link.next = &unflushed_;
  link.previous->next = link.next->previous = &link;
}

void Loop::forget(Stream& stream) noexcept {
  FlushLink& link = stream;
  if (link.next == nullptr) return;
  link.previous->next = link.next;
  link.next->previous = link.previous;
  link.previous = link.next = nullptr;
}

void Loop::abandon_after_fork() noexcept {
  abandoned_ = true;
  reactor_->abandon_after_fork();
  if (files_ != nullptr) files_->abandon_after_fork();
}

SendFrame* Loop::take_frame() noexcept {
  SendFrame* frame = free_frames_;
  if (frame != nullptr) {
    free_frames_ = frame->next;
    --idle_frames_;
  } else {
    frame = platform::create<SendFrame>();
    if (frame == nullptr) return nullptr;
  }
  ++frames_in_use_;
  return frame;
}

void Loop::give_back(SendFrame* frame) noexcept {
  --frames_in_use_;
  if (idle_frames_ >= kKeepFrames) {
    platform::destroy(frame);
    return;
  }
  frame->next = free_frames_;
  free_frames_ = frame;
  ++idle_frames_;
}

void Loop::resume(Stream& stream) noexcept {
  if (stream.bits().listed) return;
  stream.bits().listed = true;
  stream.next_reader_ = resumed_;
  resumed_ = &stream;
}

void Loop::starve(Stream& stream) noexcept {
  if (stream.bits().listed) return;
  ++stats_.starved;
  stream.bits().listed = true;
  stream.next_reader_ = starved_;
  starved_ = &stream;
  if (!starved_timer_.is_set()) timers_.set(starved_timer_, now_ + kStarvedPause);
}

// Linear, but these lists are short: a stream is on one of them for a tick, or while 64 MiB of buffers are lent.
void Loop::forget_reader(Stream& stream) noexcept {
  if (!stream.bits().listed) return;
  stream.bits().listed = false;
  for (Stream** list : {&resumed_, &running_, &starved_}) {
    for (Stream** link = list; *link != nullptr; link = &(*link)->next_reader_) {
      if (*link != &stream) continue;
      *link = stream.next_reader_;
      return;
    }
  }
}

std::size_t Loop::run_resumed() noexcept {
  std::size_t ran = 0;
  running_ = resumed_;  // a member, so that a stream that another one's callback closes is found there
  resumed_ = nullptr;
  while (running_ != nullptr) {
    Stream& stream = *running_;
    running_ = stream.next_reader_;
    stream.bits().listed = false;
    stream.deliver_kept();
    ++ran;
  }
  return ran;
}

void Loop::retry_starved(Timer& timer) noexcept {
  Loop& loop = static_cast<StarvedTimer&>(timer).loop;
  Stream* stream = loop.starved_;
  loop.starved_ = nullptr;
  while (stream != nullptr) {
    Stream* next = stream->next_reader_;
    stream->bits().listed = false;
    stream->receive();  // runs no callback
    stream = next;
  }
}

}  // namespace pyre::net
