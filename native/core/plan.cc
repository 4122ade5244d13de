// Liveness and offsets: every value gets a place in one arena, reused once nobody reads it any more.
#include <algorithm>

#include "core/program.h"

namespace wbsr {

void plan(Program& program, const std::function<int64_t(const Value&)>& floats, bool residualInPlace) {
  auto& steps = program.steps;
  const size_t count = program.values.size();
  constexpr int kNever = -1;
  const int end = static_cast<int>(steps.size());
  std::vector<int> born(count, kNever), dies(count, kNever);
  for (int i = 0; i < end; ++i) {
    for (int in : steps[i].in)
      if (in >= 0) dies[in] = i;
    if (steps[i].residual >= 0) dies[steps[i].residual] = i;
    if (steps[i].out >= 0) born[steps[i].out] = i;
  }
  auto external = [&](int value) { return value == program.input || value == program.output; };

  // Memory is shared by values of one group (in-place chains).
  std::vector<int> group(count);
  for (size_t v = 0; v < count; ++v) group[v] = static_cast<int>(v);
  for (int i = 0; i < end; ++i) {
    Step& step = steps[i];
    int source = -1;
    if (residualInPlace && step.kind == StepKind::Conv && step.residual >= 0) source = step.residual;
    if (step.kind == StepKind::Activation || step.kind == StepKind::ActivationBackward || step.kind == StepKind::Add ||
        step.kind == StepKind::ScaleChannels || step.kind == StepKind::ScaleChannelsBackwardInput)
      source = step.in[0];
    if (source < 0 || external(source) || external(step.out) || dies[source] != i || step.in[1] == source) continue;
    if (step.kind == StepKind::Conv && step.in[0] == source) continue;
    // Another value may still live in this memory only through the chain itself, whose last reader is this step.
    step.inPlace = true;
    group[step.out] = group[source];
  }

  struct Block { int64_t offset, size; int from, to; };
  struct Wanted { int id; int64_t size; int from, to; };
  std::vector<Wanted> wanted;
  std::vector<int> slot(count, -1);
  for (size_t v = 0; v < count; ++v) {
    if (born[v] == kNever || external(static_cast<int>(v))) continue;
    const int g = group[v];
    const int64_t size = (floats(program.values[v]) + 15) / 16 * 16;
    const int to = std::max(born[v], dies[v]);
    if (slot[g] < 0) {
      slot[g] = static_cast<int>(wanted.size());
      wanted.push_back({g, size, born[v], to});
    } else {
      Wanted& w = wanted[slot[g]];
      w.size = std::max(w.size, size);
      w.from = std::min(w.from, born[v]);
      w.to = std::max(w.to, to);
    }
  }
  // Largest first, at the lowest offset that is free for its whole life.
  std::sort(wanted.begin(), wanted.end(), [](const Wanted& a, const Wanted& b) {
    return a.size != b.size ? a.size > b.size : a.from < b.from;
  });
  std::vector<Block> placed;
  std::vector<int64_t> offsetOf(count, -1);
  program.arenaFloats = 0;
  for (const Wanted& w : wanted) {
    std::vector<Block> conflicts;
    for (const Block& block : placed)
      if (block.from <= w.to && w.from <= block.to) conflicts.push_back(block);
    std::sort(conflicts.begin(), conflicts.end(), [](const Block& a, const Block& b) { return a.offset < b.offset; });
    int64_t offset = 0;
    for (const Block& block : conflicts) {
      if (offset + w.size <= block.offset) break;
      offset = std::max(offset, block.offset + block.size);
    }
    placed.push_back({offset, w.size, w.from, w.to});
    offsetOf[w.id] = offset;
    program.arenaFloats = std::max(program.arenaFloats, offset + w.size);
  }
  program.offsets.assign(count, -1);
  for (size_t v = 0; v < count; ++v)
    if (born[v] != kNever && !external(static_cast<int>(v))) program.offsets[v] = offsetOf[group[v]];
}

}  // namespace wbsr
