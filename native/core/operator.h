// The properties of an operator that core needs. One file of core/operators declares one operator by deriving from this
// class. Graph, lower(), fuse(), differentiate() and plan() use nothing else.
//
// To add an operator: core/operators/NAME.h with the class and, in namespace wbsr::operators, `inline const OperatorEntry
// NAME{"its name in a network", &Class::read};` (CMake makes the table from the files), and one file per device that
// registers its step kinds (cpu/operators/NAME.cc, cuda/operators/NAME.cc). The class is defined in the header alone,
// so that a device reads the attributes of a step with step.as<Class>().
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/attributes.h"

namespace wbsr {

struct Program;
struct Step;
class Backward;
struct Uses;

// Kinds of steps are compared as text, because the addon and the CUDA plugin each contain a copy of core.
using StepKind = std::string_view;

// Height and width of a value are num / den times the LR image's; pooled values are 1 x 1.
struct Resolution {
  int num = 1, den = 1;
  bool pooled = false;
  Resolution times(int factor, int divisor) const;  // in lowest terms
  bool operator==(const Resolution&) const = default;
};

struct Size {
  int height = 0, width = 0;
  bool operator==(const Size&) const = default;
};

struct Range {
  int from = 0, count = 0;
  bool operator==(const Range&) const = default;
};
using Ranges = std::vector<Range>;  // ascending, disjoint, not adjacent

// Channels of a value in a subnet. `ranges`: their indices among the value's channels at the largest width. One range
// from 0, except behind a concatenation or a grouped convolution, where each part keeps its own first channels, and
// behind a convolution whose channels have an order.
struct Channels {
  int count = 0;  // in this subnet
  int full = 0;   // at the largest width
  Ranges ranges;
  static Channels first(int count, int full) { return {count, full, {{0, count}}}; }
};
// Joins adjacent ranges and drops empty ones.
Ranges merged(const Ranges& ranges);

constexpr int kMostChannels = 1 << 16;

struct Width {
  int width, largest;
};
// The rule's channels at that width: the first ones, or the first of `order` where it is not empty. Throws InvalidNode
// where there are none or too many, or where `order` is no order of all channels.
Channels channelsOf(const ChannelRule& rule, const Width& at, const std::vector<int>& order = {});
// The indices that the ranges hold, ascending, and the ranges of ascending indices.
std::vector<int> indicesOf(const Ranges& ranges);
Ranges rangesOf(const std::vector<int>& indices);

// The radius around its own position that an output pixel depends on, in pixels of the first input: num / den.
struct Reach {
  int num = 0, den = 1;
  bool unbounded = false;
};

// A parameter of one node: its full shape, the part that a subnet uses, its initial values.
struct ParameterSpec {
  std::string name;
  std::vector<int> shape;      // at the largest width
  std::vector<Ranges> ranges;  // per dimension, those of the subnet
  bool random = false;         // normal with standard deviation `value`; else all `value`
  float value = 0.f;
};

class Operator {
 public:
  virtual ~Operator() = default;
  // The kind of its forward step: its name in a network.
  virtual StepKind kind() const = 0;

  // The prefix of its parameters' names, unique in a network; empty where it has none.
  virtual std::string name() const { return {}; }

  // --- Graph. Throw InvalidNode (invalidNode()) where the inputs do not fit.
  virtual int leastInputs() const { return 1; }
  virtual int mostInputs() const { return leastInputs(); }
  virtual bool isInput() const { return false; }  // the LR image
  // In each subnet the value of a stack is one of its inputs: its index at this depth; -1: no stack.
  virtual int selected(int /*depth*/) const { return -1; }
  // Of the output. The default is that of the inputs, which must agree.
  virtual Channels channels(const std::vector<Channels>& in, const Width& at) const;
  virtual Resolution resolution(const std::vector<Resolution>& in) const;
  virtual Size size(const std::vector<Size>& in) const;
  virtual Reach reach(const std::vector<Resolution>& /*in*/) const { return {}; }
  // Multiplications by weights for one image, which FLOPs count twice.
  virtual int64_t multiplications(const std::vector<Channels>& /*in*/, const Channels& /*out*/, int64_t /*inPixels*/,
                                  int64_t /*outPixels*/) const {
    return 0;
  }
  virtual std::vector<ParameterSpec> parameters(const std::vector<Channels>& /*in*/, const Channels& /*out*/) const {
    return {};
  }
  // Whether it may write its output channels sub-pixel first (Value::groups) if a pixelShuffle is their only reader.
  // The operator then belongs to the tail.
  virtual bool ordersChannels() const { return false; }
  // Whether it moves sub-pixels from channels to pixels (pixelShuffle).
  virtual bool shuffles() const { return false; }

  // --- Program
  // Which input's memory a step of this operator may write its output over (element i depends on element i of that
  // input alone); -1: none.
  virtual int overwrites(const Step& /*step*/) const { return -1; }
  // The operator of the step in subnets of that width; null: this one.
  virtual std::shared_ptr<const Operator> atWidth(const Width& /*at*/) const { return nullptr; }
  // Appends the backward steps of a forward step.
  virtual void differentiate(const Step& step, Backward& backward) const = 0;
};

// How an operator is read from a network's description.
struct OperatorEntry {
  const char* name;
  std::shared_ptr<const Operator> (*read)(const Attributes& attributes);
};
const std::vector<OperatorEntry>& operatorTable();  // generated by CMake: one entry per file of core/operators
// Throws InvalidNode for an unknown operator and for attributes that it does not have.
std::shared_ptr<const Operator> readOperator(const std::string& op, const Attributes& attributes);

// One node of a network.
struct Node {
  std::shared_ptr<const Operator> op;
  std::vector<int> inputs;  // node indices, all smaller than the node's own
  // The operator as its class, null where it is another one.
  template <class Class>
  const Class* as() const {
    return op->kind() == Class::kKind ? static_cast<const Class*>(op.get()) : nullptr;
  }
};

// Throws Error with code WBSR_INVALID_OPTION.
Node makeNode(const std::string& op, std::vector<int> inputs, const Attributes& attributes = {});

}  // namespace wbsr
