#include "http/date_cache.h"

#include <chrono>

namespace pyre::http {
namespace {

void two_digits(char* out, unsigned value) noexcept {
  out[0] = static_cast<char>('0' + value / 10 % 10);
  out[1] = static_cast<char>('0' + value % 10);
}

}  // namespace

void DateCache::format(std::int64_t wall_second) noexcept {
  // Not strftime: its day and month names follow the locale, and Python programs do set one.
  namespace chrono = std::chrono;
  static constexpr std::string_view kDays = "SunMonTueWedThuFriSat";
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const chrono::sys_seconds now{chrono::seconds{wall_second}};
  const chrono::sys_days day = chrono::floor<chrono::days>(now);
  const chrono::year_month_day date{day};
  const chrono::hh_mm_ss<chrono::seconds> time{now - day};
  const auto year = static_cast<unsigned>(static_cast<int>(date.year()));

  char* const out = text_.data();
  std::string_view("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n").copy(out, text_.size());
  kDays.copy(out + 6, 3, chrono::weekday{day}.c_encoding() * 3U);
  two_digits(out + 11, static_cast<unsigned>(date.day()));
  kMonths.copy(out + 14, 3, (static_cast<unsigned>(date.month()) - 1U) * 3U);
  two_digits(out + 18, year / 100);
  two_digits(out + 20, year % 100);
  two_digits(out + 23, static_cast<unsigned>(time.hours().count()));
  two_digits(out + 26, static_cast<unsigned>(time.minutes().count()));
  two_digits(out + 29, static_cast<unsigned>(time.seconds().count()));
  second_ = wall_second;
}

}  // namespace pyre::http
