// Pixel unshuffle is the gradient of a pixel shuffle, and the other way round.
#include "core/operators/pixel_unshuffle.h"

#include "cuda/operators/kernels.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::PixelUnshuffle;

ShuffleShape shapeOf(const StepCompiler& compiler, const Step& step, int smallValue, int largeValue) {
  const Layout s = compiler.values().layout(smallValue), l = compiler.values().layout(largeValue);
  return {compiler.batch(),
          s.height,
          s.width,
          step.as<PixelUnshuffle>().factor(),
          l.channels,
          false,
          l.kind == Layout::Thin,
          ActivationKind::None,
          0.f};
}

// work(S{}, L{}) with the types of the values.
template <typename F>
void withTypes(const Values& v, int smallValue, int largeValue, F&& work) {
  withType(v.isHalf(smallValue), [&](auto smallType) {
    if constexpr (std::is_same_v<decltype(smallType), float>)
      work(float{}, float{});
    else
      withType(v.isHalf(largeValue), [&](auto largeType) { work(bf16{}, largeType); });
  });
}

void compileUnshuffle(StepCompiler& compiler, const Step& step) {
  const ShuffleShape shape = shapeOf(compiler, step, step.out, step.in[0]);
  compiler.launch(step.out, [=, &v = compiler.values(), stream = compiler.stream()] {
    withTypes(v, step.out, step.in[0], [&](auto smallType, auto largeType) {
      using S = decltype(smallType);
      using L = decltype(largeType);
      pixelShuffleBackward(shape, v.at<L>(step.in[0]), static_cast<const L*>(nullptr), v.at<S>(step.out), stream);
    });
  });
}

void compileUnshuffleBackward(StepCompiler& compiler, const Step& step) {
  const ShuffleShape shape = shapeOf(compiler, step, step.in[0], step.out);
  compiler.launch(step.out, [=, &v = compiler.values(), stream = compiler.stream()] {
    withTypes(v, step.in[0], step.out, [&](auto smallType, auto largeType) {
      using S = decltype(smallType);
      using L = decltype(largeType);
      pixelShuffle(shape, v.at<S>(step.in[0]), v.at<L>(step.out), stream);
    });
  });
}

}  // namespace

void register_pixel_unshuffle(Registry& registry) {
  registry.add(PixelUnshuffle::kKind, compileUnshuffle);
  registry.add(PixelUnshuffle::kBackward, compileUnshuffleBackward);
}

}  // namespace wbsr::cuda
