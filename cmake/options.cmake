# pyre_options: the compiler flags of every target that is ours, as one interface target. Third-party code is built
# without it.
include(CheckCXXCompilerFlag)
include(CheckIPOSupported)

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
# Everything ends up in one extension module, so the static libraries in between need it too (third-party ones as well).
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# The reactor and the parser are hot enough for -O3 to show (CMake's default for Release is -O3, too; said here so
# that it stays).
if(NOT MSVC)
  set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")
  set(CMAKE_C_FLAGS_RELEASE "-O3 -DNDEBUG")
endif()

find_program(PYRE_CCACHE ccache)
mark_as_advanced(PYRE_CCACHE)
foreach(lang C CXX)
  if(PYRE_CCACHE AND NOT CMAKE_${lang}_COMPILER_LAUNCHER)
    set(CMAKE_${lang}_COMPILER_LAUNCHER "${PYRE_CCACHE}")
  endif()
endforeach()

find_package(Threads REQUIRED)

add_library(pyre_options INTERFACE)
target_include_directories(pyre_options INTERFACE "${PROJECT_SOURCE_DIR}/src")
target_compile_features(pyre_options INTERFACE cxx_std_20)
target_link_libraries(pyre_options INTERFACE Threads::Threads)

if(WIN32)
  # Windows 10 is the oldest that is served; windows.h must neither define min() and max() nor bring in winsock.h.
  target_compile_definitions(pyre_options INTERFACE _WIN32_WINNT=0x0A00 NOMINMAX WIN32_LEAN_AND_MEAN)
endif()
if(MSVC)
  target_compile_options(pyre_options INTERFACE /W4 /permissive- /utf-8 /Zc:__cplusplus $<$<BOOL:${PYRE_WERROR}>:/WX>)
else()
  target_compile_options(pyre_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor -Wold-style-cast -Wundef
    -fvisibility=hidden -fno-plt)
  # RecvOp{...} and friends leave members to their default initialisers on purpose; -Wextra would ask for every one of
  # them.
  target_compile_options(pyre_options INTERFACE -Wno-missing-field-initializers)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # False alarms at -O3 inside libstdc++'s own operator+ for strings (gcc bug 105651, mended in 13).
    target_compile_options(pyre_options INTERFACE -Wno-restrict)
  endif()
  if(PYRE_WERROR)
    target_compile_options(pyre_options INTERFACE -Werror)
  endif()
  # Nobody may interpose a symbol of the extension, so calls inside it can be direct and inlined.
  check_cxx_compiler_flag(-fno-semantic-interposition PYRE_HAVE_NO_SEMANTIC_INTERPOSITION)
  if(PYRE_HAVE_NO_SEMANTIC_INTERPOSITION)
    target_compile_options(pyre_options INTERFACE $<$<CONFIG:Release>:-fno-semantic-interposition>)
  endif()
  # Bounds checks of operator[], span, string_view and optional: what a debug or sanitizer run is for.
  target_compile_definitions(pyre_options INTERFACE $<$<NOT:$<CONFIG:Release>>:_GLIBCXX_ASSERTIONS>)
endif()

if(PYRE_SANITIZE)
  # For everything in the build, third-party sources included: TSan reports races on the uninstrumented half of a
  # handshake.
  add_compile_options(-fsanitize=${PYRE_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${PYRE_SANITIZE})
  if(PYRE_SANITIZE MATCHES "undefined")
    # UBSan only prints by default; a test must fail.
    # vptr: it asks the kernel whether memory is readable, through a pipe, and the test that has no descriptor left
    # would fail.
    add_compile_options(-fno-sanitize-recover=undefined -fno-sanitize=vptr)
  endif()
endif()

if(PYRE_LTO AND CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT PYRE_SANITIZE)
  check_ipo_supported(RESULT PYRE_HAVE_IPO OUTPUT ipo_output LANGUAGES C CXX)
  if(PYRE_HAVE_IPO)
    set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
    if(NOT PYRE_IS_WHEEL AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # Objects with machine code beside the LTO form, so that a test program can be linked without optimising
      # everything once more (testing.cmake says -fno-lto): only the extension module is worth that.
      foreach(lang C CXX)
        string(REPLACE "-fno-fat-lto-objects" "-ffat-lto-objects"
          CMAKE_${lang}_COMPILE_OPTIONS_IPO "${CMAKE_${lang}_COMPILE_OPTIONS_IPO}")
      endforeach()
    endif()
  else()
    message(STATUS "pyre: no link-time optimisation: ${ipo_output}")
  endif()
endif()
