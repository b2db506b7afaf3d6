# How other people's C and C++ is built here: without our warnings, without link-time optimisation (it would be done
# again for every program that is linked), and optimised in every build type, as none of it is what a debug build is
# for.

# pyre_third_party_flags(): in the scope that adds a library's folder, before it does. The same flags for Debug and
# Release, so that ccache compiles it once for all build folders of one compiler.
macro(pyre_third_party_flags)
  if(NOT MSVC AND CMAKE_BUILD_TYPE)
    string(TOUPPER "${CMAKE_BUILD_TYPE}" pyre_config)
    foreach(lang C CXX)
      if(PYRE_SANITIZE)
        set(CMAKE_${lang}_FLAGS_${pyre_config} "-O1 -g1")
      else()
        set(CMAKE_${lang}_FLAGS_${pyre_config} "-O2 -DNDEBUG")
      endif()
    endforeach()
  endif()
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)
endmacro()

# pyre_ccache_by_relative_paths(): likewise, for a library with generated files in the build folder, which are the same
# in each: without their absolute paths ccache finds that out.
macro(pyre_ccache_by_relative_paths)
  foreach(lang C CXX)
    if(PYRE_CCACHE)
      set(CMAKE_${lang}_COMPILER_LAUNCHER
        "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" "${PYRE_CCACHE}")
    endif()
  endforeach()
endmacro()

# pyre_third_party(<static library>): after the library's own flags are set, so that these are the last.
function(pyre_third_party target)
  set_target_properties(${target} PROPERTIES
    EXCLUDE_FROM_ALL ON
    POSITION_INDEPENDENT_CODE ON
    C_VISIBILITY_PRESET hidden
    CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  # Its headers count as the system's, also for the tests that include them through one of our libraries.
  get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
  if(folders)
    set_property(TARGET ${target} APPEND PROPERTY INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${folders}")
  endif()
  if(MSVC)
    target_compile_options(${target} PRIVATE /w)
    return()
  endif()
  # Sections: what nobody calls is left out of the module (-Wl,--gc-sections).
  target_compile_options(${target} PRIVATE -w -ffunction-sections -fdata-sections)
  # AddressSanitizer sees where we pass a wrong length, ThreadSanitizer needs to see every atomic. Undefined behaviour
  # in here is not ours to mend, and looking for it takes the compiler a minute per library.
  if(PYRE_SANITIZE MATCHES "undefined")
    target_compile_options(${target} PRIVATE -fno-sanitize=undefined)
  endif()
  if(PYRE_SANITIZE MATCHES "fuzzer")
    target_compile_options(${target} PRIVATE -fno-sanitize=fuzzer-no-link)  # a fuzzer is to find its way in our code
  endif()
  if(PYRE_SANITIZE MATCHES "address")
    # Checks as calls, not inlined: half the compile time. No fake stacks: oneTBB compares the address of a local with
    # the limits of its thread's stack.
    if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
      target_compile_options(${target} PRIVATE
        "SHELL:-mllvm -asan-instrumentation-with-call-threshold=0" -fsanitize-address-use-after-return=never)
    else()
      target_compile_options(${target} PRIVATE
        "SHELL:--param asan-instrumentation-with-call-threshold=0" "SHELL:--param asan-use-after-return=0")
    endif()
  endif()
endfunction()

# pyre_source_folder(<name> <file that must be there>): FETCHCONTENT_SOURCE_DIR_<NAME> is what the user says, else what
# scripts/setup left in build/deps/<name>, from a distribution's source package or a package index.
macro(pyre_source_folder name file)
  string(TOUPPER "${name}" pyre_upper)
  string(REPLACE "-" "" pyre_upper "${pyre_upper}")
  if(NOT FETCHCONTENT_SOURCE_DIR_${pyre_upper} AND EXISTS "${PROJECT_SOURCE_DIR}/build/deps/${name}/${file}")
    set(FETCHCONTENT_SOURCE_DIR_${pyre_upper} "${PROJECT_SOURCE_DIR}/build/deps/${name}" CACHE PATH "")
  endif()
endmacro()
