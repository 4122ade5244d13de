#include "core/operator.h"

#include <numeric>

#include "core/error.h"

namespace wbsr {
namespace {

constexpr int kMostChannels = 1 << 16;

}  // namespace

Resolution Resolution::times(int factor, int divisor) const {
  const int over = num * factor, under = den * divisor, common = std::gcd(over, under);
  return {over / common, under / common, pooled};
}

Ranges merged(const Ranges& ranges) {
  Ranges result;
  for (const Range& range : ranges) {
    if (range.count == 0) continue;
    if (!result.empty() && result.back().from + result.back().count == range.from)
      result.back().count += range.count;
    else
      result.push_back(range);
  }
  return result;
}

Channels channelsOf(const ChannelRule& rule, const Width& at) {
  for (const int width : {at.width, at.largest}) {
    if (rule.at(width) < 1) invalidNode("no channel is left at width " + std::to_string(width));
    if (rule.at(width) > kMostChannels)
      invalidNode("more than " + std::to_string(kMostChannels) + " channels at width " + std::to_string(width));
  }
  return Channels::first(static_cast<int>(rule.at(at.width)), static_cast<int>(rule.at(at.largest)));
}

Channels Operator::channels(const std::vector<Channels>& in, const Width& at) const {
  for (const Channels& other : in)
    if (other.count != in[0].count)
      invalidNode("its inputs have " + std::to_string(in[0].count) + " and " + std::to_string(other.count) +
                  " channels at width " + std::to_string(at.width));
  return in[0];
}

Resolution Operator::resolution(const std::vector<Resolution>& in) const {
  for (const Resolution& other : in)
    if (other != in[0]) invalidNode("its inputs differ in size");
  return in[0];
}

Size Operator::size(const std::vector<Size>& in) const {
  for (const Size& other : in)
    if (other != in[0])
      invalidNode("its inputs differ in size: " + std::to_string(in[0].width) + "x" + std::to_string(in[0].height) +
                  " and " + std::to_string(other.width) + "x" + std::to_string(other.height));
  return in[0];
}

std::shared_ptr<const Operator> readOperator(const std::string& op, const Attributes& attributes) {
  for (const OperatorEntry& entry : operatorTable()) {
    if (op != entry.name) continue;
    auto read = entry.read(attributes);
    attributes.refuseUnread();
    return read;
  }
  invalidNode("unknown operator " + op);
}

Node makeNode(const std::string& op, std::vector<int> inputs, const Attributes& attributes) {
  try {
    return {readOperator(op, attributes), std::move(inputs)};
  } catch (const InvalidNode& invalid) {
    throw Error("WBSR_INVALID_OPTION", op + ": " + invalid.what);
  }
}

}  // namespace wbsr
