#include "core/attributes.h"

#include <cmath>
#include <sstream>

namespace wbsr {
namespace {

std::string quoted(const std::string& text) { return "'" + text + "'"; }

std::string describe(const Attributes::Value& value) {
  std::ostringstream out;
  if (const auto* flag = std::get_if<bool>(&value))
    out << (*flag ? "true" : "false");
  else if (const auto* number = std::get_if<double>(&value))
    out << *number;
  else if (const auto* text = std::get_if<std::string>(&value))
    out << quoted(*text);
  else if (const auto* numbers = std::get_if<std::vector<double>>(&value))
    out << "an array of " << numbers->size();
  else
    out << "a channel rule";
  return out.str();
}

}  // namespace

void invalidNode(const std::string& what) { throw InvalidNode{what}; }

const Attributes::Value* Attributes::find(const std::string& name) const {
  for (const auto& [key, value] : values_)
    if (key == name) {
      read_.insert(name);
      return &value;
    }
  return nullptr;
}

void Attributes::expected(const std::string& what, const std::string& name) const {
  const Value* value = find(name);
  invalidNode("Expected " + what + " for " + name + " but received " + (value ? describe(*value) : "undefined"));
}

double Attributes::number(const std::string& name) const {
  const Value* value = find(name);
  const double* number = value ? std::get_if<double>(value) : nullptr;
  if (!number || !std::isfinite(*number)) expected("a number", name);
  return *number;
}

int Attributes::integer(const std::string& name, int min, int max) const {
  const Value* value = find(name);
  const double* number = value ? std::get_if<double>(value) : nullptr;
  if (!number || *number != std::floor(*number) || *number < min || *number > max)
    expected("an integer between " + std::to_string(min) + " and " + std::to_string(max), name);
  return static_cast<int>(*number);
}

bool Attributes::boolean(const std::string& name) const {
  const Value* value = find(name);
  const bool* flag = value ? std::get_if<bool>(value) : nullptr;
  if (!flag) expected("a boolean", name);
  return *flag;
}

std::string Attributes::text(const std::string& name) const {
  const Value* value = find(name);
  const std::string* text = value ? std::get_if<std::string>(value) : nullptr;
  if (!text || text->empty()) expected("a non-empty string", name);
  return *text;
}

ChannelRule Attributes::channels(const std::string& name) const {
  const Value* value = find(name);
  const ChannelRule* rule = value ? std::get_if<ChannelRule>(value) : nullptr;
  if (!rule) expected("{ fixed } or { num, den }", name);
  return *rule;
}

int Attributes::choice(const std::string& name, const std::vector<std::string>& choices) const {
  const Value* value = find(name);
  const std::string* text = value ? std::get_if<std::string>(value) : nullptr;
  std::string all;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (text && *text == choices[i]) return static_cast<int>(i);
    all += (i == 0 ? "" : i + 1 == choices.size() ? " or " : ", ") + quoted(choices[i]);
  }
  expected(all, name);
}

std::vector<double> Attributes::numbers(const std::string& name, std::vector<double> otherwise) const {
  const Value* value = find(name);
  if (!value) return otherwise;
  const auto* numbers = std::get_if<std::vector<double>>(value);
  if (!numbers || numbers->empty()) expected("a non-empty array of numbers", name);
  for (const double number : *numbers)
    if (!std::isfinite(number)) expected("an array of finite numbers", name);
  return *numbers;
}

std::vector<int> Attributes::integers(const std::string& name, int min, int max) const {
  std::vector<int> result;
  for (const double number : numbers(name, {})) {
    if (number != std::floor(number) || number < min || number > max)
      expected("integers between " + std::to_string(min) + " and " + std::to_string(max), name);
    result.push_back(static_cast<int>(number));
  }
  return result;
}

void Attributes::refuseUnread() const {
  for (const auto& entry : values_)
    if (!read_.count(entry.first)) invalidNode("unknown attribute " + entry.first);
}

}  // namespace wbsr
