// The training loss as data, for every device.
#pragma once
#include <vector>

namespace wbsr {

// Gaussian mixture that models p_train(y) in BDLoss.
struct Mixture {
  int dimension = 1;                // D
  std::vector<double> weights;      // (K), sum 1; 0: an unused component
  std::vector<double> means;        // (K, D)
  std::vector<double> covariances;  // (K, D, D)
};

struct LossSpec {
  enum Kind { L1, L2, BD } kind = L1;
  enum Fidelity { FidelityL1, FidelityL2 } fidelity = FidelityL1;  // of BD
  int dimension = 1;                                               // of BD: 1 (channel) or 3 (rgb)
  float sigma = 0;                                                 // of BD: above 0, in units of [0, 1]
  float fidelityScale = 0;                                         // c of BD with FidelityL1: above 0
  Mixture mixture;                                                 // of BD
};

// Means over pixels; for D = 1 and the kinds L1 and L2 every channel value is a pixel.
struct LossSums {
  double loss = 0, data = 0, balance = 0;  // loss = data + balance
  // Mean absolute gradient of each term in one predicted value, before the division by the number of pixels.
  double dataGradient = 0, balanceGradient = 0;
  double sigmaGradient = 0;  // 0 for the kinds L1 and L2

  void add(const LossSums& other, double share) {
    loss += other.loss * share;
    data += other.data * share;
    balance += other.balance * share;
    dataGradient += other.dataGradient * share;
    balanceGradient += other.balanceGradient * share;
    sigmaGradient += other.sigmaGradient * share;
  }
};

}  // namespace wbsr
