// Accept-Encoding (RFC 9110 12.5.3): which of the codings that we have a client would like best.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "http/request_head.h"

namespace pyre::http {

// In the order of our own preference, the best last: gzip is larger than zstd, and that than br, for text that was
// compressed beforehand.
enum class Coding : std::uint8_t { identity, gzip, zstd, br };
inline constexpr std::size_t kCodings = 4;

// "br"; "identity" for identity.
[[nodiscard]] std::string_view text_of(Coding coding) noexcept;
// identity if it is none of ours.
[[nodiscard]] Coding coding_of(std::string_view text) noexcept;

// Of those in `order`, and of those that a client likes as much the first. A client that refuses all of them gets
// identity, which it may make what it likes of, rather than 406.
[[nodiscard]] Coding choose_coding(const RequestHead& request, std::span<const Coding> order) noexcept;
// `available` has bit (1 << coding) set for each coding there is; identity always is. The best first.
[[nodiscard]] Coding choose_coding(const RequestHead& request, unsigned available) noexcept;

}  // namespace pyre::http
