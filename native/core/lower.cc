// Graph + subnet -> forward steps, then fusion.
#include <algorithm>

#include "core/error.h"
#include "core/program.h"

namespace wbsr {

Keep coveredBy(const Graph& graph, const SubnetInfo& subnet, int height, int width, const Keep& keep) {
  std::vector<bool> alive;
  const int last = graph.resolve(subnet.depth, alive)[graph.output()];
  // Without a tail (scale 1) nothing is cropped.
  if (keep.width <= 0 || !graph.tailNodes()[last]) return {0, 0, width, height};
  // The kept part plus what the tail looks at, inside the region.
  const int margin = subnet.tailField;
  const int left = std::max(0, keep.x - margin), top = std::max(0, keep.y - margin);
  const int right = std::min(width, keep.x + keep.width + margin),
            bottom = std::min(height, keep.y + keep.height + margin);
  return {left, top, right - left, bottom - top};
}

Program lower(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width, const Keep& keep) {
  return lowerCovered(graph, subnet, batch, height, width, coveredBy(graph, subnet, height, width, keep));
}

Program lowerCovered(const Graph& graph, const SubnetInfo& subnet, int batch, int height, int width,
                     const Keep& covered) {
  const auto& nodes = graph.nodes();
  std::vector<bool> alive;
  const std::vector<int> resolved = graph.resolve(subnet.depth, alive);
  const std::vector<int> channels = graph.channels(subnet.width);
  // Thin is what has few channels even at the largest width, so that values that are added agree in it.
  const std::vector<int> most = graph.channels(graph.widths().back());
  const std::vector<bool> tail = graph.tailNodes();

  Program program;
  program.batch = batch;
  program.covered = covered;
  const bool cropped = !(covered == Keep{0, 0, width, height});

  std::vector<int> valueOf(nodes.size(), -1), croppedOf(nodes.size(), -1);
  auto addValue = [&](int c, int h, int w, bool thin, bool pooled) {
    program.values.push_back({c, h, w, thin, pooled});
    return static_cast<int>(program.values.size()) - 1;
  };

  for (size_t i = 0; i < nodes.size(); ++i) {
    const Node& node = nodes[i];
    if (!alive[i] || node.op == Op::Stack) continue;
    if (node.op == Op::Input) {
      program.input = valueOf[i] = addValue(channels[i], height, width, true, false);
      continue;
    }
    Step step;
    step.node = static_cast<int>(i);
    for (size_t j = 0; j < node.inputs.size(); ++j) {
      const int from = resolved[node.inputs[j]];
      int value = valueOf[from];
      if (cropped && tail[i] && !tail[from] && !program.values[value].pooled) {
        if (croppedOf[from] < 0) {
          Step crop;
          crop.kind = StepKind::Crop;
          crop.in[0] = value;
          crop.cropX = covered.x;
          crop.cropY = covered.y;
          const Value source = program.values[value];
          crop.out = addValue(source.channels, covered.height, covered.width, source.thin, false);
          program.steps.push_back(crop);
          croppedOf[from] = crop.out;
        }
        value = croppedOf[from];
      }
      step.in[j] = value;
    }
    const Value source = program.values[step.in[0]];
    int h = source.height, w = source.width;
    bool pooled = source.pooled;
    switch (node.op) {
      case Op::Conv:
        step.kind = StepKind::Conv;
        step.outChannels = channels[i];
        step.inChannels = source.channels;
        step.kernel = node.kernel;
        break;
      case Op::Activation:
        step.kind = StepKind::Activation;
        step.activation = node.activation;
        step.slope = node.activation == ActivationKind::LeakyRelu ? node.slope : 0.f;
        break;
      case Op::Add: step.kind = StepKind::Add; break;
      case Op::PixelShuffle:
      case Op::Upsample:
        step.kind = node.op == Op::Upsample ? StepKind::Upsample : StepKind::PixelShuffle;
        step.factor = node.factor;
        step.cubic = node.cubic;
        h *= node.factor;
        w *= node.factor;
        break;
      case Op::GlobalPool:
        step.kind = StepKind::GlobalPool;
        h = w = 1;
        pooled = true;
        break;
      case Op::ScaleChannels: step.kind = StepKind::ScaleChannels; break;
      default: WBSR_CHECK(false);
    }
    step.out = valueOf[i] = addValue(channels[i], h, w, most[i] < 8, pooled);
    program.steps.push_back(step);
  }
  program.output = valueOf[resolved[graph.output()]];
  program.forwardSteps = static_cast<int>(program.steps.size());
  return program;
}

void fuse(Program& program) {
  auto& steps = program.steps;
  std::vector<int> uses(program.values.size(), 0), producer(program.values.size(), -1);
  auto count = [&] {
    std::fill(uses.begin(), uses.end(), 0);
    std::fill(producer.begin(), producer.end(), -1);
    for (size_t i = 0; i < steps.size(); ++i) {
      for (int in : steps[i].in)
        if (in >= 0) ++uses[in];
      if (steps[i].residual >= 0) ++uses[steps[i].residual];
      producer[steps[i].out] = static_cast<int>(i);
    }
    ++uses[program.output];
  };
  auto erase = [&](size_t i) {
    steps.erase(steps.begin() + static_cast<std::ptrdiff_t>(i));
    count();
  };
  count();
  for (size_t i = 0; i < steps.size();) {
    Step& step = steps[i];
    if (step.kind == StepKind::Activation && uses[step.in[0]] == 1 && producer[step.in[0]] >= 0) {
      Step& before = steps[producer[step.in[0]]];
      const bool fusable = before.kind == StepKind::Conv ||
                           (before.kind == StepKind::PixelShuffle && step.activation != ActivationKind::Sigmoid);
      if (fusable && before.residual < 0 && before.activation == ActivationKind::None) {
        before.activation = step.activation;
        before.slope = step.slope;
        before.out = step.out;
        erase(i);
        continue;
      }
    }
    if (step.kind == StepKind::Add && step.in[0] != step.in[1]) {
      bool done = false;
      for (int side = 0; side < 2 && !done; ++side) {
        const int value = step.in[side], other = step.in[1 - side];
        const int p = producer[value];
        if (p < 0 || uses[value] != 1 || steps[p].kind != StepKind::Conv || steps[p].residual >= 0 ||
            steps[p].activation != ActivationKind::None)
          continue;
        // The convolution moves here, where both operands exist.
        Step conv = steps[p];
        conv.residual = other;
        conv.out = step.out;
        steps[i] = conv;
        erase(static_cast<size_t>(p));
        done = true;
      }
      if (done) continue;  // i now points one further, which is the next step
    }
    ++i;
  }
  // Filters may be ordered sub-pixel first where nothing but the shuffle sees them.
  for (Step& step : steps)
    if (step.kind == StepKind::PixelShuffle && !program.values[step.out].thin && producer[step.in[0]] >= 0) {
      Step& conv = steps[producer[step.in[0]]];
      if (conv.kind == StepKind::Conv && uses[step.in[0]] == 1 && conv.residual < 0) {
        conv.shuffled = step.shuffled = true;
        conv.factor = step.factor;
        program.values[conv.out].groups = step.factor * step.factor;
      }
    }
  program.forwardSteps = static_cast<int>(steps.size());
}

}  // namespace wbsr
