// pyre._core.Engine: one HTTP server on one running event loop, for python/pyre/server.py. pybind11; nothing here is on
// the hot path.
#include "asgi/python_api.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "asgi/bind_engine.h"
#include "asgi/decref_queue.h"
#include "asgi/detached_host.h"
#include "asgi/embedded_host.h"
#include "asgi/loop_group.h"
#include "asgi/native_file.h"
#include "asgi/os_error.h"
#include "asgi/stats_dict.h"
#include "http/access_log.h"
#include "http/compression.h"
#include "http/encoder.h"
#include "http/encoder_pool.h"
#include "http/overflow.h"
#include "http/static_files.h"
#include "net/offload.h"
#include "platform/cpus.h"

namespace py = pybind11;

namespace pyre::asgi {

namespace {

// Reads each option once, and then knows which names nobody asked for.
class OptionReader {
 public:
  explicit OptionReader(const py::dict& options) : options_(options) {
    for (const auto& item : options) unread_.insert(py::cast<std::string>(item.first));
  }
  template <typename T>
  T get(const char* name, T fallback) {
    unread_.erase(name);
    if (!options_.contains(name)) return fallback;
    try {
      return py::cast<T>(options_[name]);
    } catch (const py::cast_error&) {
      throw py::type_error(std::string("Engine option '") + name + "' has the wrong type or is out of range");
    }
  }
  std::chrono::milliseconds seconds(const char* name, std::chrono::milliseconds fallback) {
    const double value = get<double>(name, static_cast<double>(fallback.count()) / 1000.0);
    if (!(value > 0) || value > 1e9)
      throw py::value_error(std::string("Engine option '") + name + "' must be a number of seconds above 0");
    return std::chrono::milliseconds(std::llround(value * 1000.0));
  }
  void done() const {
    if (!unread_.empty()) throw py::type_error("Engine: unknown option '" + *unread_.begin() + "'");
  }

 private:
  py::dict options_;
  std::set<std::string> unread_;
};

void raise_system_error(platform::Error error, const char* what) {
  if (error.os_error == 0) throw std::runtime_error(what);
  raise_os_error(error);
  throw py::error_already_set();
}

class Engine {
 public:
  Engine(const py::object& app, const py::object& loop, const py::dict& options) {
    OptionReader read(options);
    http::ServerOptions server;
    http::Limits& limits = server.limits;
    http::Timeouts& timeouts = server.timeouts;
    limits.request_line_bytes = read.get("limit_request_line", limits.request_line_bytes);
    limits.header_fields = read.get("limit_request_fields", limits.header_fields);
    limits.header_bytes = read.get("limit_request_header_size", limits.header_bytes);
    limits.body_bytes = read.get("limit_request_body", limits.body_bytes);
    limits.connections = read.get("limit_connections", limits.connections);
    timeouts.header = read.seconds("timeout_header", timeouts.header);
    timeouts.body = read.seconds("timeout_body", timeouts.body);
    timeouts.body_min_rate = read.get("timeout_body_min_rate", timeouts.body_min_rate);
    timeouts.write = read.seconds("timeout_write", timeouts.write);
    timeouts.keep_alive = read.seconds("timeout_keep_alive", timeouts.keep_alive);
    server.server_header = read.get<std::string>("server_header", "");
    server.date_header = read.get("date_header", true);
    add_default_headers(server, read.get("default_headers", py::list()));
    const auto trusted = read.get<std::string>("forwarded_allow_ips", "");
    if (std::string bad; !trusted.empty() && !server.trusted_proxies.parse(trusted, bad))
      throw py::value_error("forwarded_allow_ips: not an address, a network, 'unix:' or '*': '" + bad + "'");
    add_static_files(server, read.get("static", py::list()), read.get<std::int64_t>("static_max_age", -1));
    add_compression(server, read.get("compress", py::list()),
                    read.get<std::uint64_t>("compress_min_size", http::Compression::kMinSize),
                    read.get("compress_types", py::list()));
    const int log_fd = read.get("access_log_fd", -1);
    const auto log_format = read.get<std::string>("access_log_format", "text");
    if (log_format != "text" && log_format != "json")
      throw py::value_error("access_log_format must be 'text' or 'json'");
    Dispatcher::Options dispatch;
    const py::object state = read.get<py::object>("state", py::none());
    const py::object on_error = read.get<py::object>("on_error", py::none());
    const py::object on_max_requests = read.get<py::object>("on_max_requests", py::none());
    dispatch.app = app.ptr();
    dispatch.loop = loop.ptr();
    dispatch.state = state.ptr();
    dispatch.on_error = on_error.ptr();
    dispatch.scheme = read.get<std::string>("scheme", "http");
    dispatch.root_path = read.get<std::string>("root_path", "");
    dispatch.limit_concurrency = read.get<std::uint64_t>("limit_concurrency", 0);
    dispatch.limit_max_requests = read.get<std::uint64_t>("limit_max_requests", 0);
    const auto io_threads = read.get<std::uint32_t>("io_threads", 0);
    if (io_threads > http::Placement::kMaxLoops)
      throw py::value_error("io_threads must be at most " + std::to_string(http::Placement::kMaxLoops));
    group_ = read.get<std::shared_ptr<LoopGroup>>("group", nullptr);
    const auto group_index = read.get<std::uint32_t>("group_index", 0);
    if (group_ && (group_index > group_->loops() || io_threads != 0))
      throw py::value_error("an engine of a group has an index up to the number of its loops, and no I/O threads");
    const auto wake = read.get<std::string>("io_wake", "auto");
    if (wake != "auto" && wake != "event" && wake != "socket_pair")
      throw py::value_error("io_wake must be 'auto', 'event' or 'socket_pair'");
    const bool overflow = read.get("overflow", false);
    read.done();

    if (group_) {
      // What may wait for one loop is its share; connections are counted by the placement.
      const std::uint32_t loops = group_->loops();
      limits.connections = (limits.connections + loops - 1) / loops;
      server.placement = &group_->placement();
      server.access_log = group_->log();
      server.loop_index = dispatch.group_index = group_index;
      dispatch.group = group_.get();
    } else if (log_fd >= 0) {
      const platform::NativeFile log_file = native_file(log_fd);
      if (log_file == platform::no_file) throw py::error_already_set();
      log_ = std::make_unique<http::AccessLog>(
          log_file, log_format == "json" ? http::AccessLog::Format::json : http::AccessLog::Format::text,
          std::max(io_threads, 1U));
      server.access_log = log_.get();
    }
    std::vector<std::unique_ptr<net::Loop>> loops;
    for (std::uint32_t i = 0; i < std::max(io_threads, 1U); ++i) {
      auto made = net::Loop::create();
      if (!made) raise_system_error(made.error(), "the I/O reactor could not be made");
      loops.push_back(std::move(*made));
    }
    // Where no other event loop can watch the reactor (Windows), it always has a thread of its own.
    bool made = false;
    if (io_threads == 0 && loops.front()->reactor().pollable_handle() != platform::no_socket) {
      auto host = std::make_unique<EmbeddedHost>(std::move(loops.front()));
      made = host->init(dispatch, std::move(server), on_max_requests.ptr(), group_);
      host_ = std::move(host);
    } else if (group_) {
      throw std::runtime_error("an engine of a group needs an event loop that can watch its reactor");
    } else {
      if (overflow && platform::usable_cpus() > 1) {
        server.overflow_after_us = http::Overflow::kAfterUs;
        static_cast<void>(net::Offload::of_process());  // its threads start now, and not while a client waits
      }
      auto host = std::make_unique<DetachedHost>(std::move(loops), server);
      made = host->init(dispatch, on_max_requests.ptr(), wake);
      host_ = std::move(host);
    }
    if (!made) fail();
    enter_engines();
  }
  ~Engine() {
    leave_engines();
    if (!host_ || is_here()) {
      dispose();
      return;
    }
    try {
      end_on_loop();
    } catch (...) {  // the event loop is closed, and will never do it; or memory is exhausted
      if (host_) dispose();
    }
  }
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  void listen(platform::NativeSocket fd, bool unix_socket, std::int32_t io_thread) {
    const platform::Error error = open_host().listen(fd, unix_socket, io_thread);
    if (error.code != platform::Errc::ok) raise_system_error(error, "listen");
  }
  void stop_listening() { open_host().stop_listening(); }
  bool listening() {
    check_thread();
    return host_ && host_->listening();
  }
  void drain() { open_host().drain(); }
  void abort() {
    open_host().dispatcher().cancel_all();
    if (host_) host_->abort();  // else closed by what a cancellation ran
  }
  void close() {
    check_thread();
    dispose();
  }
  bool idle() const {
    check_thread();
    return !host_ || host_->idle();
  }
  std::uint64_t active_requests() const {
    check_thread();
    return host_ ? host_->dispatcher().active() : 0;
  }
  std::uint64_t connections() const {
    check_thread();
    return host_ ? host_->connections() : 0;
  }
  py::object wait_idle() {
    check_thread();
    py::object future = py::module_::import("asyncio").attr("get_running_loop")().attr("create_future")();
    if (!host_) {
      future.attr("set_result")(py::none());
    } else if (!host_->add_idle_future(PyRef::borrow(future.ptr()))) {
      throw py::error_already_set();
    }
    return future;
  }
  py::dict stats() const {
    py::dict out;
    Snapshot all;
    std::uint64_t written = 0, dropped = 0;
    {
#ifdef Py_GIL_DISABLED
      std::unique_lock lock(host_mutex_, std::defer_lock);
      const bool elsewhere = !is_here();
      if (elsewhere) lock.lock();
      if (!host_) return out;
      all = elsewhere ? host_->published() : host_->snapshot();
#else
      check_thread();
      if (!host_) return out;
      all = host_->snapshot();
#endif
      if (const http::AccessLog* log = group_ ? group_->log() : log_.get(); log != nullptr) {
        written = log->written();
        dropped = log->dropped();
      }
    }
    py::list each;
    for (const IoStats& io : all.io) each.append(loop_stats(io));
    for (const auto& [name, first] : py::dict(each[0])) {
      std::uint64_t sum = 0;
      for (const py::handle& one : each) sum += py::cast<std::uint64_t>(one[name]);
      out[name] = sum;
    }
    out["loops"] = each;
    const DispatcherStats& dispatcher = all.dispatcher;
    out["batches"] = dispatcher.batches;
    out["requests_started"] = dispatcher.requests;
    out["wakes"] = dispatcher.wakes;
    out["app_errors"] = dispatcher.app_errors;
    out["refused_busy"] = dispatcher.refused_busy;
    out["largest_batch"] = dispatcher.largest_batch;
    out["stolen"] = dispatcher.stolen;
    out["given"] = dispatcher.given;
    const HostStats& host = all.host;
    out["ticks"] = host.ticks;
    out["gil_releases"] = host.gil_releases;
    out["sections_with_gil"] = host.sections_with_gil;
    out["io_wakes"] = host.wakes;
    out["offload"] = offload_stats();
    out["access_log_written"] = written;
    out["access_log_dropped"] = dropped;
    return out;
  }
  static void after_fork_in_child() {
    net::Offload::abandon_after_fork();
    http::EncoderPool::abandon_after_fork();
    for (const std::atomic<Engine*>& slot : engines()) {
      Engine* engine = slot.load(std::memory_order_relaxed);
      if (engine == nullptr) continue;
#ifdef Py_GIL_DISABLED
      std::construct_at(&engine->host_mutex_);  // a thread that is not here may have held it
#endif
      if (engine->host_) engine->host_->abandon_after_fork();
    }
  }

 private:
  // The last reference was dropped by another thread (the garbage collector runs anywhere), and ours may be in the
  // middle of a tick: it does this itself. Throws when it cannot be told to; what was moved by then is disposed of.
  void end_on_loop() {
    struct Rest {
      std::unique_ptr<http::AccessLog> log;
      std::unique_ptr<Host> host;
      ~Rest() {
        if (host) Host::dispose(std::move(host), std::move(log));
      }
    };
    py::object loop = py::reinterpret_borrow<py::object>(host_->dispatcher().loop());
    auto rest = std::make_shared<Rest>(std::move(log_), std::move(host_));
    loop.attr("call_soon_threadsafe")(py::cpp_function([rest] {
      if (rest->host) Host::dispose(std::move(rest->host), std::move(rest->log));
    }));
  }
  // All there are, for a fork()ed child. Without a lock, which a thread that does not exist there might hold.
  static constexpr std::size_t kMaxEngines = 256;  // a group has 65 at most
  static std::array<std::atomic<Engine*>, kMaxEngines>& engines() noexcept {
    static constinit std::array<std::atomic<Engine*>, kMaxEngines> all{};
    return all;
  }
  void enter_engines() {
    for (std::atomic<Engine*>& slot : engines()) {
      Engine* none = nullptr;
      if (slot.compare_exchange_strong(none, this)) return;
    }
    throw std::runtime_error("too many engines: a process can have " + std::to_string(engines().size()));
  }
  void leave_engines() noexcept {
    for (std::atomic<Engine*>& slot : engines()) {
      Engine* self = this;
      if (slot.compare_exchange_strong(self, nullptr)) return;
    }
  }
  [[nodiscard]] bool is_here() const noexcept { return PyThread_get_thread_ident() == thread_; }
  // With a GIL, too: a tick gives it up in its middle.
  void check_thread() const {
    if (is_here()) return;
    raise_foreign_thread("an Engine");
    throw py::error_already_set();
  }
  void dispose() {
    std::unique_ptr<Host> host;
    std::unique_ptr<http::AccessLog> log;
    {
#ifdef Py_GIL_DISABLED
      const std::lock_guard lock(host_mutex_);
#endif
      host = std::move(host_);
      log = std::move(log_);
    }
    if (host) Host::dispose(std::move(host), std::move(log));
  }
  // Passes the exception that is set on.
  [[noreturn]] void fail() {
    py::error_already_set error;
    host_.reset();
    throw error;
  }
  Host& open_host() {
    check_thread();
    if (!host_) throw std::runtime_error("the engine is closed");
    return *host_;
  }
  static void add_default_headers(http::ServerOptions& server, const py::list& headers) {
    http::ResponseHead fields;
    fields.start(200);
    for (const py::handle& item : headers) {
      const auto pair = py::cast<std::pair<std::string, std::string>>(item);
      const http::FieldError error = fields.add(pair.first, pair.second);
      if (error != http::FieldError::ok) throw py::value_error("header '" + pair.first + "': " + http::text_of(error));
    }
    server.default_fields = std::string(fields.fields());
    if (fields.has_date()) server.date_header = false;
    if (fields.has_server()) server.server_header.clear();
  }

  static void add_compression(http::ServerOptions& server, const py::list& codings, std::uint64_t min_size,
                              const py::list& types) {
    if (codings.empty()) return;
    if (!http::has_encoders()) throw py::value_error("this build of Pyre has no compression");
    auto compression = std::make_shared<http::Compression>();
    for (const py::handle& item : codings) {
      const auto [name, level] = py::cast<std::pair<std::string, std::optional<int>>>(item);
      const http::Coding coding = http::coding_of(name);
      if (!compression->add(coding, level.value_or(http::level_range(coding).usual)))
        throw py::value_error("compress: '" + name + "' is unknown, is there twice, or has no such level");
    }
    if (http::Compression::is_forbidden_by(server.default_fields)) return;
    compression->set_min_size(min_size);
    if (!types.empty()) compression->set_types(py::cast<std::vector<std::string>>(types));
    server.compression = std::move(compression);
    static_cast<void>(net::Offload::of_process());  // its threads start now, and not while a client waits
  }
  static void add_static_files(http::ServerOptions& server, const py::list& routes, std::int64_t max_age) {
    if (routes.empty()) return;
    auto files = std::make_shared<http::StaticFiles>();
    for (const py::handle& item : routes) {
      const auto [route, directory] = py::cast<std::pair<std::string, std::string>>(item);
      const platform::Error error = files->add(route, directory.c_str());
      if (error.code == platform::Errc::ok) continue;
      raise_os_error(error, directory.c_str());
      throw py::error_already_set();
    }
    if (max_age >= 0) files->set_max_age(static_cast<std::uint32_t>(max_age));
    server.static_files = std::move(files);
  }

  const unsigned long thread_ = PyThread_get_thread_ident();
#ifdef Py_GIL_DISABLED
  mutable std::mutex host_mutex_;  // of the two pointers: stats() of another thread
#endif
  std::shared_ptr<LoopGroup> group_;
  std::unique_ptr<http::AccessLog> log_;  // outlives the host's server
  std::unique_ptr<Host> host_;
};

std::shared_ptr<LoopGroup> make_group(std::uint32_t loops, std::uint64_t limit_connections, int log_fd,
                                      const std::string& log_format) {
  if (!kFreeThreaded) throw std::runtime_error("a LoopGroup needs a free-threaded Python: this one has a GIL");
  if (loops < 1 || loops > http::Placement::kMaxLoops)
    throw py::value_error("a LoopGroup has 1 to " + std::to_string(http::Placement::kMaxLoops) + " loops");
  if (log_format != "text" && log_format != "json") throw py::value_error("access_log_format must be 'text' or 'json'");
  platform::NativeFile log = platform::no_file;
  if (log_fd >= 0 && (log = native_file(log_fd)) == platform::no_file) throw py::error_already_set();
  return std::make_shared<LoopGroup>(
      loops, limit_connections, log,
      log_format == "json" ? http::AccessLog::Format::json : http::AccessLog::Format::text);
}

void end_group(LoopGroup& group) {
  if (group.members() != 0) throw std::runtime_error("an engine of the group is not closed");
  {
    const py::gil_scoped_release released;
    group.end();
  }
  DecrefQueue::of_this_thread().drain();
}

}  // namespace

void bind_engine(py::module_& module) {
  py::class_<LoopGroup, std::shared_ptr<LoopGroup>>(
      module, "LoopGroup", "What the engines of several event loops share, each on a thread of its own.")
      .def(py::init(&make_group), py::arg("loops"), py::arg("limit_connections"), py::arg("access_log_fd") = -1,
           py::arg("access_log_format") = "text")
      .def_property_readonly("connections", [](LoopGroup& group) { return group.placement().total(); })
      .def("close", &end_group);
  py::class_<Engine>(
      module, "Engine",
      "One HTTP server on one running asyncio loop. All methods on the loop's thread (on a free-threaded Python "
      "stats() on any).")
      .def(py::init<const py::object&, const py::object&, const py::dict&>(), py::arg("app"), py::arg("loop"),
           py::arg("options"))
      .def("listen", &Engine::listen, py::arg("fd"), py::arg("unix") = false, py::arg("io_thread") = Host::kAnyThread)
      .def("stop_listening", &Engine::stop_listening)
      .def("drain", &Engine::drain)
      .def("abort", &Engine::abort)
      .def("close", &Engine::close)
      .def("wait_idle", &Engine::wait_idle)
      .def("stats", &Engine::stats)
      .def_property_readonly("listening", &Engine::listening)
      .def_property_readonly("idle", &Engine::idle)
      .def_property_readonly("active_requests", &Engine::active_requests)
      .def_property_readonly("connections", &Engine::connections);
  module.def("_after_fork_in_child", &Engine::after_fork_in_child);
  const py::module_ os = py::module_::import("os");
  if (py::hasattr(os, "register_at_fork"))  // Windows has no fork()
    os.attr("register_at_fork")(py::arg("after_in_child") = module.attr("_after_fork_in_child"));
}

}  // namespace pyre::asgi
