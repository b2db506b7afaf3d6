#include "http/app_exchange.h"

namespace pyre::http {

FieldError AppExchange::add_trailer(std::string_view name, std::string_view value) noexcept {
  if (const FieldError error = check_field(name, value); error != FieldError::ok) return error;
  if (!is_allowed_in_trailers(name)) return FieldError::forbidden_trailer;
  // The response head is taken over by now, so its memory is free for the trailers.
  if (dead_ || complete_ || !body_ended_ || framing_ != BodyFraming::Kind::chunked) return FieldError::ok;
  return head_.append(name, value);
}

void AppExchange::reset() noexcept {
  head_.reset();
  info_ = nullptr;
  body_size_ = body_left_ = 0;
  framing_ = BodyFraming::Kind::none;
  body_complete_ = started_ = trailers_follow_ = body_ended_ = complete_ = dead_ = peer_finished_ = false;
  app = nullptr;
  app_next = nullptr;
  app_flags = 0;
}

}  // namespace pyre::http
