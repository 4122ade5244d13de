// The results of findDevices()'s queries, and the messages for them. Separate from the queries and free of CUDA's
// headers, so that the messages for every machine can be tested on any machine.
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
  std::string failure;       // CUDA's error when the card was queried; else empty
};

struct Findings {
  int driver = 0;       // CUDA version that the driver supports, 13000 for 13.0; 0: there is no driver
  int runtime = 0;      // of the CUDA runtime in this plugin
  bool tooOld = false;  // the runtime reports that the driver is too old for it
  std::string failure;  // any other error of cudaGetDeviceCount
  std::string visible;  // CUDA_VISIBLE_DEVICES
  std::vector<Card> cards;
  std::string cudnn;         // the error of openCudnn(); empty: cuDNN can be used
  std::string cudnnVersion;  // "cuDNN 9.24.0"
};

FoundDevices conclude(const Findings& findings);

}  // namespace wbsr::cuda
