// The training loss as data, for every device.
#pragma once
#include <vector>

#include "core/losses/table.h"

namespace wbsr {

// Gaussian mixture that models p_train(y) in BDLoss.
struct Mixture {
  int dimension = 1;                // D
  std::vector<double> weights;      // (K), sum 1; 0: an unused component
  std::vector<double> means;        // (K, D)
  std::vector<double> covariances;  // (K, D, D)
};

struct LossSpec {
  ElementLoss element = ElementLoss::L1;  // the data term
  // BDLoss: plus the balancing term (math/bdloss.h), for losses that allow it (losses::Balancing).
  bool balanced = false;
  int dimension = 1;        // of the balancing term: 1 (channel) or 3 (rgb)
  float sigma = 0;          // of the balancing term: above 0, in units of [0, 1]
  float fidelityScale = 0;  // c of the balancing term for losses::Balancing::Clamped: above 0
  Mixture mixture;          // of the balancing term
  float frequency = 0;      // weight of the frequency term (math/frequency.h), 0: none
};

// Means over pixels; without a balancing term and for D = 1 every channel value is a pixel.
struct LossSums {
  double loss = 0, data = 0, balance = 0;  // loss = data + balance + frequency
  double frequency = 0;                    // mean over coefficients, weighted
  // Mean absolute gradient of each term in one predicted value, before the division by the number of pixels.
  double dataGradient = 0, balanceGradient = 0;
  double sigmaGradient = 0;  // 0 without a balancing term

  void add(const LossSums& other, double share) {
    loss += other.loss * share;
    data += other.data * share;
    balance += other.balance * share;
    frequency += other.frequency * share;
    dataGradient += other.dataGradient * share;
    balanceGradient += other.balanceGradient * share;
    sigmaGradient += other.sigmaGradient * share;
  }
};

}  // namespace wbsr
