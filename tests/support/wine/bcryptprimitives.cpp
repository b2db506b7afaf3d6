// bcryptprimitives.dll for Wine 8, which has none. Programs in Rust (pydantic-core, watchfiles, granian) take their
// random numbers from its one documented function. ./scripts/setup windows builds it into the Wine prefix, for tests.
#include <windows.h>
// Keep this order.
#include <ntsecapi.h>

extern "C" __declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char* into, SIZE_T size) {
  while (size > 0) {
    const ULONG part = size > 0x10000 ? 0x10000 : static_cast<ULONG>(size);
    if (!::RtlGenRandom(into, part)) return FALSE;
    into += part;
    size -= part;
  }
  return TRUE;
}
