# oneTBB: the arenas of src/net/offload, and nothing else. -> TBB::tbb
# 2021.8 is the newest that mingw-w64's gcc 12 compiles, and what Debian 12 has.
# Static and hidden in our module, with its own threads and its own state: an application that brings a libtbb meets
# neither. Upstream warns of a static oneTBB since two copies in one process start twice the threads; ours starts only
# those that src/net/offload asks for.
# The content is called onetbb: FetchContent would set TBB_DIR for one called TBB, and oneTBB then takes itself for
# installed.
include(third_party)

pyre_source_folder(onetbb CMakeLists.txt)
FetchContent_Declare(onetbb
  URL https://github.com/oneapi-src/oneTBB/archive/refs/tags/v2021.12.0.tar.gz
  URL_HASH SHA256=c7bb7aa69c254d91b8f0041a71c5bcc3936acb64408a1719aec0b2b7639dd84f
  DOWNLOAD_EXTRACT_TIMESTAMP OFF)

function(pyre_build_onetbb)
  pyre_third_party_flags()
  pyre_ccache_by_relative_paths()
  unset(TBB_DIR CACHE)
  set(BUILD_SHARED_LIBS OFF)
  set(TBB_TEST OFF)
  set(TBB_STRICT OFF)
  set(TBB_EXAMPLES OFF)
  set(TBBMALLOC_BUILD OFF)
  set(TBB_ENABLE_IPO OFF)
  set(TBB_DISABLE_HWLOC_AUTOMATIC_SEARCH ON)
  if(PYRE_SANITIZE STREQUAL "thread")
    set(TBB_SANITIZE thread)  # a TBB that TSan cannot see into gives dozens of false reports
  endif()
  if(MINGW AND CMAKE_OBJCOPY)
    # There its functions are marked as exported, and whoever links them in would export them. The marks are orders to
    # the linker in a section of their own.
    set(CMAKE_CXX_ARCHIVE_FINISH "<CMAKE_RANLIB> <TARGET>" "${CMAKE_OBJCOPY} -R .drectve <TARGET>")
  endif()
  set(CMAKE_MESSAGE_LOG_LEVEL ERROR)  # the warning that it is static
  FetchContent_MakeAvailable(onetbb)
  set(onetbb_SOURCE_DIR "${onetbb_SOURCE_DIR}" PARENT_SCOPE)
  set_property(DIRECTORY "${onetbb_SOURCE_DIR}" PROPERTY EXCLUDE_FROM_ALL ON)
  pyre_third_party(tbb)

  # Without the hooks for VTune: they would load whatever library INTEL_LIBITTNOTIFY64 names. (Debug builds have them in
  # the headers too, where mingw-w64 cannot compile them.)
  get_target_property(definitions tbb COMPILE_DEFINITIONS)
  list(REMOVE_ITEM definitions __TBB_USE_ITT_NOTIFY)
  set_property(TARGET tbb PROPERTY COMPILE_DEFINITIONS "${definitions}")
  target_compile_definitions(tbb PUBLIC TBB_USE_PROFILING_TOOLS=0)
  # 2021.8's small files as one: a fifth of the compile time, which is mostly for its headers. Three do not go along.
  get_target_property(version tbb VERSION)
  if(version STREQUAL "12.8" AND NOT MSVC)
    set_target_properties(tbb PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
    foreach(alone parallel_pipeline itt_notify profiling)
      set_property(SOURCE "${onetbb_SOURCE_DIR}/src/tbb/${alone}.cpp"
        TARGET_DIRECTORY tbb PROPERTY SKIP_UNITY_BUILD_INCLUSION ON)
    endforeach()
  endif()
endfunction()

if(NOT FETCHCONTENT_SOURCE_DIR_ONETBB AND NOT PYRE_SANITIZE STREQUAL "thread")
  find_package(TBB 2021.8 CONFIG QUIET)
endif()
if(TARGET TBB::tbb)
  message(STATUS "pyre: oneTBB ${TBB_VERSION} (installed package)")
else()
  pyre_build_onetbb()
  message(STATUS "pyre: oneTBB (sources in ${onetbb_SOURCE_DIR})")
endif()
