// Cuts a rectangle out of a value, in front of the upsampling tail. Inserted by lower(); no node of a network.
#pragma once
#include "core/backward.h"
#include "core/error.h"

namespace wbsr::operators {

class Crop final : public Operator {
 public:
  static constexpr StepKind kKind = "crop";  // out = in0[y : y + height, x : x + width]
  StepKind kind() const override { return kKind; }

  Crop(int x, int y, const Size& size) : x_(x), y_(y), size_(size) {}
  static std::shared_ptr<const Operator> read(const Attributes&) { invalidNode("unknown operator crop"); }

  int x() const { return x_; }
  int y() const { return y_; }
  Size size(const std::vector<Size>&) const override { return size_; }
  void differentiate(const Step&, Backward&) const override { WBSR_CHECK(false); }  // training takes whole images

 private:
  int x_, y_;
  Size size_;
};

inline const OperatorEntry crop{"crop", &Crop::read};

}  // namespace wbsr::operators
