#include "http/request_parser.h"

#include <llhttp.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>

#include "http/characters.h"
#include "http/chunk_decoder.h"
#include "http/field_lines.h"
#include "http/head_rules.h"
#include "http/request_line.h"

// How a head is read. Most heads come in one piece: for these one pass over the field lines (field_lines.h) checks and
// copies them, and accepts only what is regular in every way. All others, those in pieces and those with anything odd,
// go the careful way: one pass (scan_fields) checks the raw line structure (every line ends in CRLF, no other control
// character but HTAB in a value, no line begins with white space) and finds where the head ends; llhttp is given the
// field lines and nothing else, is restarted for each request, splits the lines and checks them once more; if the two
// disagree about where the head ends, the request is refused. So every refusal of a field line comes from the careful
// way, and the quick one saves 2,000 of 4,000 instructions for a request of 100 bytes. That the quick one accepts
// nothing that llhttp refuses is asserted in debug builds, and fuzzed. Bodies never go through llhttp (see
// chunk_decoder.h).

namespace pyre::http {
namespace {

constexpr std::uint8_t kLeadingLineBytes =
    16;  // CRLFs before a request line; clients of the nineties sent one after a POST

enum class Phase : std::uint8_t {
  start,  // nothing but CRLFs yet
  start_lf,
  request_line,
  request_line_lf,
  line_start,  // of a field, or of the empty line
  field_line,
  field_line_lf,
  head_lf,
  body_length,
  body_chunked,
  body_end,  // message_complete is due
  failed,
};

}  // namespace

struct RequestParser::State {
  llhttp_t llhttp;
  const Limits* limits;
  RequestHead* head;
  std::uint64_t body_left;  // with Content-Length
  std::uint64_t body_received;
  ChunkDecoder chunks;
  std::uint32_t header_bytes;
  std::uint16_t header_fields;
  std::uint16_t status;  // of the refusal, once failed
  Phase phase;
  std::uint8_t skipped;   // leading CRLF bytes
  bool head_complete;     // llhttp says so
  bool in_name;           // a field's name has begun, and its value not yet
  std::uint32_t written;  // the end of what is in head->bytes, while llhttp runs

  // ---- llhttp's callbacks
  static State& of(llhttp_t* parser) noexcept { return *static_cast<State*>(parser->data); }
  static int on_name(llhttp_t* parser, const char* at, std::size_t size) noexcept {
    return of(parser).add_name(at, size);
  }
  static int on_value(llhttp_t* parser, const char* at, std::size_t size) noexcept {
    return of(parser).add_value(at, size);
  }
  static int on_value_complete(llhttp_t* parser) noexcept { return of(parser).end_value(); }
  static int on_headers_complete(llhttp_t* parser) noexcept {
    of(parser).head_complete = true;
    return HPE_PAUSED;  // the body is not llhttp's
  }
  int add_name(const char* at, std::size_t size) noexcept;
  int end_name() noexcept;
  int add_value(const char* at, std::size_t size) noexcept;
  int end_value() noexcept;
  int stop(std::uint16_t with) noexcept {
    status = with;
    return HPE_USER;
  }

  [[nodiscard]] static const llhttp_t& behind_request_line(std::uint8_t minor_version) noexcept;

  void restart() noexcept;
  Step refuse(Refusal refusal) noexcept;
  Step scan_start(const char*& p, const char* end) noexcept;
  Step scan_request_line(const char*& p, const char* end) noexcept;
  Step finish_request_line() noexcept;
  [[nodiscard]] bool llhttp_agrees(const char* from, const char* to) noexcept;
  Step scan_fields(const char*& p, const char* end) noexcept;
  Step feed(const char* from, const char* to) noexcept;
  Step finish_head() noexcept;
  Step read_length(std::span<const std::byte> input) noexcept;
  Step read_chunks(std::span<const std::byte> input) noexcept;
};

namespace {

// The methods that llhttp knows for HTTP (with those for RTSP it has some more), and QUERY, which only its newer
// versions have.
bool is_known_method(std::string_view method) noexcept {
  if (method == "GET" || method == "POST") return true;
  static constexpr std::string_view kMethods[] = {
#define PYRE_METHOD(number, name, text) #text,
      HTTP_METHOD_MAP(PYRE_METHOD)
#undef PYRE_METHOD
          "QUERY"};
  return std::find(std::begin(kMethods), std::end(kMethods), method) != std::end(kMethods);
}

}  // namespace

// llhttp as it stands behind a request line. That line is checked by parse_request_line(), more strictly than llhttp
// would; so for each request it begins here, by a copy of 96 bytes, instead of reading the same bytes once more (a
// fifth of its work for a short request).
const llhttp_t& RequestParser::State::behind_request_line(std::uint8_t minor_version) noexcept {
  static const llhttp_settings_t kSettings = [] {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_header_field = on_name;
    settings.on_header_value = on_value;
    settings.on_header_value_complete = on_value_complete;
    settings.on_headers_complete = on_headers_complete;
    return settings;
  }();
  struct Prepared {
    llhttp_t minor[2];
    Prepared() noexcept {
      static constexpr std::string_view kLines[] = {"GET / HTTP/1.0\r\n", "GET / HTTP/1.1\r\n"};
      for (std::size_t i = 0; i < 2; ++i) {
        llhttp_init(&minor[i], HTTP_REQUEST, &kSettings);
        (void)llhttp_execute(&minor[i], kLines[i].data(), kLines[i].size());
      }
    }
  };
  static const Prepared kPrepared;
  return kPrepared.minor[minor_version];
}

// llhttp's spans are pieces: a name or value that is split over two reads comes in two calls. feed() has made room for
// all of them.
int RequestParser::State::add_name(const char* at, std::size_t size) noexcept {
  if (!in_name) {
    if (header_fields >= limits->header_fields) return stop(431);
    in_name = true;
    head->fields.emplace_back().name_at = written;
  }
  char* out = head->bytes.data() + written;
  written += static_cast<std::uint32_t>(size);
  unsigned bad = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const char lower = kTokenLower[static_cast<unsigned char>(at[i])];
    out[i] = lower;
    bad |= static_cast<unsigned>(lower == 0);
  }
  return bad == 0 ? 0 : stop(400);
}

int RequestParser::State::end_name() noexcept {
  in_name = false;
  HeaderField& field = head->fields.back();
  const std::uint32_t size = written - field.name_at;
  if (size == 0) return stop(400);
  if (size > 0xffff) return stop(431);  // name_size has 16 bits
  field.name_size = static_cast<std::uint16_t>(size);
  field.id = find_header_name({head->bytes.data() + field.name_at, size});
  field.value_at = written;
  ++header_fields;
  return 0;
}

int RequestParser::State::add_value(const char* at, std::size_t size) noexcept {
  if (in_name) {
    if (const int error = end_name(); error != 0) return error;
  }
  std::memcpy(head->bytes.data() + written, at, size);
  written += static_cast<std::uint32_t>(size);
  return 0;
}

int RequestParser::State::end_value() noexcept {
  if (in_name) {
    if (const int error = end_name(); error != 0) return error;
  }
  if (head->fields.empty()) return stop(400);
  HeaderField& field = head->fields.back();
  const char* bytes = head->bytes.data();
  std::uint32_t begin = field.value_at;
  std::uint32_t end = written;
  while (end > begin && is_space(bytes[end - 1])) --end;
  while (begin < end && is_space(bytes[begin])) ++begin;
  field.value_at = begin;
  field.value_size = end - begin;
  return 0;
}

void RequestParser::State::restart() noexcept {
  head = nullptr;
  body_left = body_received = 0;
  header_bytes = 0;
  header_fields = 0;
  status = 0;
  phase = Phase::start;
  skipped = 0;
  head_complete = in_name = false;
}

RequestParser::Step RequestParser::State::refuse(Refusal refusal) noexcept {
  phase = Phase::failed;
  status = refusal.status;
  Step step;
  step.event = Event::error;
  step.status = refusal.status;
  step.reason = refusal.reason;
  return step;
}

RequestParser::Step RequestParser::State::scan_start(const char*& p, const char* end) noexcept {
  while (p != end) {
    if (phase == Phase::start_lf) {
      if (*p != '\n') return refuse({400, "bare CR before the request line"});
      phase = Phase::start;
    } else if (*p == '\r') {
      phase = Phase::start_lf;
    } else {
      phase = Phase::request_line;
      return {};
    }
    ++p;
    if (++skipped > kLeadingLineBytes) return refuse({400, "too many empty lines before the request line"});
  }
  return {};
}

// The line is gathered in head->bytes, where method and target stay.
RequestParser::Step RequestParser::State::scan_request_line(const char*& p, const char* end) noexcept {
  std::vector<char>& bytes = head->bytes;
  if (phase == Phase::request_line) {
    const char* stop = find_control(p, end);
    if (bytes.size() + static_cast<std::size_t>(stop - p) > limits->request_line_bytes) {
      const auto fits =
          static_cast<std::ptrdiff_t>(std::min<std::size_t>(kLongestMethod + 1, static_cast<std::size_t>(stop - p)));
      if (bytes.size() <= kLongestMethod) bytes.insert(bytes.end(), p, p + fits);
      const std::size_t look = std::min(bytes.size(), kLongestMethod + 1);
      if (std::memchr(bytes.data(), ' ', look) == nullptr) return refuse({400, "malformed method"});
      return refuse({414, "request line too long"});
    }
    bytes.insert(bytes.end(), p, stop);
    p = stop;
    if (bytes.size() > kLongestMethod && std::memchr(bytes.data(), ' ', kLongestMethod + 1) == nullptr)
      return refuse({400, "malformed method"});
    if (p == end) return {};
    if (*p != '\r') return refuse({400, "control character in the request line"});
    ++p;
    phase = Phase::request_line_lf;
    if (p == end) return {};
  }
  if (*p != '\n') return refuse({400, "bare CR in the request line"});
  ++p;
  return finish_request_line();
}

RequestParser::Step RequestParser::State::finish_request_line() noexcept {
  if (const Refusal refusal = parse_request_line(*head)) return refuse(refusal);
  if (!is_known_method(head->method())) return refuse({501, "method that is not known"});
  phase = Phase::line_start;
  return {};
}

// For debug builds and the fuzzers: a head that was accepted without llhttp would have been accepted by it, too.
bool RequestParser::State::llhttp_agrees(const char* from, const char* to) noexcept {
  static const llhttp_settings_t kSettings = [] {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_headers_complete = [](llhttp_t*) noexcept -> int { return HPE_PAUSED; };
    return settings;
  }();
  llhttp_t second = behind_request_line(head->minor_version);
  second.settings = const_cast<llhttp_settings_t*>(&kSettings);
  return llhttp_execute(&second, from, static_cast<std::size_t>(to - from)) == HPE_PAUSED &&
         llhttp_get_error_pos(&second) == to;
}

// Goes over as many field lines as there are, then hands them to llhttp in one call.
RequestParser::Step RequestParser::State::scan_fields(const char*& p, const char* end) noexcept {
  const char* const from = p;
  if (header_bytes == 0 && phase == Phase::line_start && read_field_lines(*head, *limits, p, end)) {
    header_bytes = static_cast<std::uint32_t>(p - from);
    header_fields = static_cast<std::uint16_t>(head->fields.size());
    if (const Refusal refusal = apply_head_rules(*head, *limits)) return refuse(refusal);
    assert(llhttp_agrees(from, p));
    return finish_head();
  }
  if (header_bytes == 0) {
    llhttp = behind_request_line(head->minor_version);
    llhttp.data = this;
  }
  bool complete = false;
  while (p != end && !complete) {
    switch (phase) {
      case Phase::line_start:
        if (*p == '\r') {
          phase = Phase::head_lf;
          ++p;
        } else if (is_space(*p)) {
          return refuse({400, "line that begins with white space (obsolete line folding)"});
        } else {
          phase = Phase::field_line;
        }
        break;
      case Phase::field_line:
        p = find_control(p, end);
        if (p == end) break;
        if (*p == '\r')
          phase = Phase::field_line_lf;
        else if (*p != '\t')
          return refuse({400, "control character in a field line"});
        ++p;
        break;
      case Phase::field_line_lf:
        if (*p != '\n') return refuse({400, "bare CR in a field line"});
        phase = Phase::line_start;
        ++p;
        break;
      default:  // head_lf
        if (*p != '\n') return refuse({400, "bare CR at the end of the head"});
        complete = true;
        ++p;
        break;
    }
  }
  if (static_cast<std::size_t>(p - from) > limits->header_bytes - header_bytes)
    return refuse({431, "header block too large"});
  header_bytes += static_cast<std::uint32_t>(p - from);
  Step step = feed(from, p);
  if (step.event == Event::error) return step;
  if (complete != head_complete) return refuse({400, "malformed head"});
  if (!complete) return {};
  if (const Refusal refusal = apply_head_rules(*head, *limits)) return refuse(refusal);
  return finish_head();
}

RequestParser::Step RequestParser::State::feed(const char* from, const char* to) noexcept {
  // Names and values together are shorter than the lines that they come in.
  std::vector<char>& bytes = head->bytes;
  written = static_cast<std::uint32_t>(bytes.size());
  bytes.resize(bytes.size() + static_cast<std::size_t>(to - from));
  const llhttp_errno_t error = llhttp_execute(&llhttp, from, static_cast<std::size_t>(to - from));
  bytes.resize(written);
  if (error == HPE_OK) return {};
  if (error == HPE_PAUSED && head_complete) {
    if (llhttp_get_error_pos(&llhttp) == to) return {};
    return refuse({400, "malformed head"});
  }
  switch (error) {
    case HPE_USER:
      if (status == 431) return refuse({431, "too many fields, or a field name too long"});
      return refuse({400, "malformed field name"});
    case HPE_INVALID_CONTENT_LENGTH:
      return refuse({400, "malformed Content-Length"});
    case HPE_UNEXPECTED_CONTENT_LENGTH:
      return refuse({400, "several Content-Length fields, or one with Transfer-Encoding"});
    case HPE_INVALID_TRANSFER_ENCODING:
      return refuse({400, "Transfer-Encoding that does not end in chunked"});
    default:
      return refuse({400, "malformed field line"});
  }
}

RequestParser::Step RequestParser::State::finish_head() noexcept {
  Step step;
  step.event = Event::head;
  if (head->chunked) {
    chunks.start();
    phase = Phase::body_chunked;
  } else if (head->content_length > 0) {
    body_left = head->content_length;
    phase = Phase::body_length;
  } else {
    restart();
  }
  head = nullptr;
  return step;
}

RequestParser::Step RequestParser::State::read_length(std::span<const std::byte> input) noexcept {
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(body_left, input.size()));
  Step step;
  step.event = Event::body;
  step.used = size;
  step.body = input.first(size);
  body_left -= size;
  body_received += size;
  if (body_left == 0) phase = Phase::body_end;
  return step;
}

RequestParser::Step RequestParser::State::read_chunks(std::span<const std::byte> input) noexcept {
  const ChunkDecoder::Step chunk = chunks.decode(input, *limits, header_bytes, header_fields);
  Step step;
  step.used = chunk.used;
  switch (chunk.event) {
    case ChunkDecoder::Event::need_more:
      break;
    case ChunkDecoder::Event::data:
      step.event = Event::body;
      step.body = chunk.data;
      body_received += chunk.data.size();
      if (limits->body_bytes != 0 && body_received > limits->body_bytes) return refuse({413, "body over the limit"});
      break;
    case ChunkDecoder::Event::end:
      restart();
      step.event = Event::message_complete;
      break;
    case ChunkDecoder::Event::error:
      return refuse(chunk.refusal);
  }
  return step;
}

RequestParser::RequestParser(const Limits& limits) noexcept {
  static_assert(sizeof(State) <= kStateBytes && alignof(State) <= 8);
  State* made = ::new (storage_) State{};
  made->limits = &limits;
  reset();
}

void RequestParser::begin(RequestHead& head) noexcept {
  State& s = state();
  const std::uint8_t skipped = s.phase <= Phase::start_lf ? s.skipped : std::uint8_t{0};
  const Phase phase =
      s.phase == Phase::start_lf ? Phase::start_lf : Phase::start;  // a CR may have come, and its LF not yet
  s.restart();
  s.skipped = skipped;
  s.phase = phase;
  head.reset();
  s.head = &head;
}

RequestParser::Step RequestParser::parse(std::span<const std::byte> input) noexcept {
  State& s = state();
  switch (s.phase) {
    case Phase::body_length:
      return input.empty() ? Step{} : s.read_length(input);
    case Phase::body_chunked:
      return s.read_chunks(input);
    case Phase::body_end: {
      s.restart();
      Step step;
      step.event = Event::message_complete;
      return step;
    }
    case Phase::failed: {
      Step step;
      step.event = Event::error;
      step.status = s.status;
      step.reason = "the parser has failed before";
      return step;
    }
    default:
      break;
  }
  const char* const begin = reinterpret_cast<const char*>(input.data());
  const char* const end = begin + input.size();
  const char* p = begin;
  Step step;
  if (p != end && s.phase <= Phase::start_lf) step = s.scan_start(p, end);
  if (p != end && step.event != Event::error && s.phase <= Phase::request_line_lf && s.phase >= Phase::request_line)
    step = s.scan_request_line(p, end);
  if (p != end && step.event != Event::error && s.phase >= Phase::line_start) step = s.scan_fields(p, end);
  step.used = static_cast<std::size_t>(p - begin);
  return step;
}

bool RequestParser::at_start() const noexcept { return state().phase <= Phase::start_lf; }

bool RequestParser::is_fresh() const noexcept { return state().phase == Phase::start && state().skipped == 0; }

bool RequestParser::in_head() const noexcept {
  return state().phase >= Phase::request_line && state().phase <= Phase::head_lf;
}

bool RequestParser::in_body() const noexcept {
  return state().phase >= Phase::body_length && state().phase <= Phase::body_end;
}

std::uint64_t RequestParser::body_received() const noexcept { return state().body_received; }

void RequestParser::reset() noexcept { state().restart(); }

}  // namespace pyre::http
