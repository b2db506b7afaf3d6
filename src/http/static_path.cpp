#include "http/static_path.h"

#include <algorithm>

#include "http/characters.h"

namespace pyre::http {
namespace {

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return to_lower(a) == b; });
}

// CON, and CON.txt as well: Windows looks at what stands before the first dot. The superscript digits are digits to it.
bool is_device(std::string_view segment) noexcept {
  static constexpr std::string_view kDevices[] = {"con", "prn", "aux", "nul", "conin$", "conout$"};
  std::string_view stem = segment.substr(0, segment.find('.'));
  while (!stem.empty() && stem.back() == ' ') stem.remove_suffix(1);
  if (std::any_of(std::begin(kDevices), std::end(kDevices),
                  [stem](std::string_view device) { return equals_ignoring_case(stem, device); }))
    return true;
  if (stem.size() < 4) return false;
  const std::string_view kind = stem.substr(0, 3);
  if (!equals_ignoring_case(kind, "com") && !equals_ignoring_case(kind, "lpt")) return false;
  const std::string_view digit = stem.substr(3);
  return (digit.size() == 1 && is_digit(digit[0])) || digit == "\xc2\xb9" || digit == "\xc2\xb2" || digit == "\xc2\xb3";
}

bool is_windows_segment(std::string_view segment) noexcept {
  constexpr std::string_view kNever = "\\:*?\"<>|";
  if (segment.back() == '.' || segment.back() == ' ') return false;
  for (const char c : segment)
    if (is_control(c) || kNever.find(c) != std::string_view::npos) return false;
  return !is_device(segment);
}

}  // namespace

void decode_path(std::string_view raw, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] == '%' && i + 2 < raw.size()) {
      const int high = hex_value(raw[i + 1]);
      const int low = hex_value(raw[i + 2]);
      if (high >= 0 && low >= 0) {
        out.push_back(static_cast<char>(high * 16 + low));
        i += 2;
        continue;
      }
    }
    out.push_back(raw[i]);
  }
}

StaticName split_static_name(std::string_view rest) noexcept {
  StaticName split;
  if (!rest.empty() && rest.front() == '/') {
    rest.remove_prefix(1);
    split.folder = rest.empty();
  }
  if (!rest.empty() && rest.back() == '/') {
    rest.remove_suffix(1);
    split.folder = true;
    // "//" alone: the segment between the two is empty, and the name must not look as if it were the directory.
    if (rest.empty()) rest = "/";
  }
  split.name = rest;
  return split;
}

bool is_servable(std::string_view name, bool windows) noexcept {
  if (name.empty()) return true;
  if (name.size() > kMaxStaticName || name.find('\0') != std::string_view::npos) return false;
  while (true) {
    const std::size_t slash = name.find('/');
    const std::string_view segment = name.substr(0, slash);
    if (segment.empty() || segment.front() == '.') return false;
    if (windows && !is_windows_segment(segment)) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

}  // namespace pyre::http
