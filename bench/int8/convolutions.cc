// Whether int8 would pay on this processor: a residual block of two 3 x 3 convolutions by oneDNN in int8 against our own
// Winograd kernel in float, one thread, each by the CPU seconds of the thread, in turns, the best of many. Every operation
// of the int8 block that the float block does not have is in it: what follows an activation is stored as u8 by the
// convolution itself, the residual stream stays float (sum), and is quantised for the next block.
//
//   ninja -C build int8_convolutions && build/bench/int8_convolutions
#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cpu/conv_primitives.h"
#include "cpu/onednn.h"
#include "cpu/winograd.h"
#include "support/own_kernels.h"

using namespace wbsr;
using dnnl::memory;
using Tag = memory::format_tag;
using Type = memory::data_type;

namespace {

double threadSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Case {
  int channels, height, width;
};

// Two Winograd convolutions: with ReLU, then with the residual.
class FloatBlock {
 public:
  explicit FloatBlock(const Case& c) : c_(c), lanes_(cpu::lanesOfBlocks()) {
    const int padded = cpu::roundUp(c.channels, lanes_), blocks = padded / lanes_;
    layout_ = {cpu::Layout::Blocked, lanes_, blocks, blocks, c.height, c.width};
    weights_ = cpu::packWinograd(test::noise(static_cast<size_t>(padded) * padded * 9, 1), padded, padded, lanes_);
    bias_.assign(static_cast<size_t>(padded), 0.1f);
    slopes_.assign(static_cast<size_t>(padded), 0.f);
    stream_ = test::noise(static_cast<size_t>(layout_.image()), 2);
    inner_ = out_ = stream_;
  }
  void run() {
    using Kind = simd::Finish::Kind;
    const simd::Winograd& kernel = *simd::winograd(lanes_);
    const simd::Finish relu{Kind::Leaky, bias_.data(), slopes_.data(), nullptr, 0.f};
    cpu::runWinograd(kernel, {layout_, layout_, 1, stream_.data(), weights_.data(), relu, inner_.data(), c_.channels},
                     scratch_);
    const simd::Finish sum{Kind::Leaky, bias_.data(), nullptr, stream_.data(), 0.f};
    cpu::runWinograd(kernel, {layout_, layout_, 1, inner_.data(), weights_.data(), sum, out_.data(), c_.channels},
                     scratch_);
  }

 private:
  Case c_;
  int lanes_;
  cpu::Layout layout_{};
  std::vector<float> weights_, bias_, slopes_, stream_, inner_, out_;
  cpu::Buffer scratch_;
};

// The same in int8. Weights have a scale for each output channel.
class Int8Block {
 public:
  explicit Int8Block(const Case& c) : stream_(engine_) {
    const memory::dim n = c.channels, h = c.height, w = c.width;
    const auto image = [&](Type type, Tag tag) { return memory::desc({1, n, h, w}, type, tag); };
    const auto convolution = [&](Type source, Type destination, bool relu, bool sum) {
      dnnl::primitive_attr attributes;
      attributes.set_output_scales(1 << 1, std::vector<float>(static_cast<size_t>(n), 0.01f));
      dnnl::post_ops operations;
      if (sum) operations.append_sum(1.f);
      if (relu) operations.append_eltwise(1.f, dnnl::algorithm::eltwise_relu, 0.f, 0.f);
      attributes.set_post_ops(operations);
      return dnnl::convolution_forward::primitive_desc({dnnl::prop_kind::forward_inference,
                                                        dnnl::algorithm::convolution_direct,
                                                        image(source, Tag::any),
                                                        memory::desc({n, n, 3, 3}, Type::s8, Tag::any),
                                                        memory::desc({n}, Type::f32, Tag::a),
                                                        image(destination, Tag::any),
                                                        {1, 1},
                                                        {1, 1},
                                                        {1, 1}},
                                                       attributes, engine_);
    };
    const auto first = convolution(Type::s8, Type::u8, true, false);
    const auto second = convolution(Type::u8, Type::f32, false, true);
    implementations = std::string(first.impl_info_str()) + ", " + second.impl_info_str();
    const auto filled = [&](const memory::desc& desc) {
      memory m(desc, engine_);
      auto* bytes = static_cast<unsigned char*>(m.get_data_handle());
      for (size_t i = 0; i < desc.get_size(); ++i) bytes[i] = static_cast<unsigned char>(i * 37 % 64);
      return m;
    };
    const memory in = filled(first.src_desc()), inner = filled(first.dst_desc()), wide = filled(second.dst_desc());
    const memory bias = filled(first.bias_desc());
    float* values = static_cast<float*>(wide.get_data_handle());
    std::fill(values, values + wide.get_desc().get_size() / sizeof(float), 0.5f);
    add(dnnl::convolution_forward(first), {{DNNL_ARG_SRC, in},
                                           {DNNL_ARG_WEIGHTS, filled(first.weights_desc())},
                                           {DNNL_ARG_BIAS, bias},
                                           {DNNL_ARG_DST, inner}});
    memory next = inner;
    if (second.src_desc() != first.dst_desc()) {
      next = filled(second.src_desc());
      add(dnnl::reorder(inner, next), {{DNNL_ARG_FROM, inner}, {DNNL_ARG_TO, next}});
    }
    add(dnnl::convolution_forward(second), {{DNNL_ARG_SRC, next},
                                            {DNNL_ARG_WEIGHTS, filled(second.weights_desc())},
                                            {DNNL_ARG_BIAS, bias},
                                            {DNNL_ARG_DST, wide}});
    convolutions = steps_.size();
    dnnl::primitive_attr scale;
    scale.set_output_scales(0, {20.f});
    add(dnnl::reorder(dnnl::reorder::primitive_desc(wide, in, scale)), {{DNNL_ARG_FROM, wide}, {DNNL_ARG_TO, in}});
  }
  // With or without the quantisation of the stream at the end.
  void run(bool quantise) {
    for (size_t i = 0; i < (quantise ? steps_.size() : convolutions); ++i) steps_[i]();
    stream_.wait();
  }
  std::string implementations;
  size_t convolutions = 0;

 private:
  void add(dnnl::primitive primitive, std::unordered_map<int, memory> arguments) {
    steps_.push_back([this, primitive, arguments] { primitive.execute(stream_, arguments); });
  }
  dnnl::engine engine_ = cpu::cpuEngine();
  dnnl::stream stream_;
  std::vector<std::function<void()>> steps_;
};

}  // namespace

int main() {
  omp_set_num_threads(1);
  std::printf("channels  size     float ms  int8 ms  float/int8  without quantising the stream  oneDNN\n");
  for (const Case& c : {Case{16, 76, 76}, {32, 76, 76}, {48, 76, 76}, {64, 76, 76}, {48, 180, 320}, {64, 180, 320}}) {
    FloatBlock ours(c);
    Int8Block theirs(c);
    const std::vector<std::function<void()>> entrants{[&] { ours.run(); }, [&] { theirs.run(true); },
                                                      [&] { theirs.run(false); }};
    std::vector<double> best(entrants.size(), 1e9);
    const int rounds = c.height > 100 ? 12 : 60;
    for (int round = 0; round < rounds; ++round)
      for (size_t i = 0; i < entrants.size(); ++i) {
        const double start = threadSeconds();
        entrants[i]();
        if (round > 0) best[i] = std::min(best[i], threadSeconds() - start);
      }
    std::printf("%8d  %3dx%-3d  %8.3f  %7.3f  %10.2f  %29.2f  %s\n", c.channels, c.width, c.height, best[0] * 1e3,
                best[1] * 1e3, best[0] / best[1], best[0] / best[2], theirs.implementations.c_str());
  }
}
