#include "http/server_core.h"

#include <chrono>

#include "http/connection.h"
#include "http/overflow.h"
#include "http/static_handler.h"
#include "platform/clock.h"
#include "platform/memory.h"

namespace pyre::http {

ServerCore::ServerCore(net::Loop& on_loop, RequestHandler& to_handler, ServerOptions with) noexcept
    : loop(on_loop),
      static_handler(
          with.static_files == nullptr
              ? nullptr
              : std::make_unique<StaticHandler>(on_loop, with.static_files, to_handler, with.limits.connections)),
      handler(static_handler != nullptr ? *static_handler : to_handler),
      options(std::move(with)) {
  if (options.overflow_after_us != ServerOptions::kNeverOverflow) overflow = std::make_unique<Overflow>(*this);
  if (!options.server_header.empty()) server_line = "server: " + options.server_header + "\r\n";
}

ServerCore::~ServerCore() = default;

void ServerCore::add(Connection& connection) noexcept {
  ++stats.connections_total;
  ++stats.connections_open;
  connection.next_ = first_;
  if (first_ != nullptr) first_->previous_ = &connection;
  first_ = &connection;
}

void ServerCore::remove(Connection& connection) noexcept {
  --stats.connections_open;
  if (connection.previous_ != nullptr)
    connection.previous_->next_ = connection.next_;
  else
    first_ = connection.next_;
  if (connection.next_ != nullptr) connection.next_->previous_ = connection.previous_;
}

Connection* ServerCore::next_of(Connection& connection) noexcept { return connection.next_; }

ServerCore::LogWork::LogWork(ServerCore& c) noexcept
    : Deferred([](Deferred& work) noexcept { static_cast<LogWork&>(work).core.write_log(); }), core(c) {}

void ServerCore::log(Exchange& exchange) noexcept {
  if (options.access_log == nullptr) return;
  if (exchange.head_at_ != platform::TimePoint{}) {
    const auto taken = platform::now() - exchange.head_at_;
    exchange.duration_us_ =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(taken).count());
  }
  exchange.hold(Exchange::Holder::log);
  exchange.next_ = nullptr;
  if (log_last_ == nullptr)
    log_first_ = &exchange;
  else
    log_last_->next_ = &exchange;
  log_last_ = &exchange;
  loop.defer(log_work_);
}

void ServerCore::write_log() noexcept {
  Exchange* exchange = log_first_;
  log_first_ = log_last_ = nullptr;
  const std::int64_t second = loop.wall_second();
  while (exchange != nullptr) {
    Exchange* next = exchange->next_;
    exchange->next_ = nullptr;
    AccessLog::Entry entry{};
    entry.request = exchange->request_.target_size != 0 ? &exchange->request_ : nullptr;
    entry.connection = exchange->info_;
    entry.forwarded = &exchange->forwarded_;
    entry.status = exchange->status_;
    entry.body_bytes = exchange->body_sent_;
    entry.duration_us = exchange->duration_us_;
    options.access_log->record(entry, second, options.loop_index);
    exchange->drop(Exchange::Holder::log);
    exchange = next;
  }
  options.access_log->flush(options.loop_index);
}

void ServerCore::orphan() noexcept {
  if (log_first_ != nullptr) write_log();
  loop.cancel(log_work_);
  if (static_handler != nullptr) static_handler->give_up();
  if (overflow != nullptr) overflow->give_up();
  orphaned_ = true;
  exchange_returned();
}

void ServerCore::delete_this() noexcept {
  if (overflow == nullptr || overflow->all_home()) delete this;
}

}  // namespace pyre::http
