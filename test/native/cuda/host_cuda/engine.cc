// Beside the engine (fibers.cc): messages, the name of a kernel, dynamic shared memory.
#include "engine.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

namespace wbsr::host_cuda {

namespace {

// Name of the function at `address`, from the symbol tables of the program or library it lies in (dladdr knows only
// exported names). Read anew in each call: it is for messages.
std::string nameOf(const void* address) {
  struct Search {
    uintptr_t address;
    uintptr_t base;
    std::string file;
  } search{reinterpret_cast<uintptr_t>(address), 0, ""};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        auto& s = *static_cast<Search*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          const uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
          if (segment.p_type != PT_LOAD || s.address < begin || s.address >= begin + segment.p_memsz) continue;
          s.base = info->dlpi_addr;
          s.file = info->dlpi_name && *info->dlpi_name ? info->dlpi_name : "/proc/self/exe";
          return 1;
        }
        return 0;
      },
      &search);
  std::ifstream in(search.file, std::ios::binary);
  const std::vector<char> file{std::istreambuf_iterator<char>(in), {}};
  if (file.size() < sizeof(ElfW(Ehdr))) return "unknown kernel";
  const auto* header = reinterpret_cast<const ElfW(Ehdr)*>(file.data());
  if (std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return "unknown kernel";
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(file.data() + header->e_shoff);
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(file.data() + sections[i].sh_offset);
    const char* names = file.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t k = 0; k < sections[i].sh_size / sizeof(ElfW(Sym)); ++k) {
      if ((symbols[k].st_info & 0xf) != STT_FUNC || symbols[k].st_value + search.base != search.address) continue;
      const char* name = names + symbols[k].st_name;
      int status = 0;
      char* readable = abi::__cxa_demangle(name, nullptr, nullptr, &status);
      std::string result = status == 0 ? readable : name;
      std::free(readable);
      return result;
    }
  }
  return "unknown kernel";
}

std::string text(const dim3& d) {
  return "(" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")";
}

}  // namespace

std::string Launch::text() const {
  return "kernel " + nameOf(kernel) + " <<<" + host_cuda::text(grid) + ", " + host_cuda::text(block) + ", " +
         std::to_string(shared) + ">>>";
}

std::string Site::text() const {
  return std::string(what) + " at " + where.file_name() + ":" + std::to_string(where.line());
}

void fail(const std::string& message) {
  std::fprintf(stderr, "host_cuda: %s\n", message.c_str());
  std::fflush(stderr);
  std::abort();
}

SharedMemory::SharedMemory(size_t bytes) : bytes_(bytes) {
  if (bytes && posix_memalign(&data_, 16, bytes) != 0)
    fail("no memory for " + std::to_string(bytes) + " bytes of shared memory");
}
SharedMemory::~SharedMemory() { std::free(data_); }
void SharedMemory::spoil() {
  if (data_) std::memset(data_, 0xff, bytes_);
}

}  // namespace wbsr::host_cuda
