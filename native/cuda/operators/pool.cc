// Pooling: averages are a linear map (kernels/resample.h), maxima have their own kernels.
#include "core/operators/pool.h"

#include "cuda/kernels/window_taps.h"
#include "cuda/registry.h"

namespace wbsr::cuda {
namespace {

using operators::Pool;

std::vector<Window> windowsOf(const Pool& op, int inputs, int outputs) {
  std::vector<Window> windows;
  for (int o = 0; o < outputs; ++o) {
    const Pool::Window w = op.window(o, inputs, outputs);
    windows.push_back({w.first, w.last, w.count});
  }
  return windows;
}

// `in`, `out`: values of the forward step; backward: out's gradient goes to in's.
void compileAverage(StepCompiler& compiler, const Step& step, const Layout& in, const Layout& out, bool backward) {
  const auto& op = step.as<Pool>();
  const auto axis = [&](int inputs, int outputs) {
    const AxisTaps taps = averageTaps(windowsOf(op, inputs, outputs));
    return backward ? makeAxis(compiler, transposed(taps, inputs), outputs) : makeAxis(compiler, taps, inputs);
  };
  const Axis rows = axis(in.height, out.height), columns = axis(in.width, out.width);
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      resample(v.at<const T>(step.in[0]), static_cast<const T*>(nullptr), v.at<T>(step.out), batch,
                               in.paddedChannels, rows, columns, stream);
                    });
}

void compilePool(StepCompiler& compiler, const Step& step) {
  const auto& op = step.as<Pool>();
  const Layout in = compiler.values().layout(step.in[0]), out = compiler.values().layout(step.out);
  if (op.average()) return compileAverage(compiler, step, in, out, false);
  const WindowAxis rows = makeWindowAxis(compiler, windowsOf(op, in.height, out.height), in.height),
                   columns = makeWindowAxis(compiler, windowsOf(op, in.width, out.width), in.width);
  compiler.launchAs(
      step.out, step.out, [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
        using T = decltype(type);
        maxPool(v.at<const T>(step.in[0]), v.at<T>(step.out), batch, in.paddedChannels, rows, columns, stream);
      });
}

// in: dOut; of maxima also the input.
void compileBackward(StepCompiler& compiler, const Step& step) {
  const auto& op = step.as<Pool>();
  const Layout in = compiler.values().layout(step.out), out = compiler.values().layout(step.in[0]);
  if (op.average()) return compileAverage(compiler, step, in, out, true);
  const WindowAxis rows = makeWindowAxis(compiler, windowsOf(op, in.height, out.height), in.height),
                   columns = makeWindowAxis(compiler, windowsOf(op, in.width, out.width), in.width);
  compiler.launchAs(step.out, step.out,
                    [=, &v = compiler.values(), batch = compiler.batch(), stream = compiler.stream()](auto type) {
                      using T = decltype(type);
                      maxPoolBackward(v.at<const T>(step.in[0]), v.at<const T>(step.in[1]), v.at<T>(step.out), batch,
                                      in.paddedChannels, rows, columns, stream);
                    });
}

}  // namespace

void register_pool(Registry& registry) {
  registry.add(Pool::kKind, compilePool);
  registry.add(Pool::kBackward, compileBackward);
}

}  // namespace wbsr::cuda
