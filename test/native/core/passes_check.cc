// The passes over a Program: what lower() crops, what fuse() joins where the device has it, which backward steps
// differentiate() appends, and that plan() keeps every value whole until it was read last.
#include <algorithm>
#include <map>

#include "core/operators/activation.h"
#include "core/operators/add.h"
#include "core/operators/conv.h"
#include "core/operators/crop.h"
#include "core/program.h"
#include "core/shuffled_conv.h"
#include "support/networks.h"
#include "support/graphs.h"

using namespace wbsr;
using namespace wbsr::test;
using namespace wbsr::test::graphs;

namespace {

int count(const Program& program, StepKind kind) {
  return static_cast<int>(
      std::count_if(program.steps.begin(), program.steps.end(), [&](const Step& step) { return step.kind == kind; }));
}

Program lowered(const Graph& graph, int height, int width, const Keep& keep = {}) {
  return lower(graph, graph.subnets().back(), 1, height, width, keep);
}

int everySupported(const Program&, const Step& step) {
  return step.kind == operators::Conv::kKind || step.kind == "pixelShuffle" ? 1 : 0;
}
int nothing(const Program&, const Step&) { return 0; }
// What most devices have: an activation or an addition, with nothing else.
int simpleOnly(const Program&, const Step& step) {
  const bool both = step.residual >= 0 && step.activation != ActivationKind::None;
  return step.kind == operators::Conv::kKind && step.in.size() == 1 && !both && !step.gate && step.slopes.parameter < 0;
}

void crops() {
  // The tail reads one value of the trunk in two places, and the image.
  const Graph graph = readTwice();
  const Program whole = lowered(graph, 40, 30), part = lowered(graph, 40, 30, {10, 12, 6, 8});
  check(count(whole, operators::Crop::kKind) == 0, "nothing is cropped without a kept part");
  const int tail = graph.subnets().back().tailField;
  check(part.covered == (Keep{10 - tail, 12 - tail, 6 + 2 * tail, 8 + 2 * tail}), "the tail runs on the kept part");
  for (const Step& step : part.steps) {
    if (step.kind != operators::Crop::kKind) continue;
    const auto& crop = step.as<operators::Crop>();
    const Value& out = part.values[static_cast<size_t>(step.out)];
    check(crop.x() == part.covered.x && crop.y() == part.covered.y && out.width == part.covered.width &&
              out.height == part.covered.height,
          "a crop is the covered part");
  }
  std::map<int, int> read;
  for (const Step& step : part.steps)
    if (step.kind == operators::Crop::kKind) ++read[step.in[0]];
  for (const auto& [value, times] : read) check(times == 1, "value " + std::to_string(value) + " is cropped once");

  // Behind pixelUnshuffle crops fall on whole pixels of the smaller value.
  Builder b;
  const int small = b.node("pixelUnshuffle", {b.input()}, {{"factor", 2.0}});
  const int last = b.conv(b.shuffle(b.conv(small, fixed(48)), 4), fixed(3));
  const Program aligned = lowered(Graph(2, {8}, {1}, b.nodes, last), 40, 30, {11, 13, 3, 3});
  check(aligned.covered.x % 2 == 0 && aligned.covered.y % 2 == 0 && aligned.covered.width % 2 == 0 &&
            aligned.covered.height % 2 == 0 && aligned.covered.x <= 11 && aligned.covered.y <= 13,
        "a crop is aligned to the values it cuts");
  const Value& out = aligned.values[static_cast<size_t>(aligned.output)];
  check(out.width == 2 * aligned.covered.width && out.height == 2 * aligned.covered.height,
        "and twice as large behind");
}

void fusions() {
  const Graph graph = srresnet(2, {8}, {2});
  Program all = lowered(graph, 8, 8), none = all, ranked = all;
  fuse(all, everySupported, false);
  fuse(none, nothing, false);
  check(count(all, operators::Activation::kKind) == 0 && count(all, operators::Add::kKind) == 0,
        "activations and additions become parts of convolutions and shuffles");
  check(count(none, operators::Activation::kKind) == 5 && count(none, operators::Add::kKind) == 3,
        "a device that has nothing keeps them");
  check(count(all, "conv") == count(none, "conv"), "convolutions stay");
  fuse(
      ranked,
      [](const Program&, const Step& step) {
        if (step.residual < 0) return 0;
        return step.kind == "upsample" ? 2 : step.kind == operators::Conv::kKind ? 1 : 0;
      },
      false);
  const auto last = std::find_if(ranked.steps.begin(), ranked.steps.end(),
                                 [&](const Step& step) { return step.out == ranked.output; });
  check(last->kind == "upsample" && last->residual >= 0,
        "of two steps the one that the device ranks higher takes the addition");
  for (const Program* program : {&all, &none, &ranked}) {
    std::vector<bool> made(program->values.size(), false);
    made[static_cast<size_t>(program->input)] = true;
    bool ordered = true;
    for (const Step& step : program->steps) {
      for (int in : step.in) ordered = ordered && made[static_cast<size_t>(in)];
      if (step.residual >= 0) ordered = ordered && made[static_cast<size_t>(step.residual)];
      made[static_cast<size_t>(step.out)] = true;
    }
    check(ordered && made[static_cast<size_t>(program->output)], "values are made before they are read");
  }
  // Sub-pixel first where only the shuffle reads the convolution.
  const auto grouped = [](const Program& program) {
    return std::count_if(program.values.begin(), program.values.end(), [](const Value& v) { return v.groups > 1; });
  };
  check(grouped(all) == 1, "filters in front of a shuffle are ordered sub-pixel first");
  Program twice = lowered(readTwice(), 8, 8);
  fuse(twice, everySupported, false);
  check(grouped(twice) == 0, "but not where another step reads them");

  // silu needs its input backwards.
  Builder b;
  const int active = b.node("activation", {b.conv(b.input(), width())}, {{"activation", "silu"}});
  const Graph smooth(1, {8}, {1}, b.nodes, b.conv(active, fixed(3)));
  Program inference = lowered(smooth, 4, 4), training = inference;
  fuse(inference, everySupported, false);
  fuse(training, everySupported, true);
  check(count(inference, operators::Activation::kKind) == 0, "silu is fused for inference");
  check(count(training, operators::Activation::kKind) == 1, "and not for training");
  differentiate(training);
  for (const Step& step : training.steps)
    if (step.kind == operators::Activation::kBackward)
      check(step.in[1] == training.steps[0].out, "its backward step reads what the convolution wrote");
}

// What only some devices have: an activation and an addition, learned slopes, gates, concatenations that are not copied.
void furtherFusions() {
  Builder b;
  const int head = b.conv("head", b.input(), width());
  const int silu = b.node("activation", {b.conv("silu", head, width())}, {{"activation", "silu"}});
  const int sum = b.add(silu, head);
  const int slopes = b.node("prelu", {b.conv("prelu", sum, width())}, {{"name", "slopes"}});
  const int third = b.conv("third", slopes, width());
  const int shifted = b.node("affine", {b.sigmoid(third)}, {{"offset", std::vector<double>{-0.5}}});
  const int gated = b.node("multiply", {b.add(third, slopes), shifted});
  const int joined = b.conv("joined", b.node("concat", {gated, silu, slopes}), width(), 1);
  const Graph graph(1, {8}, {1}, b.nodes, b.conv("last", joined, fixed(3)));
  const auto named = [&](const Program& program, const std::string& name) -> const Step& {
    return *std::find_if(program.steps.begin(), program.steps.end(), [&](const Step& step) {
      return step.kind == operators::Conv::kKind && step.as<operators::Conv>().name() == name;
    });
  };
  Program all = lowered(graph, 6, 6), some = all, training = all;
  fuse(all, everySupported, false);
  fuse(some, simpleOnly, false);
  fuse(training, everySupported, true);
  // silu has a second reader, so its addition stands alone.
  check(all.steps.size() == 7 && count(all, operators::Conv::kKind) == 6 && count(all, operators::Add::kKind) == 1,
        "gate, slopes and concatenation have become parts of convolutions");
  const Step &gate = named(all, "third"), &prelu = named(all, "prelu"), &pointwise = named(all, "joined");
  check(gate.gate == -0.5f && gate.activation == ActivationKind::Sigmoid && gate.residual == prelu.out,
        "a gate has its constant, its activation and what is added");
  check(prelu.activation == ActivationKind::LeakyRelu && prelu.slopes.parameter >= 0 && prelu.slopes.ranges.size() == 1,
        "learned slopes come with their parameter");
  check(pointwise.in == std::vector<int>{gate.out, named(all, "silu").out, prelu.out},
        "the convolution reads the parts of the concatenation in their order");
  check(count(some, "concat") == 1 && count(some, "prelu") == 1 && count(some, "multiply") == 1,
        "a device that has none of it keeps the steps");
  check(count(training, "concat") == 1 && count(training, "prelu") == 1 && count(training, "multiply") == 1,
        "training keeps them, since the backward pass reads what they read");

  Builder c;
  const int first = c.conv("first", c.input(), width());
  const Graph residual(
      1, {8}, {1}, c.nodes,
      c.conv("last", c.add(c.node("activation", {c.conv("block", first, width())}, {{"activation", "silu"}}), first),
             fixed(3)));
  Program both = lowered(residual, 6, 6), apart = both, backwards = both;
  fuse(both, everySupported, false);
  fuse(apart, simpleOnly, false);
  fuse(backwards, everySupported, true);
  check(both.steps.size() == 3 && named(both, "block").activation == ActivationKind::Silu &&
            named(both, "block").residual == named(both, "first").out,
        "an activation and the addition behind it");
  check(apart.steps.size() == 4 && backwards.steps.size() == 5, "not where the device or the backward pass cannot");
}

// A shuffle becomes part of the plain convolution before it, if that is sub-pixel first and the device agrees.
void shuffledConvolutions() {
  const Graph graph = srresnet(4, {8}, {2});
  const auto counts = [&](const TakesShuffle& takes, bool training) {
    Program program = lowered(graph, 8, 8);
    fuse(program, everySupported, training);
    if (training) differentiate(program);
    const size_t steps = program.steps.size();
    const int forward = program.forwardSteps;
    fuseShuffles(program, takes);
    const int fused = count(program, kConvShuffled);
    check(program.steps.size() + static_cast<size_t>(fused) == steps && program.forwardSteps + fused == forward,
          "one step less for each");
    check(fused + count(program, "pixelShuffle") == 2, "each shuffle is fused or left");
    return fused;
  };
  const auto always = [](const Program&, const Step&, const Step&) { return true; };
  const auto never = [](const Program&, const Step&, const Step&) { return false; };
  check(counts(always, false) == 2 && counts(always, true) == 2, "both shuffles, in training too");
  check(counts(never, false) == 0, "none that the device refuses");

  // Read by an addition as well, the convolution's value has to exist.
  Builder b;
  const int wide = b.conv(b.input(), fixed(36)), other = b.conv(wide, fixed(3));
  const int last = b.add(b.conv(b.shuffle(wide, 2), fixed(3)), b.upsample(other, 2));
  Program program = lowered(Graph(2, {8}, {1}, b.nodes, last), 8, 8);
  fuse(program, everySupported, false);
  fuseShuffles(program, always);
  check(count(program, kConvShuffled) == 0 && count(program, "pixelShuffle") == 1, "a value that others read stays");
}

void gradients() {
  Program program = lowered(everything(), 6, 6);
  fuse(program, everySupported, true);
  const int forward = static_cast<int>(program.steps.size());
  check(program.inference(), "without a backward pass it is inference");
  differentiate(program);
  check(!program.inference() && program.forwardSteps == forward &&
            program.steps[static_cast<size_t>(forward)].kind == kLoss,
        "the loss follows the forward steps");
  check(count(program, operators::Conv::kBackwardWeights) == count(program, "conv"),
        "every convolution has a gradient of its weights");
  for (const Step& step : program.steps) {
    check(step.kind != operators::Conv::kBackwardWeights || step.out < 0, "which is no value");
    check(step.kind != operators::Conv::kBackwardData || step.in.size() == 1, "conv.backwardData reads dOut");
  }
  // What only comes from the image needs no gradient: not the first convolution's data, not the bilinear skip.
  const int input = program.input;
  for (const Step& step : program.steps)
    if (step.kind == operators::Conv::kKind && step.in[0] == input) {
      const auto same = [&](const Step& other) {
        return other.kind == operators::Conv::kBackwardData && other.node == step.node;
      };
      check(std::none_of(program.steps.begin(), program.steps.end(), same), "no gradient of the image");
    }
  check(count(program, "upsample.backward") == 1, "nor through the enlarged image");
}

// Writes the values of a program into its arena one after the other, and reads them.
void placesAreSound(Program program, const std::string& name, bool residualInPlace) {
  const auto floats = [](const Value& value) { return int64_t{value.channels} * value.height * value.width; };
  plan(program, floats, residualInPlace);
  std::vector<int> owner(static_cast<size_t>(program.arenaFloats), -1);
  const auto range = [&](int value, auto&& work) {
    const int64_t at = program.offsets[static_cast<size_t>(value)];
    if (at < 0) return;
    for (int64_t i = at; i < at + floats(program.values[static_cast<size_t>(value)]); ++i)
      work(owner[static_cast<size_t>(i)]);
  };
  size_t broken = 0, inPlace = 0;
  for (const Step& step : program.steps) {
    std::vector<int> reads = step.in;
    if (step.residual >= 0) reads.push_back(step.residual);
    for (int value : reads) range(value, [&](int& held) { broken += held != value; });
    if (step.out < 0) continue;
    for (int value : reads) {
      // Written while it is read: only where plan() allows it.
      if (program.offsets[static_cast<size_t>(value)] < 0 || program.offsets[static_cast<size_t>(step.out)] < 0)
        continue;
      const int64_t a = program.offsets[static_cast<size_t>(value)], b = program.offsets[static_cast<size_t>(step.out)];
      const bool overlaps = a < b + floats(program.values[static_cast<size_t>(step.out)]) &&
                            b < a + floats(program.values[static_cast<size_t>(value)]);
      if (overlaps) {
        check(step.inPlace && a == b,
              name + ": a step of kind " + std::string(step.kind) + " writes over what it reads");
        ++inPlace;
      }
    }
    range(step.out, [&](int& held) { held = step.out; });
  }
  check(broken == 0, name + ": " + std::to_string(broken) + " numbers are not there when they are read");
  check(inPlace > 0, name + ": some steps run in place");
}

void places() {
  Builder b;
  const int image = b.input();
  const int x = b.conv(image, width());
  const int joined = b.node("concat", {x, b.node("prelu", {b.sigmoid(x)}, {{"name", "p"}}), image});
  const int norm = b.node("layerNorm", {b.conv(joined, width(), 1)}, {{"name", "n"}});
  const int gate = b.node("multiply", {b.add(norm, x), b.sigmoid(b.conv(norm, fixed(1)))});
  const Graph mixed(1, {8}, {1}, b.nodes, b.conv(b.node("multiply", {gate, gate}), fixed(3)));
  const std::vector<std::pair<std::string, Graph>> networks{{"srresnet", srresnet(4, {8}, {3})},
                                                            {"rcan", ::wbsr::networks::rcan(2, {16}, {2}, 2)},
                                                            {"every operator", everything()},
                                                            {"mixed", mixed}};
  for (const auto& [name, graph] : networks)
    for (const bool training : {false, true})
      for (const bool fused : {false, true}) {
        Program program = lowered(graph, 6, 5);
        fuse(program, fused ? everySupported : nothing, training);
        if (training) differentiate(program);
        placesAreSound(program, name + (training ? ", training" : "") + (fused ? ", fused" : ""), fused);
      }
}

}  // namespace

int main() {
  try {
    crops();
    fusions();
    furtherFusions();
    shuffledConvolutions();
    gradients();
    places();
  } catch (const std::exception& error) {
    std::printf("not ok: exception: %s\n", error.what());
    return 1;
  }
  return finish();
}
