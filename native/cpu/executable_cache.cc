#include "cpu/executable_cache.h"

#include <algorithm>

namespace wbsr::cpu {

Executable& ExecutableCache::get(int subnet, int batch, int height, int width, const Keep& keep, bool training) {
  constexpr size_t kMost = 96;  // oneDNN keeps the primitives themselves; these are lists of references to them
  const Key key{subnet, batch, height, width, keep.x, keep.y, keep.width, keep.height, training};
  auto found = cache_.find(key);
  if (found == cache_.end()) {
    if (cache_.size() >= kMost)
      cache_.erase(std::min_element(cache_.begin(), cache_.end(),
                                    [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
    const Graph& graph = context_.graph;
    Program program = lower(graph, graph.subnets()[static_cast<size_t>(subnet)], batch, height, width, keep);
    fuse(
        program, [](const Program& whole, const Step& step) { return registry().supports(whole, step); }, training);
    if (training) differentiate(program);
    found = cache_.emplace(key, Cached{std::make_unique<Executable>(context_, std::move(program)), 0}).first;
  }
  found->second.used = ++clock_;
  return *found->second.executable;
}

}  // namespace wbsr::cpu
