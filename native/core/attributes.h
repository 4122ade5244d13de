// Attributes of a network's node as plain data, the way JSON has them. The operators (core/operators) read them; the
// bindings and the tests make them.
#pragma once
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace wbsr {

// Thrown by operators. Graph adds the node's number and rethrows it as an Error with code WBSR_INVALID_OPTION.
struct InvalidNode {
  std::string what;
};
[[noreturn]] void invalidNode(const std::string& what);

// Channels in a subnet of width w: a fixed count (RGB ends), or floor(num * w / den).
struct ChannelRule {
  bool scaled = false;
  int fixed = 0;
  int num = 1, den = 1;
  int64_t at(int width) const { return scaled ? static_cast<int64_t>(num) * width / den : fixed; }
};

class Attributes {
 public:
  using Value = std::variant<bool, double, std::string, std::vector<double>, ChannelRule>;

  Attributes() = default;
  Attributes(std::initializer_list<std::pair<std::string, Value>> values) : values_(values) {}
  void set(const std::string& name, Value value) { values_.emplace_back(name, std::move(value)); }
  bool has(const std::string& name) const { return find(name) != nullptr; }

  // Each throws InvalidNode "Expected X for name but received Y" where the value is missing or another one is expected.
  double number(const std::string& name) const;
  int integer(const std::string& name, int min, int max) const;
  bool boolean(const std::string& name) const;
  std::string text(const std::string& name) const;
  ChannelRule channels(const std::string& name) const;
  // The index of the value among `choices`.
  int choice(const std::string& name, const std::vector<std::string>& choices) const;

  // The same where the default stands for a missing value.
  double number(const std::string& name, double otherwise) const { return has(name) ? number(name) : otherwise; }
  int integer(const std::string& name, int min, int max, int otherwise) const {
    return has(name) ? integer(name, min, max) : otherwise;
  }
  bool boolean(const std::string& name, bool otherwise) const { return has(name) ? boolean(name) : otherwise; }
  std::vector<double> numbers(const std::string& name, std::vector<double> otherwise) const;

  // Empty if it is missing.
  std::vector<int> integers(const std::string& name, int min, int max) const;

  // Throws InvalidNode if an attribute was never read, that is, if the operator has no such attribute.
  void refuseUnread() const;

 private:
  const Value* find(const std::string& name) const;
  [[noreturn]] void expected(const std::string& what, const std::string& name) const;

  std::vector<std::pair<std::string, Value>> values_;
  mutable std::set<std::string> read_;
};

}  // namespace wbsr
