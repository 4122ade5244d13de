#include "cuda/library.h"

#include <dlfcn.h>

namespace wbsr::cuda {

Library::Library(const std::string& file) : handle_(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_) return;
  const char* text = dlerror();
  error_ = text ? text : file + ": unknown";
}

Library::~Library() {
  if (handle_) dlclose(handle_);
}

void* Library::address(const char* name) {
  void* const found = dlsym(handle_, name);
  if (!found && missing_.empty()) missing_ = name;
  return found;
}

}  // namespace wbsr::cuda
