# Third-party libraries: the system's or the package manager's first, else the upstream release, checked against its
# SHA-256. Each one can be replaced by a local source folder with -DFETCHCONTENT_SOURCE_DIR_<NAME>=<path> (LLHTTP,
# MIMALLOC, GOOGLETEST, ONETBB, PYBIND11, ZLIBNG, BROTLI, ZSTD), which comes before everything else; nothing is ever
# copied into this repository.
include(FetchContent)

# Sub-projects with an old cmake_minimum_required honour our normal variables (CMP0077), link-time optimisation
# (CMP0069), hidden symbols in static libraries (CMP0063) and MSVC's runtime (CMP0091).
set(CMAKE_POLICY_DEFAULT_CMP0063 NEW)
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
set(CMAKE_POLICY_DEFAULT_CMP0091 NEW)
set(CMAKE_POLICY_DEFAULT_CMP0069 NEW)
set(FETCHCONTENT_QUIET ON)

include(third_party)

pyre_source_folder(mimalloc CMakeLists.txt)

# --- llhttp: the HTTP/1.1 tokenizer; src/http/request_parser.cpp is its only user. -> llhttp::llhttp ------------------
# Its three C files are compiled here wherever they can be had as source: then they get our optimisation flags and LTO.
FetchContent_Declare(llhttp
  URL https://github.com/nodejs/llhttp/archive/refs/tags/release/v9.2.1.tar.gz
  URL_HASH SHA256=3c163891446e529604b590f9ad097b2e98b5ef7e4d3ddcf1cf98b62ca668f23e
  DOWNLOAD_EXTRACT_TIMESTAMP OFF
  SOURCE_SUBDIR only-the-sources-are-wanted)

function(pyre_build_llhttp source_dir include_dir)
  add_library(pyre_llhttp STATIC "${source_dir}/api.c" "${source_dir}/http.c" "${source_dir}/llhttp.c")
  target_include_directories(pyre_llhttp SYSTEM PUBLIC "${include_dir}")
  add_library(llhttp::llhttp ALIAS pyre_llhttp)
endfunction()

if(NOT FETCHCONTENT_SOURCE_DIR_LLHTTP)
  find_package(llhttp 8.1 CONFIG QUIET)
endif()
if(TARGET llhttp::llhttp)
  message(STATUS "pyre: llhttp ${llhttp_VERSION} (installed package)")
elseif(TARGET llhttp::llhttp_static)
  add_library(llhttp::llhttp ALIAS llhttp::llhttp_static)
  message(STATUS "pyre: llhttp ${llhttp_VERSION} (installed package, static)")
else()
  # Debian 12 has no libllhttp-dev; its node-llhttp carries the generated C sources.
  find_path(PYRE_LLHTTP_SOURCES llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
  find_path(PYRE_LLHTTP_INCLUDE llhttp.h
    PATHS /usr/share/include/llhttp NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)
  mark_as_advanced(PYRE_LLHTTP_SOURCES PYRE_LLHTTP_INCLUDE)
  if(PYRE_LLHTTP_SOURCES AND PYRE_LLHTTP_INCLUDE AND NOT FETCHCONTENT_SOURCE_DIR_LLHTTP)
    pyre_build_llhttp("${PYRE_LLHTTP_SOURCES}" "${PYRE_LLHTTP_INCLUDE}")
    message(STATUS "pyre: llhttp (sources in ${PYRE_LLHTTP_SOURCES})")
  else()
    FetchContent_MakeAvailable(llhttp)
    pyre_build_llhttp("${llhttp_SOURCE_DIR}/src" "${llhttp_SOURCE_DIR}/include")
    message(STATUS "pyre: llhttp (sources in ${llhttp_SOURCE_DIR})")
  endif()
endif()

# --- mimalloc: the allocator of src/platform/memory.cpp. -> pyre_mimalloc (always there; PYRE_HAVE_MIMALLOC says what i
# Never a shared library and never with the malloc override: with it, operator new of our module would bind to
# mimalloc while malloc stays the C library's, and the next pybind11 module that is imported crashes, as pybind11
# shares its internals.
set(PYRE_MIMALLOC_URL https://github.com/microsoft/mimalloc/archive/refs/tags/v2.2.4.tar.gz)
set(PYRE_MIMALLOC_SHA256 754a98de5e2912fddbeaf24830f982b4540992f1bab4a0a8796ee118e0752bda)

# Whether a static library defines malloc or operator new itself. Unknown (no nm) counts as yes.
function(pyre_overrides_malloc target result)
  set(${result} ON PARENT_SCOPE)
  get_target_property(archive ${target} LOCATION)
  if(CMAKE_NM AND archive MATCHES "\\.a$")
    execute_process(COMMAND "${CMAKE_NM}" --defined-only "${archive}"
      OUTPUT_VARIABLE symbols RESULT_VARIABLE failed ERROR_QUIET)
    if(NOT failed AND NOT symbols MATCHES " [TWV] (malloc|free|_Znwm)\n")
      set(${result} OFF PARENT_SCOPE)
    endif()
  endif()
endfunction()

function(pyre_find_mimalloc)
  if(PYRE_MIMALLOC STREQUAL "OFF")
    return()
  endif()
  if(NOT FETCHCONTENT_SOURCE_DIR_MIMALLOC)
    find_package(mimalloc 2.0 CONFIG QUIET)
    if(TARGET mimalloc-static)
      pyre_overrides_malloc(mimalloc-static overrides)
      if(NOT overrides)
        target_link_libraries(pyre_mimalloc INTERFACE mimalloc-static)
        set(PYRE_MIMALLOC_FROM "installed static library" PARENT_SCOPE)
        return()
      endif()
    endif()
    if(TARGET mimalloc OR TARGET mimalloc-static)
      # The imported names are taken now, so the source below could not be added under them.
      message(STATUS "pyre: the installed mimalloc is shared, or overrides malloc: not used")
      set(taken ON)
    endif()
  endif()

  set(source "")
  if(NOT FETCHCONTENT_SOURCE_DIR_MIMALLOC)
    # Downloaded by hand, since FetchContent would stop the build where AUTO may go on without. A failure is
    # remembered in the cache.
    set(archive "${CMAKE_BINARY_DIR}/mimalloc.tar.gz")
    set(have "")
    if(EXISTS "${archive}")
      file(SHA256 "${archive}" have)
    endif()
    if(PYRE_MIMALLOC STREQUAL "ON")
      unset(PYRE_MIMALLOC_UNREACHABLE CACHE)
    endif()
    if(NOT have STREQUAL PYRE_MIMALLOC_SHA256 AND NOT PYRE_MIMALLOC_UNREACHABLE AND NOT taken)
      message(STATUS "pyre: fetching mimalloc")
      file(DOWNLOAD "${PYRE_MIMALLOC_URL}" "${archive}" STATUS status INACTIVITY_TIMEOUT 10 TIMEOUT 60)
      list(GET status 0 failed)
      if(failed)
        set(PYRE_MIMALLOC_UNREACHABLE ON CACHE INTERNAL "the download of mimalloc failed in this build tree")
      else()
        file(SHA256 "${archive}" have)
      endif()
    endif()
    if(have STREQUAL PYRE_MIMALLOC_SHA256 AND NOT taken)
      set(source URL "${archive}" URL_HASH "SHA256=${PYRE_MIMALLOC_SHA256}" DOWNLOAD_EXTRACT_TIMESTAMP OFF)
    else()
      if(PYRE_MIMALLOC STREQUAL "ON")
        message(FATAL_ERROR "pyre: PYRE_MIMALLOC=ON, but no usable mimalloc was found: "
          "pass -DFETCHCONTENT_SOURCE_DIR_MIMALLOC=<source folder>")
      endif()
      return()
    endif()
  endif()

  set(MI_OVERRIDE OFF)
  set(MI_BUILD_SHARED OFF)
  set(MI_BUILD_OBJECT OFF)
  set(MI_BUILD_TESTS OFF)
  set(MI_BUILD_STATIC ON)
  FetchContent_Declare(mimalloc ${source})
  FetchContent_MakeAvailable(mimalloc)
  set_property(DIRECTORY "${mimalloc_SOURCE_DIR}" PROPERTY EXCLUDE_FROM_ALL ON)
  target_link_libraries(pyre_mimalloc INTERFACE mimalloc-static)
  set(PYRE_MIMALLOC_FROM "sources in ${mimalloc_SOURCE_DIR}" PARENT_SCOPE)
endfunction()

add_library(pyre_mimalloc INTERFACE)
set(PYRE_MIMALLOC_FROM "")
pyre_find_mimalloc()
if(PYRE_MIMALLOC_FROM)
  target_compile_definitions(pyre_mimalloc INTERFACE PYRE_HAVE_MIMALLOC=1)
  message(STATUS "pyre: mimalloc (${PYRE_MIMALLOC_FROM})")
else()
  message(STATUS "pyre: no mimalloc (PYRE_MIMALLOC=${PYRE_MIMALLOC}): the core allocates with malloc")
endif()

# --- The libraries that have a file of their own ----------------------------------------------------------------------
include(onetbb)
include(compression)

# --- Python and pybind11: for src/asgi and the bind_* files. pybind11 is a Python package, in the build environment or
if(PYRE_BUILD_PYTHON)
  foreach(python bin/python Scripts/python.exe)
    if(NOT PYRE_IS_WHEEL AND NOT Python_EXECUTABLE AND EXISTS "${PROJECT_SOURCE_DIR}/.venv/${python}")
      set(Python_EXECUTABLE "${PROJECT_SOURCE_DIR}/.venv/${python}" CACHE FILEPATH "")
    endif()
  endforeach()
  set(PYBIND11_FINDPYTHON ON)
  if(PYRE_WINDOWS_PYTHON)
    # A cross build: headers and import library are the target's, and its version is written in its headers; the
    # Python that runs is only asked for pybind11.
    file(STRINGS "${PYRE_WINDOWS_PYTHON}/include/patchlevel.h" python_version REGEX "define PY_(MAJOR|MINOR)_VERSION")
    string(REGEX REPLACE "[^0-9]+([0-9]+)[^0-9]+([0-9]+).*" "\\1\\2" python_tag "${python_version}")
    set(PYBIND11_USE_CROSSCOMPILING ON)
    set(Python_INCLUDE_DIR "${PYRE_WINDOWS_PYTHON}/include" CACHE PATH "" FORCE)
    set(Python_LIBRARY "${PYRE_WINDOWS_PYTHON}/libs/python${python_tag}.lib" CACHE FILEPATH "" FORCE)
    set(PYTHON_MODULE_EXT_SUFFIX ".cp${python_tag}-win_amd64.pyd")
    # Not together with the interpreter: CMake would insist that both are of one version.
    find_package(Python 3.11 REQUIRED COMPONENTS Development.Module)
    # FindPython takes an import library for a static one, and adds what the running Python was linked with.
    set_property(TARGET Python::Module PROPERTY INTERFACE_LINK_LIBRARIES "")
  else()
    find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
  endif()
  if(NOT pybind11_DIR AND NOT FETCHCONTENT_SOURCE_DIR_PYBIND11)
    execute_process(COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir
      OUTPUT_VARIABLE pybind11_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(pybind11_dir)
      set(pybind11_DIR "${pybind11_dir}" CACHE PATH "")
    endif()
  endif()
  if(NOT FETCHCONTENT_SOURCE_DIR_PYBIND11)
    find_package(pybind11 3.0 CONFIG QUIET)
  endif()
  if(NOT pybind11_FOUND)
    FetchContent_Declare(pybind11
      URL https://github.com/pybind/pybind11/archive/refs/tags/v3.0.2.tar.gz
      URL_HASH SHA256=2f20a0af0b921815e0e169ea7fec63909869323581b89d7de1553468553f6a2d
      DOWNLOAD_EXTRACT_TIMESTAMP OFF)
    FetchContent_MakeAvailable(pybind11)
  endif()
  message(STATUS "pyre: Python ${Python_VERSION} (${Python_EXECUTABLE}), pybind11 ${pybind11_VERSION}")
endif()

# --- GoogleTest: for the C++ tests. -> GTest::gtest, GTest::gtest_main ------------------------------------------------
if(PYRE_BUILD_TESTS)
  # A cross build finds no built library, but Debian's package `googletest` has the sources.
  if(CMAKE_CROSSCOMPILING AND NOT FETCHCONTENT_SOURCE_DIR_GOOGLETEST AND EXISTS /usr/src/googletest/CMakeLists.txt)
    set(FETCHCONTENT_SOURCE_DIR_GOOGLETEST /usr/src/googletest CACHE PATH "")
  endif()
  if(NOT FETCHCONTENT_SOURCE_DIR_GOOGLETEST)
    find_package(GTest QUIET)
  endif()
  if(NOT GTest_FOUND)
    FetchContent_Declare(googletest
      URL https://github.com/google/googletest/archive/refs/tags/v1.14.0.tar.gz
      URL_HASH SHA256=8ad598c73ad796e0d8280b082cebd82a630d73e73cd3c70057938a6501bba5d7
      DOWNLOAD_EXTRACT_TIMESTAMP OFF)
    set(INSTALL_GTEST OFF)
    set(gtest_force_shared_crt ON)
    FetchContent_MakeAvailable(googletest)
    set_property(DIRECTORY "${googletest_SOURCE_DIR}" PROPERTY EXCLUDE_FROM_ALL ON)
  endif()
endif()
