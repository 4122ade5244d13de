// A value resized to the size of another one (kernels/resample.h).
#include "core/operators/resize_like.h"

#include "cuda/kernels/window_taps.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::ResizeLike;

// `in`, `out`: values of the forward step; backward: out's gradient goes to in's.
void compile(StepCompiler& compiler, const Step& step, const Layout& in, const Layout& out, bool backward) {
  const Interpolation mode = step.as<ResizeLike>().nearest() ? Interpolation::Nearest : Interpolation::Bilinear;
  const auto axis = [&](int inputs, int outputs) {
    const AxisTaps taps = resizeTaps(mode, 0, inputs, outputs, inputs, outputs);
    return backward ? makeAxis(compiler, transposed(taps, inputs), outputs) : makeAxis(compiler, taps, inputs);
  };
  const Axis rows = axis(in.height, out.height), columns = axis(in.width, out.width);
  // A pooled value is float beside bf16 planes.
  compiler.launch(step.out, [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()] {
    withType(v.isHalf(step.in[0]), [&](auto inType) {
      withType(v.isHalf(step.out), [&](auto outType) {
        using In = decltype(inType);
        using Out = decltype(outType);
        resample(v.at<const In>(step.in[0]), static_cast<const Out*>(nullptr), v.at<Out>(step.out), batch,
                 in.paddedChannels, rows, columns, stream);
      });
    });
  });
}

}  // namespace

void register_resize_like(Registry& registry) {
  registry.add(ResizeLike::kKind, [](StepCompiler& compiler, const Step& step) {
    compile(compiler, step, compiler.values().layout(step.in[0]), compiler.values().layout(step.out), false);
  });
  registry.add(ResizeLike::kBackward, [](StepCompiler& compiler, const Step& step) {
    compile(compiler, step, compiler.values().layout(step.out), compiler.values().layout(step.in[0]), true);
  });
}

}  // namespace wbsr::cuda
