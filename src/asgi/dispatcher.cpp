#include "asgi/dispatcher.h"

#include "asgi/batch_policy.h"
#include "asgi/interned.h"
#include "asgi/loop_group.h"
#include "platform/clock.h"

namespace pyre::asgi {

namespace {
constexpr std::chrono::seconds kRefresh{1};  // between two looks at what the event loop is set to
}

Dispatcher::Dispatcher(net::Loop* net_loop, DispatcherHost& host) noexcept : net_loop_(net_loop), host_(host) {}

Dispatcher::~Dispatcher() { detach_all(); }

bool Dispatcher::init(const Options& options) noexcept {
  app_ = PyRef::borrow(options.app);
  loop_ = PyRef::borrow(options.loop);
  if (options.on_error != nullptr && options.on_error != Py_None) on_error_ = PyRef::borrow(options.on_error);
  limit_concurrency_ = options.limit_concurrency;
  limit_max_requests_ = options.limit_max_requests;
  group_ = options.group;
  group_index_ = options.group_index;
  thread_ = PyThread_get_thread_ident();
  return scopes_.init(options.scheme.c_str(), options.root_path.c_str(), options.state) && tasks_.init(options.loop);
}

void Dispatcher::push(http::AppExchange& exchange) noexcept {
  if ((exchange.app_flags & kQueued) != 0) return;
  exchange.app_flags |= kQueued;
  exchange.app_next = nullptr;
  if (last_ == nullptr) {
    first_ = &exchange;
  } else {
    last_->app_next = &exchange;
  }
  last_ = &exchange;
}

void Dispatcher::push_front(http::AppExchange& exchange) noexcept {
  exchange.app_flags |= kQueued | kNextInLine;
  exchange.app_next = first_;
  first_ = &exchange;
  if (last_ == nullptr) last_ = &exchange;
}

http::AppExchange& Dispatcher::pop() noexcept {
  http::AppExchange& exchange = *first_;
  first_ = exchange.app_next;
  if (first_ == nullptr) last_ = nullptr;
  exchange.app_next = nullptr;
  exchange.app_flags &= static_cast<std::uint8_t>(~kQueued);
  return exchange;
}

void Dispatcher::tell_active() noexcept {
  if (group_ != nullptr) group_->set_active(group_index_, active_);
}

void Dispatcher::start_later(http::AppExchange& exchange) noexcept {
  exchange.app = nullptr;
  exchange.app_flags = kNew;
  change_active(1);
  if (front_is_open_) {
    front_is_open_ = false;
    push_front(exchange);
  } else {
    push(exchange);
  }
}

void Dispatcher::wake_later(http::AppExchange& exchange) noexcept {
  // Nobody waits: nothing to wake. (A new one looks at the exchange itself when it starts.)
  const auto* cycle = static_cast<const HttpCycle*>(exchange.app);
  if (cycle == nullptr || (cycle->receive_waiters == nullptr && cycle->send_waiters == nullptr)) return;
  push(exchange);
}

std::uint32_t Dispatcher::count_new() const noexcept {
  std::uint32_t count = 0;
  std::uint32_t looked_at = 0;
  for (const http::AppExchange* exchange = first_; exchange != nullptr && looked_at < kMostLookedAt;
       exchange = exchange->app_next, ++looked_at)
    count += is_ours_and_new(*exchange) ? 1 : 0;
  return count;
}

void Dispatcher::on_request(http::Exchange& exchange) noexcept { start_later(exchange); }
void Dispatcher::on_body(http::Exchange& exchange) noexcept { wake_later(exchange); }
void Dispatcher::on_drained(http::Exchange& exchange) noexcept { wake_later(exchange); }
void Dispatcher::on_disconnect(http::Exchange& exchange, bool) noexcept { wake_later(exchange); }
void Dispatcher::on_connection_info_released(http::ConnectionInfo& info) noexcept { ScopeBuilder::release(info); }

bool Dispatcher::run_batch() noexcept {
  if (first_ == nullptr) return true;
  platform::TimePoint now = platform::now();
  if (now >= refresh_at_) {
    refresh_at_ = now + kRefresh;
    if (!tasks_.refresh()) PyErr_WriteUnraisable(loop_.get());
  }
  [[maybe_unused]] const platform::TimePoint began = now;
  BatchPolicy policy(now);
  InLine line;
  ++stats_.batches;
  bool go_on = true;
  while (go_on && first_ != nullptr) {
    http::AppExchange& exchange = pop();
    if ((exchange.app_flags & kNextInLine) != 0) {
      exchange.app_flags &= static_cast<std::uint8_t>(~kNextInLine);
      if (!line.admit(now) && first_ != nullptr) {  // the others' turn
        push(exchange);
        continue;
      }
    } else {
      line.begin(now);
    }
    clock_grows_old();
    front_is_open_ = true;
    step(exchange);
    front_is_open_ = false;
    if (PyErr_Occurred() != nullptr) return false;
    now = platform::now();
    go_on = policy.step_done(now);
  }
  if (policy.steps() > stats_.largest_batch) stats_.largest_batch = policy.steps();
  if constexpr (kFreeThreaded) {
    if (policy.steps() != 0) step_time_ = (3 * step_time_ + (now - began) / policy.steps()) / 4;
  }
  return true;
}

void Dispatcher::step(http::AppExchange& exchange) noexcept {
  if ((exchange.app_flags & kNew) != 0) {
    exchange.app_flags &= static_cast<std::uint8_t>(~kNew);
    start_request(exchange);
  } else if ((exchange.app_flags & kReleased) != 0) {
    exchange.release();
  } else if (exchange.app != nullptr) {
    ++stats_.wakes;
    wake_waiters(static_cast<HttpCycle*>(exchange.app));
  }
}

void Dispatcher::start_request(http::AppExchange& exchange) noexcept {
  ++stats_.requests;
  if (limit_max_requests_ != 0) {
    const bool shared = kFreeThreaded && group_ != nullptr;
    if (shared ? group_->count_request(limit_max_requests_) : stats_.requests == limit_max_requests_)
      host_.on_max_requests();
  }
  if (exchange.dead()) {  // gone before its turn
    change_active(-1);
    exchange.release();
    return;
  }
  if (limit_concurrency_ != 0 &&
      (kFreeThreaded && group_ != nullptr ? group_->active() : active_) > limit_concurrency_) {
    ++stats_.refused_busy;
    exchange.fail(503);
    change_active(-1);
    exchange.release();
    return;
  }
  HttpCycle* cycle = new_cycle(*this, exchange);
  if (cycle == nullptr) {
    PyErr_WriteUnraisable(nullptr);
    exchange.fail(500);
    change_active(-1);
    exchange.release();
    return;
  }
  PyRef hold = PyRef::steal(reinterpret_cast<PyObject*>(cycle));
  PyRef scope = PyRef::steal(scopes_.build(exchange));
  if (!scope || !call_app(cycle, app_.get(), scope.get()) || !tasks_.start(cycle)) finish(cycle);
}

void Dispatcher::release(http::AppExchange& exchange) noexcept {
  change_active(-1);
  if ((exchange.app_flags & kQueued) != 0) {
    exchange.app_flags |= kReleased;  // it is on the list: let go of when its turn comes
    return;
  }
  exchange.release();
}

void Dispatcher::report_app_error(PyObject* exception, const http::RequestHead& head) noexcept {
  ++stats_.app_errors;
  PyRef info = PyRef::steal(Py_BuildValue("{s:s,s:s#,s:s#}", "type", "http", "method", head.method().data(),
                                          static_cast<Py_ssize_t>(head.method().size()), "path", head.path().data(),
                                          static_cast<Py_ssize_t>(head.path().size())));
  const PyRef on_error = PyRef::borrow(on_error_.get()), app = PyRef::borrow(app_.get());  // it may close the engine
  PyRef result;
  if (info && on_error)
    result = PyRef::steal(PyObject_CallFunctionObjArgs(on_error.get(), exception, info.get(), nullptr));
  if (!result) {
    if (PyErr_Occurred() != nullptr) PyErr_WriteUnraisable(on_error.get());
    restore_exception(PyRef::borrow(exception));
    PyErr_WriteUnraisable(app.get());
  }
}

void Dispatcher::remember(HttpCycle& cycle) noexcept {
  cycle.previous = nullptr;
  cycle.next = cycles_;
  if (cycles_ != nullptr) cycles_->previous = &cycle;
  cycles_ = &cycle;
  // Without a GIL the last reference elsewhere may go in another thread, while this one walks the list: the list has a
  // reference, too. (A running request is held by its task in any case.)
  if constexpr (kFreeThreaded) Py_INCREF(&cycle.ob_base);
}

void Dispatcher::forget(HttpCycle& cycle) noexcept {
  (cycle.previous != nullptr ? cycle.previous->next : cycles_) = cycle.next;
  if (cycle.next != nullptr) cycle.next->previous = cycle.previous;
  cycle.previous = cycle.next = nullptr;
  if constexpr (kFreeThreaded) Py_DECREF(&cycle.ob_base);
}

void Dispatcher::cancel_all() noexcept {
  // Cancelling runs no app code by itself, but a waiter's callbacks and foreign futures may: so hold each and restart
  // from a copy.
  PyRef tasks = PyRef::steal(PyList_New(0));
  if (!tasks) return PyErr_Clear();
  for (HttpCycle* cycle = cycles_; cycle != nullptr; cycle = cycle->next) {
    cycle->aborted = true;
    if (cycle->task != nullptr && PyList_Append(tasks.get(), cycle->task) != 0) PyErr_Clear();
  }
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(tasks.get()); ++i) {
    PyRef result = PyRef::steal(PyObject_CallMethodNoArgs(PyList_GET_ITEM(tasks.get(), i), names.cancel));
    if (!result) PyErr_WriteUnraisable(PyList_GET_ITEM(tasks.get(), i));
  }
}

void Dispatcher::detach_all() noexcept {
  while (first_ != nullptr) {
    http::AppExchange* exchange = std::exchange(first_, first_->app_next);
    const bool ours = (exchange->app_flags & (kNew | kReleased)) != 0;
    if ((exchange->app_flags & kNew) != 0) change_active(-1);
    exchange->app_flags = 0;
    exchange->app_next = nullptr;
    if (ours) exchange->release();
  }
  last_ = nullptr;
  while (cycles_ != nullptr) {
    HttpCycle* cycle = cycles_;
    const PyRef hold = PyRef::borrow(&cycle->ob_base);
    forget(*cycle);
    detach(cycle);
    change_active(-1);
  }
}

}  // namespace pyre::asgi
