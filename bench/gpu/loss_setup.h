// The loss of a run with default options (lib/train/loss.ts): BDLoss on channel values, fidelity l1, sigma 0.02, eight
// Gaussians fitted to the training pixels.
#pragma once
#include <vector>

#include "core/fidelity_scale.h"
#include "core/loss_spec.h"
#include "cpu/loss.h"
#include "core/mixture.h"
#include "files.h"
#include "serve.h"

namespace wbsr::bench {

inline LossSpec defaultLoss(const std::vector<Photograph>& pictures) {
  std::vector<double> counts(256, 0);
  double total = 0;
  for (const Photograph& p : pictures)
    for (uint8_t v : p.pixels) counts[v] += 1, total += 1;
  std::vector<float> samples(256), weights(256);
  for (int i = 0; i < 256; ++i) {
    samples[static_cast<size_t>(i)] = static_cast<float>(i) / 255.f;
    weights[static_cast<size_t>(i)] = static_cast<float>(counts[static_cast<size_t>(i)] / total);
  }
  MixtureOptions options;
  LossSpec spec;
  spec.balanced = true;
  spec.element = ElementLoss::L1;
  spec.dimension = 1;
  spec.sigma = 0.02f;
  spec.mixture = fitMixture(samples.data(), weights.data(), 256, options).mixture;
  spec.fidelityScale = static_cast<float>(fidelityScale(spec, spec.sigma));
  return spec;
}

// For the peer.
inline Json lossJson(const LossSpec& spec) {
  Json json;
  return json.number("sigma", spec.sigma)
      .number("fidelityScale", spec.fidelityScale)
      .numbers("weights", spec.mixture.weights)
      .numbers("means", spec.mixture.means)
      .numbers("covariances", spec.mixture.covariances);
}

}  // namespace wbsr::bench
