// ScopeBuilder: the `scope` dict of a request (ASGI HTTP connection scope, spec_version 2.5). A template with every key
// in its place is copied for each request, and the values that differ are set.
#pragma once

#include <string>

#include "asgi/dict_copies.h"
#include "asgi/python_api.h"
#include "http/app_exchange.h"

namespace pyre::asgi {

class ScopeBuilder {
 public:
  // `state`: the lifespan state, or null if there is none. `scheme` is the listener's ("http").
  // False with an exception set.
  [[nodiscard]] bool init(const char* scheme, const char* root_path, PyObject* state) noexcept;
  // A new reference, or null with an exception set. Needs the GIL.
  [[nodiscard]] PyObject* build(http::AppExchange& exchange) noexcept;
  // Puts what was cached for a connection on this thread's DecrefQueue. Without the GIL.
  static void release(http::ConnectionInfo& info) noexcept;

 private:
  PyRef template_;
  DictCopies asgi_;
  DictCopies extensions_;
  DictCopies state_;
  std::string root_path_;
};

}  // namespace pyre::asgi
