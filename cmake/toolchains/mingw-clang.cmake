# clang for the windows-gnu target on mingw-w64's headers: a second compiler that reads the Windows code, as MSVC
# cannot be had here. It compiles; programs are linked by mingw.cmake.
include("${CMAKE_CURRENT_LIST_DIR}/mingw.cmake")
set(CMAKE_C_COMPILER clang-16)
set(CMAKE_CXX_COMPILER clang++-16)
set(CMAKE_C_COMPILER_TARGET x86_64-w64-windows-gnu)
set(CMAKE_CXX_COMPILER_TARGET x86_64-w64-windows-gnu)
# No program of its own is needed to know the compiler.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
# It does not look into the folder of the posix flavour by itself.
file(GLOB pyre_mingw_headers /usr/lib/gcc/x86_64-w64-mingw32/*-posix/include/c++)
foreach(folder IN LISTS pyre_mingw_headers)
  string(APPEND CMAKE_CXX_FLAGS_INIT " -nostdinc++ -isystem ${folder} -isystem ${folder}/x86_64-w64-mingw32")
endforeach()
