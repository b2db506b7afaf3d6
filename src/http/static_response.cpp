#include "http/static_response.h"

#include <array>
#include <charconv>
#include <string>

#include "http/accept_encoding.h"
#include "http/conditional.h"
#include "http/range.h"

namespace pyre::http {
namespace {

constexpr std::string_view kMethods = "GET, HEAD, OPTIONS";

std::span<const std::byte> bytes_of(std::string_view text) noexcept { return std::as_bytes(std::span(text)); }

// An answer of a few words. The head is begun.
void finish_with_text(Exchange& exchange) noexcept {
  ResponseHead& head = exchange.response_head();
  (void)head.add("content-type", "text/plain; charset=utf-8");
  const std::string_view text = reason_phrase(head.status());
  if (exchange.start() == Outcome::ok) (void)exchange.write(bytes_of(text), {}, true);
}

Outcome write_part(Exchange& exchange, StaticFile& file, ByteRange part, bool last) noexcept {
  const net::Borrowed owner = file.share();
  const Outcome outcome = file.in_memory()
                              ? exchange.write(bytes_of(file.body().substr(part.first, part.count)), owner, last)
                              : exchange.write_file(file.file(), part.first, part.count, owner, last);
  if (outcome != Outcome::ok) StaticFile::drop(&file);
  return outcome;
}

// "bytes 0-9/100", without an allocation: players ask for part after part.
class ContentRange {
 public:
  ContentRange(const ByteRange& part, std::uint64_t size) noexcept {
    add("bytes ");
    add(part.first);
    add("-");
    add(part.last());
    add("/");
    add(size);
  }
  [[nodiscard]] std::string_view text() const noexcept { return {text_.data(), used_}; }

 private:
  void add(std::string_view text) noexcept { used_ += text.copy(text_.data() + used_, text.size()); }
  void add(std::uint64_t number) noexcept {
    char* const end = text_.data() + text_.size();
    used_ = static_cast<std::size_t>(std::to_chars(text_.data() + used_, end, number).ptr - text_.data());
  }
  std::array<char, 8 + 3 * 20> text_;  // 2^64 has 20 digits
  std::size_t used_ = 0;
};

void send_one_part(Exchange& exchange, StaticFile& file, ByteRange part) noexcept {
  ResponseHead& head = exchange.response_head();
  head.start(206);
  (void)head.add_lines(file.lines());
  (void)head.add("content-range", ContentRange(part, file.size()).text());
  if (exchange.start() == Outcome::ok) (void)write_part(exchange, file, part, true);
}

// multipart/byteranges (RFC 9110 14.6). The boundary must not be in the file: whoever wrote that knows neither the
// entity tag's mixing nor the number of this answer.
void send_parts(Exchange& exchange, StaticFile& file, std::span<const ByteRange> parts, std::int64_t now) noexcept {
  thread_local std::uint32_t answers = 0;
  const std::string_view tag = file.etag();
  std::string boundary(tag.substr(1, tag.size() - 2));
  boundary.append(".").append(std::to_string(now)).append(".").append(std::to_string(++answers));
  std::string before;
  std::uint64_t total = 0;
  std::array<std::uint32_t, RangeSet::kMaxRanges> ends{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    before.append(i == 0 ? "--" : "\r\n--").append(boundary).append("\r\n").append(file.type_line());
    before.append("content-range: ").append(ContentRange(parts[i], file.size()).text()).append("\r\n\r\n");
    ends[i] = static_cast<std::uint32_t>(before.size());
    total += parts[i].count;
  }
  const std::string behind = "\r\n--" + boundary + "--\r\n";

  ResponseHead& head = exchange.response_head();
  head.start(206);
  (void)head.add("content-type", "multipart/byteranges; boundary=" + boundary);
  (void)head.add_lines(file.lines_without_type());
  (void)head.add("content-length", std::to_string(before.size() + total + behind.size()));
  if (exchange.start() != Outcome::ok) return;
  std::uint32_t at = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string_view text = std::string_view(before).substr(at, ends[i] - at);
    at = ends[i];
    if (exchange.write(bytes_of(text), {}, false) != Outcome::ok) return;
    if (write_part(exchange, file, parts[i], false) != Outcome::ok) return;
  }
  (void)exchange.write(bytes_of(behind), {}, true);
}

// What the request has that changes the answer, in one look at its fields: most have none of it.
struct Wishes {
  bool conditional = false;
  const HeaderField* range = nullptr;
  int ranges = 0;

  explicit Wishes(const RequestHead& request) noexcept {
    for (const HeaderField& field : request.fields) {
      switch (field.id) {
        case HeaderName::if_match:
        case HeaderName::if_none_match:
        case HeaderName::if_modified_since:
        case HeaderName::if_unmodified_since:
          conditional = true;
          break;
        case HeaderName::range:
          range = ranges++ == 0 ? &field : nullptr;  // two of them are as good as none
          break;
        default:
          break;
      }
    }
  }
};

}  // namespace

void send_static_file(Exchange& exchange, const FileSet& set, std::int64_t now) noexcept {
  const RequestHead& request = exchange.request();
  StaticFile& file = *set.variants[static_cast<std::size_t>(choose_coding(request, set.available()))];
  ResponseHead& head = exchange.response_head();
  const Validators current{file.etag(), file.modified(), now, (set.available() & (set.available() - 1)) == 0};
  const Wishes wishes(request);
  if (wishes.conditional) {
    const Precondition condition = check_preconditions(request, current);
    if (condition == Precondition::not_modified) {
      head.start(304);
      (void)head.add_lines(file.cache_lines());
      if (exchange.start() == Outcome::ok) (void)exchange.write({}, {}, true);
      return;
    }
    if (condition == Precondition::failed) {
      head.start(412);
      return finish_with_text(exchange);
    }
  }
  // RFC 9110 14.2: Range is for GET alone.
  if (wishes.range != nullptr && !request.is_head() && range_applies(request, current)) {
    RangeSet ranges;
    const RangeSet::Verdict verdict = ranges.parse(request.value(*wishes.range), file.size());
    if (verdict == RangeSet::Verdict::unsatisfiable) {
      head.start(416);
      (void)head.add("content-range", "bytes */" + std::to_string(file.size()));
      return finish_with_text(exchange);
    }
    if (verdict == RangeSet::Verdict::partial) {
      if (ranges.ranges().size() == 1) return send_one_part(exchange, file, ranges.ranges().front());
      return send_parts(exchange, file, ranges.ranges(), now);
    }
  }
  head.start(200);
  (void)head.add_lines(file.lines());
  if (exchange.start() == Outcome::ok) (void)write_part(exchange, file, {0, file.size()}, true);
}

void send_slash_redirect(Exchange& exchange) noexcept {
  const RequestHead& request = exchange.request();
  const std::string_view path = request.path();
  std::string location = "./";  // so that "a:b" is no scheme
  location.append(path.substr(path.rfind('/') + 1)).append("/");
  if (request.query_size != 0) location.append("?").append(request.query());
  ResponseHead& head = exchange.response_head();
  head.start(308);
  (void)head.add("location", location);
  finish_with_text(exchange);
}

void send_static_methods(Exchange& exchange) noexcept {
  ResponseHead& head = exchange.response_head();
  const bool asked = exchange.request().method() == "OPTIONS";
  head.start(asked ? 204 : 405);
  (void)head.add("allow", kMethods);
  if (!asked) return finish_with_text(exchange);
  if (exchange.start() == Outcome::ok) (void)exchange.write({}, {}, true);
}

}  // namespace pyre::http
