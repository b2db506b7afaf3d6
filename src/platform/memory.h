// The allocator of the native core: mimalloc where it is built in, malloc else. Explicit, never an override of malloc:
// Python and other extensions keep theirs. Memory from here goes back here.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace pyre::platform {

[[nodiscard]] void* allocate(std::size_t size) noexcept;  // nullptr when out of memory; 16-byte aligned
void deallocate(void* memory) noexcept;                   // nullptr is fine
[[nodiscard]] const char* allocator_name() noexcept;      // "mimalloc" or "malloc"
void collect_memory(bool force) noexcept;                 // gives unused pages back to the system

// new/delete on that allocator, for long-lived native objects. Null when out of memory.
template <typename T, typename... Args>
[[nodiscard]] T* create(Args&&... args) noexcept {
  void* memory = allocate(sizeof(T));
  return memory == nullptr ? nullptr : ::new (memory) T(std::forward<Args>(args)...);
}
template <typename T>
void destroy(T* object) noexcept {
  if (object != nullptr) {
    object->~T();
    deallocate(object);
  }
}

}  // namespace pyre::platform
