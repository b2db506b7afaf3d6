#include "platform/memory.h"

#include <cstdlib>

#if defined(PYRE_HAVE_MIMALLOC)
#include <mimalloc.h>
#elif defined(__GLIBC__)
#include <malloc.h>
#endif

namespace pyre::platform {

#if defined(PYRE_HAVE_MIMALLOC)

// mi_malloc aligns to 16 bytes for every size above 8; what is smaller has no member that would need more.
void* allocate(std::size_t size) noexcept { return mi_malloc(size); }
void deallocate(void* memory) noexcept { mi_free(memory); }
const char* allocator_name() noexcept { return "mimalloc"; }
void collect_memory(bool force) noexcept { mi_collect(force); }

#else

void* allocate(std::size_t size) noexcept { return std::malloc(size); }
void deallocate(void* memory) noexcept { std::free(memory); }
const char* allocator_name() noexcept { return "malloc"; }

void collect_memory(bool force) noexcept {
#if defined(__GLIBC__)
  // Trimming walks every arena (milliseconds in a large process), so only on demand.
  if (force) {
    malloc_trim(0);
  }
#else
  static_cast<void>(force);
#endif
}

#endif

}  // namespace pyre::platform
