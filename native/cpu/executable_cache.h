// Executables of one context, made when they are first needed; a bounded number is kept.
#pragma once
#include <map>
#include <memory>
#include <tuple>

#include "cpu/executable.h"

namespace wbsr::cpu {

class ExecutableCache {
 public:
  explicit ExecutableCache(Context& context) : context_(context) {}
  // What it returns stays until the next call.
  Executable& get(int subnet, int batch, int height, int width, const Keep& keep, bool training);

 private:
  // subnet, batch, height, width, kept part, training
  using Key = std::tuple<int, int, int, int, int, int, int, int, bool>;
  struct Cached {
    std::unique_ptr<Executable> executable;
    uint64_t used;
  };

  Context& context_;
  std::map<Key, Cached> cache_;
  uint64_t clock_ = 0;
};

}  // namespace wbsr::cpu
