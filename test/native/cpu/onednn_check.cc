// The oneDNN that is linked: of the headers' major version, and able to run here (also under the sanitizers, with its
// own threads): values go into a blocked layout and come back, padding stays zero.
#include <omp.h>

#include <cstdio>
#include <dnnl.hpp>
#include <vector>

namespace {

int failures = 0;

void expect(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "failed: %s\n", what);
  failures++;
}

void blockedLayoutRoundTrip() {
  using namespace dnnl;
  const memory::dim n = 2, c = 13, h = 5, w = 7;
  engine cpu(engine::kind::cpu, 0);
  stream queue(cpu);
  std::vector<float> values(n * c * h * w), back(values.size(), -1.f);
  for (size_t i = 0; i < values.size(); i++) values[i] = static_cast<float>(i) + 1.f;

  const memory::desc plain({n, c, h, w}, memory::data_type::f32, memory::format_tag::nchw);
  const memory::desc blocked({n, c, h, w}, memory::data_type::f32, memory::format_tag::nChw8c);
  memory from(plain, cpu, values.data()), middle(blocked, cpu), to(plain, cpu, back.data());
  reorder(from, middle).execute(queue, from, middle);
  reorder(middle, to).execute(queue, middle, to);
  queue.wait();
  expect(values == back, "values come back from nChw8c as they went in");

  const memory::dim blocks = (c + 7) / 8;
  expect(blocked.get_size() == static_cast<size_t>(n * blocks * 8 * h * w) * sizeof(float),
         "nChw8c pads channels to 8");
  const float* inside = static_cast<const float*>(middle.get_data_handle());
  bool zero = true, placed = true;
  for (memory::dim in = 0; in < n; in++)
    for (memory::dim ic = 0; ic < blocks * 8; ic++)
      for (memory::dim p = 0; p < h * w; p++) {
        const float value = inside[((in * blocks + ic / 8) * h * w + p) * 8 + ic % 8];
        if (ic >= c)
          zero &= value == 0.f;
        else
          placed &= value == values[(in * c + ic) * h * w + p];
      }
  expect(zero, "padding channels are zero");
  expect(placed, "channel c stands at block c / 8, lane c % 8");
}

}  // namespace

int main() {
  const dnnl_version_t* linked = dnnl_version();
  expect(linked->major == DNNL_VERSION_MAJOR, "headers and library are of one major version");
  omp_set_num_threads(2);
  blockedLayoutRoundTrip();
  std::printf("oneDNN %d.%d.%d, %d failures\n", linked->major, linked->minor, linked->patch, failures);
  return failures == 0 ? 0 : 1;
}
