# Toolchain of a cross build for 64-bit ARM: Debian's g++-aarch64-linux-gnu with libdnnl2:arm64 (docs/native-build.md).
# Headers of oneDNN are those of this machine's libdnnl-dev: libdnnl-dev:arm64 cannot be installed beside it, and of its
# headers only the mark whether oneDNN has a GPU runtime differs, which nothing here reads.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
