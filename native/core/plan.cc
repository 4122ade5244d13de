// Liveness and offsets: every value gets an offset in one arena. Memory is reused after a value's last reader.
#include <algorithm>

#include "core/program.h"

namespace wbsr {
namespace {

// The memory of one chain of in-place values, and its life in steps, from the first write to the last read.
struct Block {
  int id;
  int64_t size;
  int from, to;
  int lateTo;  // the last of its readers that may run late; -1: none
  int64_t offset = 0;
};

// Whether both need their memory at once, given that late steps are at most `late` steps behind.
bool overlap(const Block& a, const Block& b, int late) {
  const auto end = [late](const Block& block) {
    return late > 0 && block.lateTo >= 0 ? std::max(block.to, block.lateTo + late) : block.to;
  };
  return a.from <= end(b) && b.from <= end(a);
}

// The lowest offset for `block` among those placed, sorted by offset.
int64_t lowest(const std::vector<Block>& placed, const Block& block, int late) {
  int64_t offset = 0;
  for (const Block& other : placed) {
    if (!overlap(other, block, late)) continue;
    if (offset + block.size <= other.offset) break;
    offset = std::max(offset, other.offset + other.size);
  }
  return offset;
}

// `placed` stays sorted by offset.
void insert(std::vector<Block>& placed, const Block& block) {
  placed.insert(std::upper_bound(placed.begin(), placed.end(), block,
                                 [](const Block& a, const Block& b) { return a.offset < b.offset; }),
                block);
}

// Moves blocks within the arena so that memory read by late steps is overwritten as long after these as there is room
// for, at most `late` steps. In order of first write: a block avoids only blocks that were written before it.
void spread(std::vector<Block>& placed, int64_t arena, int late) {
  std::vector<Block> order = placed;
  std::stable_sort(order.begin(), order.end(), [](const Block& a, const Block& b) { return a.from < b.from; });
  for (Block& block : order) {
    const auto now =
        std::find_if(placed.begin(), placed.end(), [&](const Block& other) { return other.id == block.id; });
    placed.erase(now);
    for (int room = late; room > 0; room /= 2) {
      const int64_t offset = lowest(placed, block, room);
      if (offset + block.size > arena) continue;
      block.offset = offset;
      break;
    }
    insert(placed, block);
  }
}

}  // namespace

void plan(Program& program, const std::function<int64_t(const Value&)>& floats, bool residualInPlace,
          bool lateWeights) {
  auto& steps = program.steps;
  const size_t count = program.values.size();
  constexpr int kNever = -1;
  const int end = static_cast<int>(steps.size());
  std::vector<int> born(count, kNever), dies(count, kNever), lateTo(count, kNever);
  for (int i = 0; i < end; ++i) {
    for (int in : steps[i].in) {
      dies[in] = i;
      if (steps[i].out < 0) lateTo[in] = i;
    }
    if (steps[i].residual >= 0) dies[steps[i].residual] = i;
    if (steps[i].out >= 0) born[steps[i].out] = i;
  }
  auto external = [&](int value) { return value == program.input || value == program.output; };

  // Memory is shared by values of one group (in-place chains).
  std::vector<int> group(count);
  for (size_t v = 0; v < count; ++v) group[v] = static_cast<int>(v);
  for (int i = 0; i < end; ++i) {
    Step& step = steps[i];
    if (!step.op || step.out < 0) continue;
    int source = -1;
    if (const int input = step.op->overwrites(step); input >= 0) source = step.in[static_cast<size_t>(input)];
    if (residualInPlace && step.residual >= 0) source = step.residual;
    if (source < 0 || external(source) || external(step.out) || dies[source] != i) continue;
    if (std::count(step.in.begin(), step.in.end(), source) + (step.residual == source) != 1) continue;
    // Values that share this memory belong to the chain, whose last reader is this step, so none of them is lost.
    step.inPlace = true;
    group[step.out] = group[source];
  }

  std::vector<Block> blocks;
  std::vector<int> slot(count, -1);
  for (size_t v = 0; v < count; ++v) {
    if (born[v] == kNever || external(static_cast<int>(v))) continue;
    const int g = group[v];
    const int64_t size = (floats(program.values[v]) + 15) / 16 * 16;
    const int to = std::max(born[v], dies[v]);
    if (slot[g] < 0) {
      slot[g] = static_cast<int>(blocks.size());
      blocks.push_back({g, size, born[v], to, lateTo[v]});
    } else {
      Block& b = blocks[slot[g]];
      b.size = std::max(b.size, size);
      b.from = std::min(b.from, born[v]);
      b.to = std::max(b.to, to);
      b.lateTo = std::max(b.lateTo, lateTo[v]);
    }
  }
  // Largest first, at the lowest offset that is free for its whole life.
  std::sort(blocks.begin(), blocks.end(),
            [](const Block& a, const Block& b) { return a.size != b.size ? a.size > b.size : a.from < b.from; });
  std::vector<Block> placed;
  program.arenaFloats = 0;
  for (Block& block : blocks) {
    block.offset = lowest(placed, block, 0);
    program.arenaFloats = std::max(program.arenaFloats, block.offset + block.size);
    insert(placed, block);
  }
  if (lateWeights) spread(placed, program.arenaFloats, end);
  std::vector<int64_t> offsetOf(count, -1);
  for (const Block& block : placed) offsetOf[block.id] = block.offset;
  program.offsets.assign(count, -1);
  for (size_t v = 0; v < count; ++v)
    if (born[v] != kNever && !external(static_cast<int>(v))) program.offsets[v] = offsetOf[group[v]];
}

}  // namespace wbsr
