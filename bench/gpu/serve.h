// The requests to a contestant: one line of key=value words, separated by tabs (values may have
// spaces), on stdin, one line of JSON on stdout (contest.py is the other
// end). Whatever a command throws becomes {"error": ...}, and the contestant lives on.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"

namespace wbsr::bench {

class Request {
 public:
  explicit Request(const std::string& line) {
    std::istringstream words(line);
    for (std::string word; std::getline(words, word, '\t');) {
      const size_t equals = word.find('=');
      if (equals == std::string::npos) throw Error("WBSR_INVALID_OPTION", "Expected key=value but received " + word);
      values_[word.substr(0, equals)] = word.substr(equals + 1);
    }
  }
  bool has(const std::string& key) const { return values_.count(key) != 0; }
  std::string text(const std::string& key) const {
    const auto found = values_.find(key);
    if (found == values_.end()) throw Error("WBSR_INVALID_OPTION", "Expected " + key + "=... in the request");
    return found->second;
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    return has(key) ? text(key) : otherwise;
  }
  int number(const std::string& key) const { return std::stoi(text(key)); }
  int number(const std::string& key, int otherwise) const { return has(key) ? number(key) : otherwise; }
  std::vector<int> list(const std::string& key) const {  // 32,48,64
    std::vector<int> out;
    std::istringstream parts(text(key));
    for (std::string part; std::getline(parts, part, ',');) out.push_back(std::stoi(part));
    return out;
  }

 private:
  std::map<std::string, std::string> values_;
};

class Json {
 public:
  Json& text(const std::string& key, const std::string& value) { return raw(key, quoted(value)); }
  Json& number(const std::string& key, double value) { return raw(key, formatted(value)); }
  Json& boolean(const std::string& key, bool value) { return raw(key, value ? "true" : "false"); }
  template <typename T>
  Json& numbers(const std::string& key, const std::vector<T>& values) {
    std::string list = "[";
    for (const T& v : values) list += (list.size() > 1 ? "," : "") + formatted(static_cast<double>(v));
    return raw(key, list + "]");
  }
  Json& raw(const std::string& key, const std::string& json) {
    body_ += (body_.empty() ? "" : ",") + quoted(key) + ":" + json;
    return *this;
  }
  std::string str() const { return "{" + body_ + "}"; }

  static std::string quoted(const std::string& value) {
    std::string out = "\"";
    for (char c : value) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
    return out + "\"";
  }

 private:
  static std::string formatted(double value) {
    if (!std::isfinite(value)) return "null";
    char buffer[40];
    std::snprintf(buffer, sizeof buffer, "%.9g", value);
    return buffer;
  }
  std::string body_;
};

using Commands = std::map<std::string, std::function<Json(const Request&)>>;

inline int serve(const Commands& commands) {
  std::string line;
  for (int c; (c = std::getchar()) != EOF;) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    Json answer;
    try {
      const Request request(line);
      const auto command = commands.find(request.text("do"));
      if (command == commands.end()) throw Error("WBSR_INVALID_OPTION", "There is no command " + request.text("do"));
      answer = command->second(request);
    } catch (const Error& error) {
      answer.text("error", error.code + ": " + error.what());
    } catch (const std::exception& error) {
      answer.text("error", error.what());
    }
    std::printf("%s\n", answer.str().c_str());
    std::fflush(stdout);
    line.clear();
  }
  return 0;
}

}  // namespace wbsr::bench
