// The files that contestants exchange: raw float32 and uint8, and the photographs that carry.sh decoded.
#pragma once
#include <cstdint>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/graph.h"
#include "core/pixels.h"
#include "support/networks.h"

namespace wbsr::bench {

using namespace wbsr::networks;

// How many: of sizes that are known not to be negative.
template <typename... Sizes>
size_t product(Sizes... sizes) {
  return (static_cast<size_t>(sizes) * ...);
}

template <typename T>
void writeFile(const std::string& file, const std::vector<T>& values) {
  std::ofstream out(file, std::ios::binary);
  out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(T)));
  if (!out.flush()) throw Error("WBSR_IO", "Cannot write " + file);
}

template <typename T>
std::vector<T> readFile(const std::string& file, size_t count) {
  std::vector<T> values(count);
  std::ifstream in(file, std::ios::binary);
  in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
  if (!in || in.peek() != EOF)
    throw Error("WBSR_IO", "Expected " + std::to_string(count * sizeof(T)) + " bytes in " + file);
  return values;
}

// The flat arena and its index: name, shape, offset and count of every parameter, a line each.
inline void writeWeights(const Graph& graph, const std::vector<float>& values, const std::string& stem) {
  writeFile(stem + ".f32", values);
  std::ofstream index(stem + ".txt");
  for (const Parameter& p : graph.parameters()) {
    index << p.name << ' ';
    for (size_t i = 0; i < p.shape.size(); ++i) index << (i ? "," : "") << p.shape[i];
    index << ' ' << p.offset << ' ' << p.count << '\n';
  }
  if (!index.flush()) throw Error("WBSR_IO", "Cannot write " + stem + ".txt");
}

// uint8 RGB (height, width, 3).
struct Photograph {
  std::string name;
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;
  View view() const { return {pixels.data(), Sample::U8, width, height, 3}; }
};

// <folder>/index.txt: name width height, a line each; <folder>/<name>.rgb.
inline std::vector<Photograph> readPhotographs(const std::string& folder) {
  std::ifstream index(folder + "/index.txt");
  if (!index)
    throw Error("WBSR_NOT_FOUND", "There are no photographs in " + folder + ": run bench/gpu/carry.sh where Node is");
  std::vector<Photograph> out;
  for (std::string line; std::getline(index, line);) {
    Photograph p;
    std::istringstream words(line);
    if (!(words >> p.name >> p.width >> p.height) || p.width < 1 || p.height < 1)
      throw Error("WBSR_IO", "Cannot read " + folder + "/index.txt: " + line);
    p.pixels = readFile<uint8_t>(folder + "/" + p.name + ".rgb", product(3, p.width, p.height));
    out.push_back(std::move(p));
  }
  if (out.empty()) throw Error("WBSR_IO", folder + "/index.txt is empty");
  return out;
}

// Waves of random size and direction with noise: where timing needs pictures and there are no photographs.
inline Photograph syntheticPicture(int width, int height, uint64_t seed) {
  Uniform random{{seed}};
  float wave[6][4];
  for (auto& w : wave)
    for (float& v : w) v = random.next();
  Photograph p{"synthetic", width, height, std::vector<uint8_t>(product(3, width, height))};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c) {
        float value = 0.5f;
        for (const auto& w : wave) {
          const float along = (w[0] - 0.5f) * static_cast<float>(x) + (w[1] - 0.5f) * static_cast<float>(y);
          value += 0.08f * std::sin(0.6f * along + 6.f * w[2] + static_cast<float>(c) * w[3]);
        }
        value += 0.04f * (random.next() - 0.5f) * static_cast<float>(x * 4 / width);
        p.pixels[(static_cast<size_t>(y) * width + x) * 3 + c] =
            static_cast<uint8_t>(std::min(255.f, std::max(0.f, value * 255.f + 0.5f)));
      }
  return p;
}

}  // namespace wbsr::bench
