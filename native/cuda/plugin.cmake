# The CUDA device, where nvcc is found: wbsr_cuda, a static library, and wbsr_cuda_plugin, the libwbsr_cuda.so that the
# addon opens (plugin.h). Included by the top CMakeLists.txt, since a language must be enabled there.
set(WBSR_CUDA AUTO CACHE STRING "The CUDA plugin: AUTO (where nvcc works), ON (or fail), OFF")
# Machine code for today's architectures, and PTX of the newest for later ones.
set(WBSR_CUDA_ARCHITECTURES "80-real;86-real;89-real;90" CACHE STRING "CMAKE_CUDA_ARCHITECTURES of the CUDA plugin")
option(WBSR_GPU_CHECKS "Build test/native/cuda/cuda_*_check.cc against the CUDA device, to run on a GPU" OFF)

set(WBSR_HAS_CUDA FALSE)

# Reports the reason here and to scripts/setup.mjs, and removes the plugin of an earlier build.
function(wbsr_without_cuda reason)
  message(STATUS "CUDA plugin: not built (${reason})")
  set(WBSR_CUDA_STATUS "without the CUDA plugin: ${reason}" CACHE INTERNAL "")
  file(REMOVE "${CMAKE_BINARY_DIR}/Release/libwbsr_cuda.so")
endfunction()

if(WBSR_CUDA STREQUAL "OFF")
  wbsr_without_cuda("WBSR_CUDA is OFF")
  return()
endif()

if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE)  # of a configuration when there was none
endif()
# First where CMake looks (CMAKE_CUDA_COMPILER, CUDACXX, PATH), then where the toolkit is installed by default.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  file(GLOB toolkits /usr/local/cuda-*)
  list(SORT toolkits COMPARE NATURAL ORDER DESCENDING)
  list(TRANSFORM toolkits APPEND /bin)
  find_program(WBSR_NVCC nvcc PATHS /usr/local/cuda/bin ${toolkits})
  if(WBSR_NVCC)
    set(ENV{CUDACXX} "${WBSR_NVCC}")
  endif()
endif()
set(CMAKE_CUDA_ARCHITECTURES "${WBSR_CUDA_ARCHITECTURES}")
if(WBSR_CUDA STREQUAL "AUTO" AND NOT CMAKE_CUDA_COMPILER)
  set(reason "no nvcc in CUDACXX, on PATH or in /usr/local/cuda*/bin")
  if(DEFINED ENV{CUDACXX})
    include(CheckLanguage)
    check_language(CUDA)
    set(reason "$ENV{CUDACXX} does not work; -DWBSR_CUDA=ON tells why")
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    wbsr_without_cuda("${reason}")
    return()
  endif()
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.4)
  if(WBSR_CUDA STREQUAL "AUTO")
    wbsr_without_cuda("nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than 12.4")
    return()
  endif()
  message(FATAL_ERROR "The CUDA plugin needs nvcc 12.4 or newer, ${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}")
endif()
find_package(CUDAToolkit REQUIRED)
set(WBSR_HAS_CUDA TRUE)
message(STATUS "CUDA plugin: nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
set(WBSR_CUDA_STATUS "with the CUDA plugin, by nvcc ${CMAKE_CUDA_COMPILER_VERSION}" CACHE INTERNAL "")

set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")  # CMake before 3.26 has no entry for nvcc
endif()
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")

file(GLOB_RECURSE WBSR_CUDA_SOURCES CONFIGURE_DEPENDS native/cuda/*.cc native/cuda/*.cu)
# Without fused multiply-adds batches equal those of the CPU to the bit.
set_source_files_properties(native/cuda/batch.cu PROPERTIES COMPILE_OPTIONS -fmad=false)
list(FILTER WBSR_CUDA_SOURCES EXCLUDE REGEX "/operators/|/(plugin|register)\\.cc$")
wbsr_device_operator_table(cuda WBSR_CUDA_OPERATORS)
add_library(wbsr_cuda STATIC ${WBSR_CUDA_SOURCES} ${WBSR_CUDA_OPERATORS})
target_link_libraries(wbsr_cuda PUBLIC wbsr_core CUDA::cudart_static ${CMAKE_DL_LIBS})
# Compressed for size, the code of four architectures takes a third of the default's space; it is unpacked once.
target_compile_options(wbsr_cuda PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-Xcompiler -Wall,-Wextra,-Werror,-fno-math-errno -Werror all-warnings --expt-relaxed-constexpr --compress-mode=size>")

# The plugin exports one function; everything else in it, the CUDA runtime included, is hidden.
add_library(wbsr_cuda_plugin MODULE native/cuda/plugin.cc)
set_target_properties(wbsr_cuda_plugin PROPERTIES OUTPUT_NAME wbsr_cuda PREFIX lib SUFFIX .so LINKER_LANGUAGE CXX
  LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/Release" LINK_DEPENDS "${CMAKE_SOURCE_DIR}/native/cuda/plugin.map")
target_link_libraries(wbsr_cuda_plugin PRIVATE wbsr_cuda)
target_link_options(wbsr_cuda_plugin PRIVATE -Wl,--disable-new-dtags -Wl,--no-undefined
  "SHELL:-Xlinker \"--version-script=${CMAKE_SOURCE_DIR}/native/cuda/plugin.map\"")

# The same files that test/native/cuda/host_cuda runs on the host, against the real CUDA (bench/gpu.sh).
if(WBSR_GPU_CHECKS)
  file(GLOB WBSR_GPU_CHECK_SOURCES CONFIGURE_DEPENDS test/native/cuda/cuda_*_check.cc)
  foreach(source ${WBSR_GPU_CHECK_SOURCES})
    get_filename_component(name ${source} NAME_WE)
    add_executable(gpu_${name} ${source})
    target_include_directories(gpu_${name} PRIVATE test)
    target_link_libraries(gpu_${name} PRIVATE wbsr_cuda wbsr_cpu)
    # The host build of the same files has warnings as errors; here, with -O3, g++ 12 sees overlaps inside std::string.
    target_compile_options(gpu_${name} PRIVATE -Wno-error)
    set_target_properties(gpu_${name} PROPERTIES OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/checks-gpu")
  endforeach()
endif()
