#include "asgi/stats_dict.h"

#include <pybind11/stl.h>

#include "http/server.h"
#include "net/offload.h"

namespace pyre::asgi {

pybind11::dict loop_stats(const IoStats& io) {
  pybind11::dict out;
  const http::ServerStats& server = io.server;
  out["connections_total"] = server.connections_total;
  out["connections_open"] = server.connections_open;
  out["requests_total"] = server.requests_total;
  out["requests_active"] = server.requests_active;
  out["bytes_in"] = server.bytes_in;
  out["bytes_out"] = server.bytes_out;
  out["bad_requests"] = server.bad_requests;
  out["timeouts_header"] = server.timeouts_header;
  out["timeouts_body"] = server.timeouts_body;
  out["timeouts_write"] = server.timeouts_write;
  out["timeouts_keep_alive"] = server.timeouts_keep_alive;
  out["accepts_paused"] = server.accepts_paused;
  out["refused_surplus"] = io.refused_surplus;
  const http::CodingStats& coding = server.coding;
  out["coded_responses"] = coding.responses;
  out["coded_bytes_in"] = coding.bytes_in;
  out["coded_bytes_out"] = coding.bytes_out;
  out["coding_inlined"] = coding.inlined;
  out["coding_offloaded"] = coding.offloaded;
  out["coding_no_gain"] = coding.no_gain;
  out["coding_no_room"] = coding.no_room;
  const http::ParseStats& parse = server.parse;
  out["parse_ticks_behind"] = parse.ticks_behind;
  out["parse_inlined"] = parse.inlined;
  out["parse_offered"] = parse.offered;
  out["parse_stolen"] = parse.stolen;
  out["parse_repeated"] = parse.repeated;
  out["parse_taken_back"] = parse.taken_back;
  out["reactor_polls"] = io.reactor.polls;
  out["reactor_events"] = io.reactor.events;
  out["reactor_control_calls"] = io.reactor.control_calls;
  out["reactor_slow_callbacks"] = io.reactor.slow_callbacks;
  return out;
}

pybind11::dict offload_stats() {
  const net::OffloadStats stats = net::Offload::stats_of_process();
  pybind11::dict out;
  out["threads"] = stats.threads;
  out["submitted"] = stats.submitted;
  out["finished"] = stats.finished;
  out["refused"] = stats.refused;
  out["lag"] = stats.lag;
  return out;
}

}  // namespace pyre::asgi
