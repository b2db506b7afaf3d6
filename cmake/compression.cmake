# zlib-ng, brotli and zstd: for the content codings of src/http. -> pyre_compression, one interface target for all
# three, always there; PYRE_HAVE_COMPRESSION says whether there is something in it. All three or none: what --compress
# offers does not depend on what a machine happens to have.
# Only what compresses is built, to be linked into the module; nobody in here decompresses.
include(third_party)

pyre_source_folder(zlib-ng CMakeLists.txt)
pyre_source_folder(brotli c/include/brotli/encode.h)
pyre_source_folder(zstd zstd.h)

# pyre_first_target(<variable> <target>...): the first that exists. The names differ by version and by packager.
function(pyre_first_target result)
  set(${result} "" PARENT_SCOPE)
  foreach(target IN LISTS ARGN)
    if(TARGET ${target})
      set(${result} ${target} PARENT_SCOPE)
      return()
    endif()
  endforeach()
endfunction()

# The native API (zng_), so that it meets neither CPython's zlib nor anybody else's. The processor is asked at run time:
# a wheel runs on every x86-64, and is as fast as each allows.
function(pyre_build_zlib_ng)
  pyre_third_party_flags()
  pyre_ccache_by_relative_paths()
  set(BUILD_SHARED_LIBS OFF)
  set(ZLIB_COMPAT OFF)
  set(WITH_GTEST OFF)
  set(WITH_FUZZERS OFF)
  set(WITH_BENCHMARKS OFF)
  set(WITH_BENCHMARK_APPS OFF)
  set(ZLIB_ENABLE_TESTS OFF)
  set(ZLIBNG_ENABLE_TESTS OFF)
  set(WITH_GZFILEOP OFF)
  set(WITH_NATIVE_INSTRUCTIONS OFF)
  set(WITH_RUNTIME_CPU_DETECTION ON)
  set(WITH_AVX512 OFF)  # only for checksums, which are a hundredth of the work: not worth clocking a core down
  set(WITH_SANITIZER OFF)  # options.cmake has said it
  set(SKIP_INSTALL_ALL ON)
  # What its two dozen test programs would find, for every compiler that can build Pyre: five seconds less for each
  # fresh build folder.
  if(CMAKE_C_COMPILER_ID MATCHES "GNU|Clang" AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    foreach(known FNO_LTO_AVAILABLE HAVE_FSEEKO HAVE_STRERROR HAVE_NO_INTERPOSITION HAVE_ATTRIBUTE_ALIGNED
        HAVE_BUILTIN_ASSUME_ALIGNED HAVE_BUILTIN_CTZ HAVE_BUILTIN_CTZLL HAVE_PTRDIFF_T HAVE_XSAVE_INTRIN
        HAVE_SSE2_INTRIN HAVE_SSSE3_INTRIN HAVE_SSE42_INTRIN HAVE_PCLMULQDQ_INTRIN HAVE_AVX2_INTRIN)
      set(${known} ON CACHE INTERNAL "")
    endforeach()
  endif()
  set(CMAKE_MESSAGE_LOG_LEVEL WARNING)  # a hundred lines, none of them ours
  FetchContent_Declare(zlibng)
  FetchContent_MakeAvailable(zlibng)
  set_property(DIRECTORY "${zlibng_SOURCE_DIR}" PROPERTY EXCLUDE_FROM_ALL ON)
  pyre_first_target(target zlib-ng zlib)  # it was called zlib until 2.2
  pyre_third_party(${target})
  get_target_property(options ${target} COMPILE_OPTIONS)
  list(REMOVE_ITEM options "$<$<CONFIG:Debug>:-DZLIB_DEBUG>")  # traces
  set_property(TARGET ${target} PROPERTY COMPILE_OPTIONS "${options}")
  target_link_libraries(pyre_compression INTERFACE ${target})
endfunction()

function(pyre_build_brotli_and_zstd)
  pyre_third_party_flags()
  set(PYRE_BROTLI_SOURCES "${FETCHCONTENT_SOURCE_DIR_BROTLI}")
  set(PYRE_ZSTD_SOURCES "${FETCHCONTENT_SOURCE_DIR_ZSTD}")
  add_subdirectory("${PROJECT_SOURCE_DIR}/cmake/compression" "${PROJECT_BINARY_DIR}/_deps/compression" EXCLUDE_FROM_ALL)
  target_link_libraries(pyre_compression INTERFACE pyre_brotli pyre_zstd)
endfunction()

function(pyre_find_compression)
  if(PYRE_COMPRESSION STREQUAL "OFF")
    return()
  endif()
  if(FETCHCONTENT_SOURCE_DIR_ZLIBNG AND FETCHCONTENT_SOURCE_DIR_BROTLI AND FETCHCONTENT_SOURCE_DIR_ZSTD)
    pyre_build_zlib_ng()
    pyre_build_brotli_and_zstd()
    set(PYRE_COMPRESSION_FROM "sources in ${FETCHCONTENT_SOURCE_DIR_ZLIBNG} and beside it" PARENT_SCOPE)
    return()
  endif()
  find_package(zlib-ng 2.1 CONFIG QUIET)
  find_package(unofficial-brotli CONFIG QUIET)  # vcpkg's; upstream has none before 1.2
  find_package(brotli CONFIG QUIET)
  find_package(zstd 1.5 CONFIG QUIET)
  # A distribution's static libraries are rarely made to be linked into a module, so shared ones come first, except on
  # Windows, where they come from vcpkg and would have to be shipped along.
  set(zlib_ng_names zlib-ng::zlib zlib-ng::zlib-ng zlib-ng::zlibstatic zlib-ng::zlib-ng-static)
  set(zstd_names zstd::libzstd_shared zstd::libzstd zstd::libzstd_static)
  if(WIN32)
    list(REVERSE zlib_ng_names)
    list(REVERSE zstd_names)
  endif()
  pyre_first_target(zlib_ng ${zlib_ng_names})
  pyre_first_target(brotli unofficial::brotli::brotlienc brotli::brotlienc)
  pyre_first_target(zstd ${zstd_names})
  if(zlib_ng AND brotli AND zstd)
    target_link_libraries(pyre_compression INTERFACE ${zlib_ng} ${brotli} ${zstd})
    set(PYRE_COMPRESSION_FROM "installed packages: ${zlib_ng}, ${brotli}, ${zstd}" PARENT_SCOPE)
  endif()
endfunction()

add_library(pyre_compression INTERFACE)
set(PYRE_COMPRESSION_FROM "")
pyre_find_compression()
if(PYRE_COMPRESSION_FROM)
  target_compile_definitions(pyre_compression INTERFACE PYRE_HAVE_COMPRESSION=1)
  message(STATUS "pyre: compression (${PYRE_COMPRESSION_FROM})")
elseif(PYRE_COMPRESSION STREQUAL "ON")
  message(FATAL_ERROR "pyre: PYRE_COMPRESSION=ON, but zlib-ng, brotli and zstd are not all there: ./scripts/setup "
    "fetches their sources, or pass -DFETCHCONTENT_SOURCE_DIR_ZLIBNG=, _BROTLI= and _ZSTD=<source folder>")
else()
  message(STATUS "pyre: no compression (PYRE_COMPRESSION=${PYRE_COMPRESSION})")
endif()
