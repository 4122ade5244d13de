// stack: its inputs are x, the output of block 1, ... the output of block D; at depth d it stands for input d.
#pragma once
#include "core/backward.h"
#include "core/error.h"

namespace wbsr::operators {

class Stack final : public Operator {
 public:
  static constexpr StepKind kKind = "stack";
  StepKind kind() const override { return kKind; }
  static std::shared_ptr<const Operator> read(const Attributes&) { return std::make_shared<Stack>(); }

  int mostInputs() const override { return 1 << 20; }
  int selected(int depth) const override { return depth; }
  void differentiate(const Step&, Backward&) const override { WBSR_CHECK(false); }  // stacks make no steps
};

inline const OperatorEntry stack{"stack", &Stack::read};

}  // namespace wbsr::operators
