// What findDevices() saw and what follows from it. Apart from the asking and without CUDA's headers, so that the words
// for every machine can be checked on any.
#pragma once
#include <string>
#include <vector>

#include "core/device_kind.h"

namespace wbsr::cuda {

struct Card {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int64_t memory = 0;        // bytes
  bool prohibited = false;   // compute mode is Prohibited
  std::string failure;       // what CUDA said when it was asked about the card; else empty
};

struct Findings {
  int driver = 0;       // CUDA version that the driver supports, 13000 for 13.0; 0: there is no driver
  int runtime = 0;      // of the CUDA runtime in this plugin
  bool tooOld = false;  // the driver, says the runtime
  std::string failure;  // what cudaGetDeviceCount said, where it is neither of the two
  std::string visible;  // CUDA_VISIBLE_DEVICES
  std::vector<Card> cards;
  std::string cudnn;         // what openCudnn() said; empty: it can be used
  std::string cudnnVersion;  // "cuDNN 9.24.0"
};

FoundDevices conclude(const Findings& findings);

}  // namespace wbsr::cuda
