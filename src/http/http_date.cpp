#include "http/http_date.h"

#include <chrono>

#include "http/characters.h"

namespace pyre::http {
namespace {

namespace chrono = std::chrono;

constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
constexpr std::string_view kLongDays[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";

void two_digits(char* out, unsigned value) noexcept {
  out[0] = static_cast<char>('0' + value / 10 % 10);
  out[1] = static_cast<char>('0' + value % 10);
}

// Takes a date apart from its beginning; once something does not fit, nothing does any more.
class Scanner {
 public:
  explicit Scanner(std::string_view text) noexcept : text_(text) {}
  [[nodiscard]] bool ok() const noexcept { return ok_; }
  [[nodiscard]] bool at_end() const noexcept { return ok_ && text_.empty(); }
  void skip(std::string_view expected) noexcept {
    if (ok_ && text_.starts_with(expected))
      text_.remove_prefix(expected.size());
    else
      ok_ = false;
  }
  unsigned number(std::size_t digits) noexcept {
    unsigned value = 0;
    if (text_.size() < digits) ok_ = false;
    for (std::size_t i = 0; ok_ && i < digits; ++i) {
      if (!is_digit(text_[i])) ok_ = false;
      value = value * 10 + static_cast<unsigned>(text_[i] - '0');
    }
    if (ok_) text_.remove_prefix(digits);
    return value;
  }
  // " 6" or "16", as asctime() has it.
  unsigned padded_day() noexcept {
    if (!text_.starts_with(' ')) return number(2);
    text_.remove_prefix(1);
    return number(1);
  }
  // The place of the next three letters in `names`.
  unsigned name(std::string_view names) noexcept {
    if (text_.size() < 3) ok_ = false;
    for (std::size_t i = 0; ok_ && i < names.size(); i += 3) {
      if (text_.substr(0, 3) != names.substr(i, 3)) continue;
      text_.remove_prefix(3);
      return static_cast<unsigned>(i / 3);
    }
    ok_ = false;
    return 0;
  }

 private:
  std::string_view text_;
  bool ok_ = true;
};

struct Parts {
  int year = 0;
  unsigned month = 0;  // 1..12
  unsigned day = 0;
  unsigned hour = 0;
  unsigned minute = 0;
  unsigned second = 0;
};

void scan_time(Scanner& scan, Parts& parts) noexcept {
  parts.hour = scan.number(2);
  scan.skip(":");
  parts.minute = scan.number(2);
  scan.skip(":");
  parts.second = scan.number(2);
}

std::optional<std::int64_t> seconds_of(const Parts& parts) noexcept {
  const chrono::year_month_day date{chrono::year{parts.year}, chrono::month{parts.month}, chrono::day{parts.day}};
  if (!date.ok() || parts.hour > 23 || parts.minute > 59 || parts.second > 60) return std::nullopt;
  const std::int64_t days = chrono::sys_days{date}.time_since_epoch().count();
  return ((days * 24 + parts.hour) * 60 + parts.minute) * 60 + parts.second;
}

std::optional<std::int64_t> parse_imf(std::string_view text) noexcept {
  Parts parts;
  Scanner scan(text);
  scan.name(kDays);
  scan.skip(", ");
  parts.day = scan.number(2);
  scan.skip(" ");
  parts.month = scan.name(kMonths) + 1;
  scan.skip(" ");
  parts.year = static_cast<int>(scan.number(4));
  scan.skip(" ");
  scan_time(scan, parts);
  scan.skip(" GMT");
  return scan.at_end() ? seconds_of(parts) : std::nullopt;
}

std::optional<std::int64_t> parse_asctime(std::string_view text) noexcept {
  Parts parts;
  Scanner scan(text);
  scan.name(kDays);
  scan.skip(" ");
  parts.month = scan.name(kMonths) + 1;
  scan.skip(" ");
  parts.day = scan.padded_day();
  scan.skip(" ");
  scan_time(scan, parts);
  scan.skip(" ");
  parts.year = static_cast<int>(scan.number(4));
  return scan.at_end() ? seconds_of(parts) : std::nullopt;
}

std::optional<std::int64_t> parse_rfc850(std::string_view text, std::int64_t now) noexcept {
  const std::size_t comma = text.find(',');
  bool known = false;
  for (const std::string_view day : kLongDays) known = known || text.substr(0, comma) == day;
  if (comma == std::string_view::npos || !known) return std::nullopt;
  Parts parts;
  Scanner scan(text.substr(comma));
  scan.skip(", ");
  parts.day = scan.number(2);
  scan.skip("-");
  parts.month = scan.name(kMonths) + 1;
  scan.skip("-");
  const auto short_year = static_cast<int>(scan.number(2));
  scan.skip(" ");
  scan_time(scan, parts);
  scan.skip(" GMT");
  if (!scan.at_end()) return std::nullopt;
  const chrono::year_month_day today{chrono::floor<chrono::days>(chrono::sys_seconds{chrono::seconds{now}})};
  const int this_year = static_cast<int>(today.year());
  parts.year = this_year / 100 * 100 + short_year;
  if (parts.year > this_year + 50) parts.year -= 100;
  return seconds_of(parts);
}

}  // namespace

void format_http_date(std::int64_t seconds, std::array<char, kHttpDateSize>& text) noexcept {
  // Not strftime: its day and month names follow the locale, and Python programs do set one.
  const chrono::sys_seconds when{chrono::seconds{seconds}};
  const chrono::sys_days day = chrono::floor<chrono::days>(when);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss<chrono::seconds> time{when - day};
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));

  char* const out = text.data();
  std::string_view("Sun, 06 Nov 1994 08:49:37 GMT").copy(out, text.size());
  kDays.copy(out, 3, chrono::weekday{day}.c_encoding() * 3U);
  two_digits(out + 5, static_cast<unsigned>(date.day()));
  kMonths.copy(out + 8, 3, (static_cast<unsigned>(date.month()) - 1U) * 3U);
  two_digits(out + 12, year / 100);
  two_digits(out + 14, year % 100);
  two_digits(out + 17, static_cast<unsigned>(time.hours().count()));
  two_digits(out + 20, static_cast<unsigned>(time.minutes().count()));
  two_digits(out + 23, static_cast<unsigned>(time.seconds().count()));
}

std::optional<std::int64_t> parse_http_date(std::string_view text, std::int64_t now) noexcept {
  if (text.size() < 24) return std::nullopt;  // asctime's length, the shortest
  if (text[3] == ',') return parse_imf(text);
  return text[3] == ' ' ? parse_asctime(text) : parse_rfc850(text, now);
}

}  // namespace pyre::http
