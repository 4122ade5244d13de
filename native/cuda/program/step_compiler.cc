#include "cuda/program/step_compiler.h"

#include "cuda/kernels/formats.h"

namespace wbsr::cuda {

StepCompiler::StepCompiler(Context& context, const Program& program, const Values& values, Launches& launches,
                           Constants& constants)
    : context_(context),
      program_(program),
      values_(values),
      launches_(launches),
      constants_(constants),
      copied_(program.values.size(), false) {
  copied_[static_cast<size_t>(program.input)] = true;  // comes with the input
}

const void* StepCompiler::upload(const void* values, size_t bytes) {
  if (bytes == 0) return nullptr;
  auto made = std::make_unique<DeviceBuffer>();
  made->reserve(bytes);
  copyNow(made->as(), values, bytes, cudaMemcpyHostToDevice, stream());
  constants_.push_back(std::move(made));
  return constants_.back()->as();
}

void StepCompiler::finishGradients() {
  if (gradientSums_.empty()) return;
  needs_.gradientParts = gradientSums_.bytes();
  const GradientSumTables tables = gradientSums_.tables([&](const auto& list) { return constants(list); });
  launchBeside({}, [tables, &c = context_] {
    addGradientSums(tables, c.gradientParts.as<float>(), c.weights->gradient(), c.side);
  });
}

std::function<const void*()> StepCompiler::operand(int value) {
  const Values& v = values_;
  if (!v.readsCopy(value)) return [&v, value] { return static_cast<const void*>(v.at(value)); };
  if (!copied_[static_cast<size_t>(value)]) {
    copied_[static_cast<size_t>(value)] = true;
    launches_.add(v.rangeOfCopy(value), [&v, value, stream = stream()] {
      cast(v.at<float>(value), static_cast<bf16*>(v.copyOf(value)), v.elements(value), stream);
    });
  }
  return [&v, value] { return static_cast<const void*>(v.copyOf(value)); };
}

}  // namespace wbsr::cuda
