#include "bindings/graph.h"

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/fields.h"
#include "core/error.h"

namespace wbsr::bindings {
namespace {

ChannelRule channelRule(const Napi::Object& rule) {
  ChannelRule channels;
  if (rule.Has("fixed")) {
    channels.fixed = intOf(rule, "fixed");
  } else {
    channels.scaled = true;
    channels.num = intOf(rule, "num");
    channels.den = std::max(1, intOf(rule, "den"));
  }
  return channels;
}

std::vector<double> numbers(const Napi::Array& array, const std::string& name) {
  std::vector<double> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value value = array[i];
    if (!value.IsNumber()) throwExpected("a number", name + "[" + std::to_string(i) + "]", value, array.Env());
    out.push_back(value.As<Napi::Number>().DoubleValue());
  }
  return out;
}

// All fields of a node except its operator and inputs. The operator interprets them.
Attributes attributesOf(const Napi::Object& node) {
  Attributes attributes;
  const Napi::Array names = node.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = Napi::Value(names[i]).ToString();
    if (name == "op" || name == "inputs") continue;
    const Napi::Value value = node.Get(name);
    if (value.IsUndefined()) continue;
    if (value.IsBoolean())
      attributes.set(name, value.As<Napi::Boolean>().Value());
    else if (value.IsNumber())
      attributes.set(name, value.As<Napi::Number>().DoubleValue());
    else if (value.IsString())
      attributes.set(name, value.As<Napi::String>().Utf8Value());
    else if (value.IsArray())
      attributes.set(name, numbers(value.As<Napi::Array>(), name));
    else if (value.IsObject())
      attributes.set(name, channelRule(value.As<Napi::Object>()));
    else
      throwExpected("a boolean, number, string, array or object", name, value, node.Env());
  }
  return attributes;
}

}  // namespace

Graph readGraph(const Napi::Object& graph) {
  std::vector<Node> nodes;
  const Napi::Array list = arrayOf(graph, "nodes");
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object item = Napi::Value(list[i]).As<Napi::Object>();
    try {
      nodes.push_back({readOperator(item.Get("op").ToString(), attributesOf(item)), intsOf(item, "inputs")});
    } catch (const InvalidNode& invalid) {
      throw Error("WBSR_INVALID_OPTION", "network node " + std::to_string(i) + ": " + invalid.what);
    }
  }
  return Graph(intOf(graph, "scale"), intsOf(graph, "widths"), intsOf(graph, "depths"), std::move(nodes),
               intOf(graph, "output"));
}

}  // namespace wbsr::bindings
