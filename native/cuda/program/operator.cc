#include "cuda/program/operator.h"

#include <map>

#include "core/error.h"
#include "cuda/kernels/formats.h"

namespace wbsr::cuda {
namespace {

// Made by the first registration, whatever the order of the files' static objects.
std::map<StepKind, Operator>& table() {
  static std::map<StepKind, Operator> operators;
  return operators;
}

}  // namespace

StepCompiler::StepCompiler(Context& context, const Program& program, const Values& values, Launches& launches)
    : context_(context),
      program_(program),
      values_(values),
      launches_(launches),
      copied_(program.values.size(), false) {
  copied_[static_cast<size_t>(program.input)] = true;  // comes with the input
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

Registration::Registration(StepKind kind, Operator definition) {
  WBSR_CHECK(definition.compile && table().emplace(kind, definition).second);
}

const Operator& operatorOf(StepKind kind) {
  const auto found = table().find(kind);
  WBSR_CHECK(found != table().end());
  return found->second;
}

}  // namespace wbsr::cuda
