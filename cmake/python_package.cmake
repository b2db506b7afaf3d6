# Where the built _core goes. A wheel installs it (src/asgi/CMakeLists.txt). Else either python/pyre of the source tree
# (PYRE_DEV_INSTALL, the release preset), or <build>/python/pyre, where the package's files are linked in beside it:
# that lets the debug and sanitizer builds have a module of their own, used with PYTHONPATH=<build>/python.
if(NOT PYRE_IS_WHEEL)
  if(PYRE_DEV_INSTALL)
    set(PYRE_PYTHON_DIR "${PROJECT_SOURCE_DIR}/python")
  else()
    set(PYRE_PYTHON_DIR "${PROJECT_BINARY_DIR}/python")
    file(MAKE_DIRECTORY "${PYRE_PYTHON_DIR}/pyre")
    file(GLOB package_entries CONFIGURE_DEPENDS LIST_DIRECTORIES true "${PROJECT_SOURCE_DIR}/python/pyre/*")
    list(FILTER package_entries EXCLUDE REGEX "(__pycache__|\\.so|\\.pyd)$")
    foreach(entry IN LISTS package_entries)
      get_filename_component(entry_name "${entry}" NAME)
      file(CREATE_LINK "${entry}" "${PYRE_PYTHON_DIR}/pyre/${entry_name}" SYMBOLIC COPY_ON_ERROR)
    endforeach()
  endif()
  # With a generator expression Visual Studio adds no folder of the configuration's name.
  set_target_properties(_core PROPERTIES LIBRARY_OUTPUT_DIRECTORY "$<1:${PYRE_PYTHON_DIR}/pyre>")
endif()

if(NOT MSVC AND NOT APPLE)
  # Static libraries inside the module must not export their symbols to other extensions. What nobody calls of them is
  # left out (cmake/third_party.cmake puts every function into a section of its own).
  target_link_options(_core PRIVATE -Wl,--exclude-libs,ALL -Wl,--gc-sections)
endif()
