// Adam (Kingma & Ba, 2015) with bias correction, decoupled weight decay (AdamW; Loshchilov & Hutter, 2019) and an
// exponential moving average of the weights: the update of one weight in one step.
//
// The caller keeps the step counts. Subnets share weights, and a step that did not run a weight's subnet must not
// change that weight, its moments or its EMA. Therefore each slice of a parameter that is always updated as a whole
// (one per parameter and width shell, NativeEngine.getSteps) has a count of its own, and makeAdamStep is called per
// slice with that count.
//
// Internal linkage, no standard headers: compiled with several instruction sets, see fastmath.h.
#pragma once
#include "core/math/host_device.h"

namespace wbsr::math {

struct AdamStep {
  float beta1, beta2;
  float rest1, rest2;  // 1 - beta1, 1 - beta2, rounded once from double
  float stepSize;      // learning rate / (1 - beta1^t)
  float correction2;   // 1 / sqrt(1 - beta2^t)
  float epsilon;
  float keep;      // 1 - learning rate x weight decay
  float emaDecay;  // 0: the EMA equals the weight
};

// step: t, counted from 1 and including the one that is about to be made.
static inline AdamStep makeAdamStep(double learningRate, double beta1, double beta2, double epsilon, double weightDecay,
                                    double emaDecay, long step) {
  AdamStep s;
  s.beta1 = static_cast<float>(beta1);
  s.beta2 = static_cast<float>(beta2);
  s.rest1 = static_cast<float>(1 - beta1);
  s.rest2 = static_cast<float>(1 - beta2);
  const double t = static_cast<double>(step);
  s.stepSize = static_cast<float>(learningRate / (1 - __builtin_pow(beta1, t)));
  s.correction2 = static_cast<float>(1 / __builtin_sqrt(1 - __builtin_pow(beta2, t)));
  s.epsilon = static_cast<float>(epsilon < 1.17549435e-38 ? 1.17549435e-38 : epsilon);  // never 0 / 0
  s.keep = static_cast<float>(1 - learningRate * weightDecay);
  s.emaDecay = static_cast<float>(emaDecay);
  return s;
}

// w: weight, g: its gradient, m and v: first and second moment.
WBSR_HD static inline void adamStep(float& w, float g, float& m, float& v, const AdamStep& s) {
  m = s.beta1 * m + s.rest1 * g;
  v = s.beta2 * v + s.rest2 * (g * g);
  w = w * s.keep - s.stepSize * m / (__builtin_sqrtf(v) * s.correction2 + s.epsilon);
}

WBSR_HD static inline void emaStep(float& ema, float w, const AdamStep& s) { ema = w + s.emaDecay * (ema - w); }

}  // namespace wbsr::math
