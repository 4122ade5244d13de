// What an element loss is: the data term of the training loss as a function of one residual e = prediction - target, in
// units of [0, 1]. One file per loss; table.h lists them. The CPU's vector loops and the CUDA kernel instantiate the same
// functor.
//
//   static constexpr const char* name          what the option `loss` says
//   static constexpr Balancing balancing       whether BDLoss may add its balancing term (math/bdloss.h)
//   template <T> static T value(T e)           a finite number for every finite e
//   template <T> static T gradient(T e)        d value / d e
//
// Unnamed namespaces and no standard headers in these files: they are compiled with several instruction sets, see
// math/fastmath.h.
#pragma once
#include "core/math/host_device.h"

namespace wbsr::losses {

enum class Balancing {
  None,        // not together with the balancing term
  Likelihood,  // the Gaussian likelihood that the term belongs to
  Clamped,     // grows linearly: the term is divided by fidelityScale, and constant outside [0, 1]
};

}  // namespace wbsr::losses
