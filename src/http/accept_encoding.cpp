#include "http/accept_encoding.h"

#include <algorithm>
#include <array>

#include "http/characters.h"

namespace pyre::http {
namespace {

constexpr int kUnknown = -1;  // not named

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
  return std::equal(text.begin(), text.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return to_lower(a) == b; });
}

// ";q=0.5" in thousandths; without one, or with other parameters, 1000. A weight that is none refuses: who sends it can
// not rely on anything.
int parse_weight(std::string_view parameters) noexcept {
  while (!parameters.empty()) {
    parameters.remove_prefix(1);  // the semicolon
    const std::size_t end = std::min(parameters.find(';'), parameters.size());
    const std::string_view parameter = trimmed(parameters.substr(0, end));
    parameters.remove_prefix(end);
    if (parameter.size() < 2 || to_lower(parameter[0]) != 'q' || parameter[1] != '=') continue;
    const std::string_view text = parameter.substr(2);
    if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return 0;
    if (text.size() > 1 && text[1] != '.') return 0;
    int weight = (text[0] - '0') * 1000;
    int unit = 100;
    for (std::size_t i = 2; i < text.size(); ++i, unit /= 10) {
      if (!is_digit(text[i])) return 0;
      weight += (text[i] - '0') * unit;
    }
    return std::min(weight, 1000);
  }
  return 1000;
}

struct Weights {
  std::array<int, kCodings> of{kUnknown, kUnknown, kUnknown, kUnknown};
  int others = kUnknown;  // "*"

  void read(std::string_view list) noexcept {
    while (true) {
      const std::size_t comma = list.find(',');
      const std::string_view element = trimmed(list.substr(0, comma));
      const std::size_t semicolon = std::min(element.find(';'), element.size());
      set(trimmed(element.substr(0, semicolon)), parse_weight(element.substr(semicolon)));
      if (comma == std::string_view::npos) return;
      list.remove_prefix(comma + 1);
    }
  }
  void set(std::string_view name, int weight) noexcept {
    if (name == "*") {
      others = weight;
    } else if (equals_ignoring_case(name, "x-gzip")) {  // RFC 9110 8.4.1.3
      of[static_cast<std::size_t>(Coding::gzip)] = weight;
    } else {
      for (std::size_t i = 0; i < kCodings; ++i)
        if (equals_ignoring_case(name, text_of(static_cast<Coding>(i)))) of[i] = weight;
    }
  }
};

}  // namespace

std::string_view text_of(Coding coding) noexcept {
  static constexpr std::array<std::string_view, kCodings> kNames = {"identity", "gzip", "zstd", "br"};
  return kNames[static_cast<std::size_t>(coding)];
}

Coding coding_of(std::string_view text) noexcept {
  for (const Coding coding : {Coding::gzip, Coding::zstd, Coding::br})
    if (text == text_of(coding)) return coding;
  return Coding::identity;
}

Coding choose_coding(const RequestHead& request, std::span<const Coding> order) noexcept {
  if (order.empty()) return Coding::identity;
  Weights weights;
  for (const HeaderField& field : request.fields)
    if (field.id == HeaderName::accept_encoding) weights.read(request.value(field));
  Coding best = Coding::identity;
  // Unless it is named, identity is allowed, but less wanted than all that is named.
  int best_weight = std::max(weights.of[0], 0);
  for (const Coding coding : order) {
    const int named = weights.of[static_cast<std::size_t>(coding)];
    const int weight = named != kUnknown ? named : std::max(weights.others, 0);
    // As much as identity is enough, for the first.
    if (weight == 0 || weight < best_weight || (weight == best_weight && best != Coding::identity)) continue;
    best = coding;
    best_weight = weight;
  }
  return best;
}

Coding choose_coding(const RequestHead& request, unsigned available) noexcept {
  std::array<Coding, kCodings> order{};
  std::size_t count = 0;
  for (const Coding coding : {Coding::br, Coding::zstd, Coding::gzip})
    if ((available & (1U << static_cast<unsigned>(coding))) != 0) order[count++] = coding;
  return choose_coding(request, std::span(order).first(count));
}

}  // namespace pyre::http
