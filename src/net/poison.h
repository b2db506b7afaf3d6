// Idle pool memory, marked unusable in AddressSanitizer builds: a read through a lease or a piece that was given back
// is then reported like a use after free, which pooling would hide. Nothing at all in other builds.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PYRE_POISON_POOLS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(PYRE_POISON_POOLS)
#define PYRE_POISON_POOLS 1
#endif

#ifdef PYRE_POISON_POOLS
#include <sanitizer/asan_interface.h>
#endif

namespace pyre::net {

inline void poison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) noexcept {
#ifdef PYRE_POISON_POOLS
  __asan_poison_memory_region(memory, size);
#endif
}

inline void unpoison([[maybe_unused]] void* memory, [[maybe_unused]] std::size_t size) noexcept {
#ifdef PYRE_POISON_POOLS
  __asan_unpoison_memory_region(memory, size);
#endif
}

}  // namespace pyre::net
