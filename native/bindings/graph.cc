#include "bindings/graph.h"

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/fields.h"

namespace wbsr::bindings {

Graph readGraph(const Napi::Object& graph) {
  std::vector<Node> nodes;
  const Napi::Array list = arrayOf(graph, "nodes");
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object item = Napi::Value(list[i]).As<Napi::Object>();
    Node node;
    const std::string op = item.Get("op").ToString();
    node.inputs = intsOf(item, "inputs");
    auto channels = [&] {
      const Napi::Object rule = item.Get("channels").As<Napi::Object>();
      if (rule.Has("fixed")) {
        node.channels.fixed = intOf(rule, "fixed");
      } else {
        node.channels.scaled = true;
        node.channels.num = intOf(rule, "num");
        node.channels.den = std::max(1, intOf(rule, "den"));
      }
    };
    if (op == "input") {
      node.op = Op::Input;
      channels();
    } else if (op == "conv") {
      node.op = Op::Conv;
      node.name = item.Get("name").ToString();
      node.kernel = intOf(item, "kernel");
      node.bias = item.Get("bias").ToBoolean();
      node.initGain = static_cast<float>(numberOf(item, "initGain"));
      channels();
    } else if (op == "activation") {
      node.op = Op::Activation;
      const std::string kind = item.Get("activation").ToString();
      node.slope = static_cast<float>(numberOf(item, "slope"));
      if (kind == "relu")
        node.activation = ActivationKind::Relu;
      else if (kind == "leakyRelu")
        node.activation = ActivationKind::LeakyRelu;
      else if (kind == "sigmoid")
        node.activation = ActivationKind::Sigmoid;
      else
        invalid(graph.Env(), "activation", "relu, leakyRelu or sigmoid");
    } else if (op == "add") {
      node.op = Op::Add;
    } else if (op == "pixelShuffle") {
      node.op = Op::PixelShuffle;
      node.factor = intOf(item, "factor");
    } else if (op == "upsample") {
      node.op = Op::Upsample;
      node.factor = intOf(item, "factor");
      node.cubic = item.Get("cubic").ToBoolean();
    } else if (op == "stack") {
      node.op = Op::Stack;
    } else if (op == "globalPool") {
      node.op = Op::GlobalPool;
    } else if (op == "scaleChannels") {
      node.op = Op::ScaleChannels;
    } else {
      throwError(graph.Env(), "WBSR_INVALID_OPTION", "network node " + std::to_string(i) + ": unknown operator " + op);
    }
    nodes.push_back(std::move(node));
  }
  return Graph(intOf(graph, "scale"), intsOf(graph, "widths"), intsOf(graph, "depths"), std::move(nodes),
               intOf(graph, "output"));
}

}  // namespace wbsr::bindings
