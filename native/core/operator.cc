#include "core/operator.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace wbsr {
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

std::vector<int> indicesOf(const Ranges& ranges) {
  std::vector<int> indices;
  for (const Range& range : ranges)
    for (int i = 0; i < range.count; ++i) indices.push_back(range.from + i);
  return indices;
}

Ranges rangesOf(const std::vector<int>& indices) {
  Ranges ranges;
  for (const int index : indices) ranges.push_back({index, 1});
  return merged(ranges);
}

Channels channelsOf(const ChannelRule& rule, const Width& at, const std::vector<int>& order) {
  for (const int width : {at.width, at.largest}) {
    if (rule.at(width) < 1) invalidNode("no channel is left at width " + std::to_string(width));
    if (rule.at(width) > kMostChannels)
      invalidNode("more than " + std::to_string(kMostChannels) + " channels at width " + std::to_string(width));
  }
  Channels channels = Channels::first(static_cast<int>(rule.at(at.width)), static_cast<int>(rule.at(at.largest)));
  if (order.empty()) return channels;
  std::vector<int> all(order);
  std::sort(all.begin(), all.end());
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i] != static_cast<int>(i)) all.clear();
  if (static_cast<int>(all.size()) != channels.full)
    invalidNode("order must hold each of 0 to " + std::to_string(channels.full - 1) + " once");
  all.assign(order.begin(), order.begin() + channels.count);
  std::sort(all.begin(), all.end());
  channels.ranges = rangesOf(all);
  return channels;
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
