#include "http/static_handler.h"

#include <algorithm>

#include "http/static_path.h"
#include "http/static_response.h"

namespace pyre::http {
namespace {

bool is_get_or_head(const RequestHead& request) noexcept { return request.method() == "GET" || request.is_head(); }

}  // namespace

StaticHandler::StaticHandler(net::Loop& loop, std::shared_ptr<const StaticFiles> files, RequestHandler& next,
                             std::uint32_t connections) noexcept
    : loop_(loop),
      files_(std::move(files)),
      next_(next),
      open_files_(loop, files_, *this, std::max<std::size_t>(connections / 2, 1)) {}

void StaticHandler::give_up() noexcept {
  loop_.cancel(work_);
  while (first_ != nullptr) {
    Exchange& exchange = *first_;
    first_ = static_cast<Exchange*>(exchange.app_next);
    exchange.app_next = nullptr;
    exchange.release();
  }
  last_ = nullptr;
  while (Exchange* exchange = open_files_.take_waiting()) exchange->release();
}

const StaticFiles::Route* StaticHandler::route_of(const RequestHead& request, StaticName& name) noexcept {
  std::string_view path = request.path();
  if (request.path_has_escape) {
    decode_path(path, decoded_);
    path = decoded_;
  }
  const StaticFiles::Route* route = files_->match(path);
  if (route != nullptr) name = split_static_name(path.substr(route->prefix.size()));
  return route;
}

// The http layer is in the middle of something: the answer waits until it is through, within the same tick.
void StaticHandler::on_request(Exchange& exchange) noexcept {
  const RequestHead& request = exchange.request();
  StaticName name;
  const StaticFiles::Route* route = route_of(request, name);
  // Below "/" are the application's paths. What it may have to answer in the end must be as it came: so nothing with a
  // body, of which a part could come meanwhile.
  if (route == nullptr ||
      (route->falls_through() && (!is_get_or_head(request) || request.has_body() || request.upgrade ||
                                  !is_servable(name.name, platform::windows_file_names))))
    return next_.on_request(exchange);
  // Most of the application's paths begin with a segment of which the directory has nothing: that takes a microsecond,
  // and no look-up. (A name with a NUL would end there: it is none that is servable.)
  if (route->falls_through()) {
    name_.assign(name.name);
    if (route->directory->is_known_missing(name_.c_str())) return next_.on_request(exchange);
  }
  exchange.taken = true;
  on_turn(exchange);
}

void StaticHandler::on_turn(Exchange& exchange) noexcept {
  exchange.app_next = nullptr;
  if (last_ == nullptr)
    first_ = &exchange;
  else
    last_->app_next = &exchange;
  last_ = &exchange;
  loop_.defer(work_);
}

void StaticHandler::on_body(Exchange& exchange) noexcept {
  if (!exchange.taken) next_.on_body(exchange);  // else nobody wants it
}

void StaticHandler::on_drained(Exchange& exchange) noexcept {
  if (!exchange.taken) next_.on_drained(exchange);
}

void StaticHandler::on_disconnect(Exchange& exchange, bool dead) noexcept {
  if (!exchange.taken) return next_.on_disconnect(exchange, dead);
  if (dead && ++dead_ >= kMaxDead) loop_.defer(work_);  // else it is seen when its turn comes
}

void StaticHandler::on_connection_info_released(ConnectionInfo& info) noexcept {
  next_.on_connection_info_released(info);
}

void StaticHandler::run() noexcept {
  if (dead_ >= kMaxDead) {
    dead_ = 0;
    open_files_.release_dead();
  }
  for (int i = 0; first_ != nullptr && i < kMaxAtOnce; ++i) {
    Exchange& exchange = *first_;
    first_ = static_cast<Exchange*>(exchange.app_next);
    if (first_ == nullptr) last_ = nullptr;
    exchange.app_next = nullptr;
    serve(exchange);
  }
  if (first_ != nullptr) loop_.defer(work_);
}

void StaticHandler::serve(Exchange& exchange) noexcept {
  if (exchange.dead()) return exchange.release();
  const RequestHead& request = exchange.request();
  StaticName name;
  const StaticFiles::Route* route = route_of(request, name);
  if (!is_get_or_head(request)) {
    send_static_methods(exchange);
    return exchange.release();
  }
  if (!is_servable(name.name, platform::windows_file_names)) return answer_missing(exchange, false);
  const FileSet* set = nullptr;
  switch (open_files_.look_up(*route, name, exchange, set)) {
    case OpenFiles::Look::found:
      return on_found(exchange, *set);
    case OpenFiles::Look::waits:
      return;
    case OpenFiles::Look::busy:
      if (route->falls_through()) return answer_missing(exchange, true);  // it is the application's as likely as not
      exchange.fail(503);
      return exchange.release();
  }
}

void StaticHandler::on_found(Exchange& exchange, const FileSet& set) noexcept {
  if (exchange.dead()) return exchange.release();
  switch (set.kind) {
    case FileSet::Kind::file:
      send_static_file(exchange, set, loop_.wall_second());
      break;
    case FileSet::Kind::folder:
      send_slash_redirect(exchange);
      break;
    case FileSet::Kind::missing:
    case FileSet::Kind::shortage: {
      StaticName name;
      const StaticFiles::Route* route = route_of(exchange.request(), name);
      if (set.kind == FileSet::Kind::missing || route->falls_through())
        return answer_missing(exchange, route->falls_through());
      exchange.fail(503);
      break;
    }
  }
  exchange.release();
}

void StaticHandler::answer_missing(Exchange& exchange, bool falls_through) noexcept {
  if (!falls_through) {
    exchange.fail(404);
    return exchange.release();
  }
  exchange.taken = false;
  next_.on_request(exchange);
  if (exchange.peer_finished()) next_.on_disconnect(exchange, false);
}

}  // namespace pyre::http
