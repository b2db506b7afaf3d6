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
  if(NOT MSVC)
    target_compile_options(${target} PRIVATE -UZLIB_DEBUG)  # traces, which its Debug builds have
  endif()
  target_link_libraries(pyre_compression INTERFACE ${target})
endfunction()

function(pyre_build_brotli source_dir)
  file(GLOB sources CONFIGURE_DEPENDS "${source_dir}/c/common/*.c" "${source_dir}/c/enc/*.c")
  add_library(pyre_brotli STATIC ${sources})
  target_include_directories(pyre_brotli PUBLIC "${source_dir}/c/include")
  pyre_third_party(pyre_brotli)
  target_link_libraries(pyre_compression INTERFACE pyre_brotli)
endfunction()

# Either upstream's lib folder, or its release as one file (zstd_compress.c: the part of it that compresses).
function(pyre_build_zstd source_dir)
  if(EXISTS "${source_dir}/lib/zstd.h")
    file(GLOB sources CONFIGURE_DEPENDS "${source_dir}/lib/common/*.c" "${source_dir}/lib/compress/*.c")
    set(include_dir "${source_dir}/lib")
  elseif(EXISTS "${source_dir}/zstd_compress.c")
    set(sources "${source_dir}/zstd_compress.c")
    set(include_dir "${source_dir}")
  else()
    set(sources "${source_dir}/zstd.c")
    set(include_dir "${source_dir}")
  endif()
  add_library(pyre_zstd STATIC ${sources})
  target_include_directories(pyre_zstd PUBLIC "${include_dir}")
  # Levels 13 and up search by way of binary trees: 10 times slower than level 9 for a twentieth less. Without them
  # those levels do what 12 does.
  target_compile_definitions(pyre_zstd
    PRIVATE ZSTD_DISABLE_ASM=1 ZSTD_EXCLUDE_BTLAZY2_BLOCK_COMPRESSOR ZSTD_EXCLUDE_BTOPT_BLOCK_COMPRESSOR
      ZSTD_EXCLUDE_BTULTRA_BLOCK_COMPRESSOR
    PUBLIC ZSTDLIB_VISIBLE= ZSTDERRORLIB_VISIBLE=)
  pyre_third_party(pyre_zstd)
  target_link_libraries(pyre_compression INTERFACE pyre_zstd)
endfunction()

function(pyre_find_compression)
  if(PYRE_COMPRESSION STREQUAL "OFF")
    return()
  endif()
  if(FETCHCONTENT_SOURCE_DIR_ZLIBNG AND FETCHCONTENT_SOURCE_DIR_BROTLI AND FETCHCONTENT_SOURCE_DIR_ZSTD)
    pyre_build_zlib_ng()
    pyre_build_brotli("${FETCHCONTENT_SOURCE_DIR_BROTLI}")
    pyre_build_zstd("${FETCHCONTENT_SOURCE_DIR_ZSTD}")
    set(PYRE_COMPRESSION_FROM "sources in ${FETCHCONTENT_SOURCE_DIR_ZLIBNG} and beside it" PARENT_SCOPE)
    return()
  endif()
  find_package(zlib-ng 2.1 CONFIG QUIET)
  find_package(unofficial-brotli CONFIG QUIET)  # vcpkg's; upstream has none before 1.2
  find_package(brotli CONFIG QUIET)
  find_package(zstd 1.5 CONFIG QUIET)
  pyre_first_target(zlib_ng zlib-ng::zlib-ng-static zlib-ng::zlibstatic zlib-ng::zlib-ng zlib-ng::zlib)
  pyre_first_target(brotli unofficial::brotli::brotlienc brotli::brotlienc)
  pyre_first_target(zstd zstd::libzstd_static zstd::libzstd zstd::libzstd_shared)
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
