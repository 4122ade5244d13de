// Convolutions through cuDNN's graph API against plain double loops: directions, fused ends, precisions, result types,
// awkward shapes, engines timed; on the host also which engine is taken and what happens where there is none that fuses.
#include "support/conv_reference.h"

namespace {

using namespace wbsr;
using namespace wbsr::test;

// On a GPU every plan is compiled, for a second or so: several at a time.
void checkAll(ConvPlans& plans, const std::vector<ConvSpec>& specs) {
  plans.prepare(specs);
  for (const ConvSpec& s : specs) checkSpec(plans, s);
}

void checkResults() {
  std::vector<ConvSpec> specs;
  for (const Precision precision : {Precision::Bf16, Precision::Tf32, Precision::Fp32})
    for (size_t i = 0; i < kShapes.size(); ++i)
      if (precision == Precision::Bf16 || i % 2 == 0)
        eachSpec(kShapes[i], precision, [&](const ConvSpec& s) { specs.push_back(s); });
  checkAll(*makeConvPlans(0, 0), specs);
}

void checkAutotune() {
  std::vector<ConvSpec> specs;
  eachSpec({2, 5, 3, 24, 16, 3}, Precision::Bf16, [&](const ConvSpec& s) { specs.push_back(s); });
  checkAll(*makeConvPlans(0, 4), specs);
}

#ifdef WBSR_HOST_CUDA
using host_cuda::fakeCudnn;
using host_cuda::fakeCudnnCounts;

void checkEngines() {
  const auto plans = makeConvPlans(0, 0);
  const auto engineOf = [&](const ConvSpec& s) {
    checkSpec(*plans, s);
    return fakeCudnnCounts().engine;
  };
  const Shape shape{2, 3, 5, 8, 16, 3};
  ConvSpec s = makeSpec(ConvSpec::Forward, shape);
  check(engineOf(s) == 1, "the first engine that works, is deterministic and has a workspace within bounds");
  s.bias = true;
  check(engineOf(s) == 4, "the fused one");
  ConvSpec toData = makeSpec(ConvSpec::BackwardData, shape);
  check(engineOf(toData) == 1, "a bare data gradient");
  toData.residual = true;
  check(engineOf(toData) == 4 && has(plans->get(toData)->describe(), ", fused"), "one with another gradient added");
  toData.gate = true, toData.activation = ActivationKind::Relu;
  check(engineOf(toData) == 4 && has(plans->get(toData)->describe(), ", fused"), "and with a gate behind it");
  const ConvSpec toWeights = makeSpec(ConvSpec::BackwardWeights, shape);
  const auto halved = plans->get(toWeights);
  check(has(halved->describe(), "written as bf16") && !has(halved->describe(), "converted") &&
            halved->written() == Type::Bf16,
        "dw is written as bf16");
  fakeCudnn().halfGradients = false;
  const auto others = makeConvPlans(0, 0);
  check(!has(checkSpec(*others, toWeights), "written") && others->get(toWeights)->written() == Type::Float,
        "and as float where no engine writes bf16");
  fakeCudnn().halfGradients = true;
  check(engineOf(makeSpec(ConvSpec::Forward, shape, Precision::Tf32)) == 9, "tf32 takes tensor cores");
  check(engineOf(makeSpec(ConvSpec::Forward, shape, Precision::Fp32)) == 1, "fp32 does not");
  fakeCudnn().bestMode = false;
  s.height = 4;
  check(engineOf(s) == 0, "the fallback's engine where the best mode has none");
}

void checkFallback() {
  fakeCudnn().fusion = false;
  fakeCudnn().floatResults = false;
  const auto plans = makeConvPlans(0, 0);
  for (const Shape& shape : kShapes)
    eachSpec(shape, Precision::Bf16, [&](const ConvSpec& s) {
      const std::string how = checkSpec(*plans, s);
      const bool end = s.bias || s.residual || s.activation != ActivationKind::None;
      const bool floats = s.mode == ConvSpec::BackwardData && s.x == Type::Float;
      check(has(how, "not fused") == end && has(how, "converted") == floats, s.text() + " is done as " + how);
      check(has(how, "written as bf16") == (floats || s.mode == ConvSpec::BackwardWeights),
            s.text() + " is done as " + how);
    });
  eachSpec(kShapes[1], Precision::Fp32, [&](const ConvSpec& s) { checkSpec(*plans, s); });
}

// Sub-pixels: a graph for each row of them, where cuDNN writes rows that are apart; else planes, which a kernel moves.
void checkRows() {
  ConvSpec s = makeSpec(ConvSpec::Forward, {2, 5, 3, 24, 72, 3});
  s.factor = 3;
  const auto with = [&](bool rowStrides, bool fusion) {
    fakeCudnn().rowStrides = rowStrides;
    fakeCudnn().fusion = fusion;
    return checkSpec(*makeConvPlans(0, 0), s);
  };
  check(has(with(true, true), "by rows of sub-pixels"), "rows of sub-pixels");
  check(has(with(true, false), "by rows of sub-pixels"), "without an end nothing need be fused");
  check(has(with(false, true), ", shuffled"), "planes where rows cannot be apart");
  s.bias = true, s.activation = ActivationKind::Relu;
  check(has(with(true, true), ", fused, by rows of sub-pixels"), "an end by rows");
  check(has(with(true, false), ", not fused, shuffled"), "an end that is not fused");
  check(has(with(false, true), ", fused, shuffled"), "an end of planes");
}
#endif

// What is not a number stays so through every end of a convolution, fused or not, and through the gates of gradients.
void checkNan() {
  const auto plans = makeConvPlans(0, 0);
  const Shape shape{1, 3, 4, 8, 16, 3};
  for (const ActivationKind kind :
       {ActivationKind::None, ActivationKind::Relu, ActivationKind::LeakyRelu, ActivationKind::Sigmoid}) {
    ConvSpec s = makeSpec(ConvSpec::Forward, shape);
    s.bias = true;
    s.activation = kind;
    s.slope = 0.1f;
    for (const bool residual : {false, true}) {
      s.residual = residual;
      check(nansOf(*plans, s) > 0, s.text() + " keeps NaN");
    }
    if (kind == ActivationKind::Sigmoid) continue;
    ConvSpec toData = makeSpec(ConvSpec::BackwardData, shape);
    toData.gate = kind != ActivationKind::None;
    toData.activation = kind;
    toData.slope = 0.1f;
    check(nansOf(*plans, toData) > 0, toData.text() + " keeps NaN");
    toData.residual = true;
    check(nansOf(*plans, toData) > 0, toData.text() + " keeps NaN");
    check(nansOf(*plans, toData, Spoil::Residual) == 1, toData.text() + " keeps that of the residual");
  }
}

// Strides and paddings as ESA, transposed convolutions and even kernels have them.
void checkGeometries() {
  const auto plans = makeConvPlans(0, 0);
  struct Geometry {
    Shape shape;
    int stride, padding;
  };
  for (const Geometry& g :
       {Geometry{{2, 7, 9, 8, 16, 3}, 2, 0}, Geometry{{1, 8, 6, 16, 8, 3}, 2, 1}, Geometry{{1, 9, 9, 8, 8, 2}, 1, 1},
        Geometry{{1, 12, 8, 8, 8, 9}, 4, 4}, Geometry{{1, 5, 6, 8, 8, 4}, 2, 1}})
    eachSpec(g.shape, Precision::Bf16, [&](ConvSpec s) {
      s.stride = g.stride;
      s.padding = g.padding;
      checkSpec(*plans, s);
    });
}

}  // namespace

int main() {
  if (!runParts({checkResults, checkNan, checkGeometries, checkAutotune})) return 2;
#ifdef WBSR_HOST_CUDA
  runParts({checkEngines, checkFallback, checkRows});
#endif
  return finish();
}
