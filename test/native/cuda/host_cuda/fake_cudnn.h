// A cuDNN on the host for tests, behind the function table of native/cuda/conv/cudnn_api.h: it keeps descriptors, refuses what
// the real library refuses, offers engines of which some do not work and some must not be taken, and runs operation
// graphs by the dimensions and strides that it was told: a wrong descriptor gives a wrong number or an error.
#pragma once
#include <string>

namespace wbsr::host_cuda {

struct FakeCudnn {
  bool fusion = true;         // graphs of more than a convolution have engines
  bool floatResults = true;   // bf16 convolutions may write dw and dx as float (an H200 does, an A100 does not)
  bool halfGradients = true;  // bf16 convolutions may write dw as bf16
  bool rowStrides = true;     // results of forward convolutions may have rows further apart
  bool bestMode = true;       // heuristics of mode A have answers; else the fallback alone has
  bool engines = true;        // anything has an engine
  bool writesPlans = true;    // as JSON
  bool readsPlans = true;     // those that it wrote
};
// Switches; plans that exist keep what they have.
FakeCudnn& fakeCudnn();

// cudnn::api() is the fake from now on, with switches as at first.
void installFakeCudnn();

// The function named, counted from now, the `after`th one after the next, returns `status`: "cudnnCreate",
// "cudnnBackendFinalize", "cudnnBackendExecute".
void failNextCudnn(const std::string& function, int status, int after = 0);

struct FakeCudnnCounts {
  int handles = 0, descriptors = 0;           // alive
  int plans = 0, executions = 0, engine = 0;  // finalized, queued so far; the engine of the last execution
  int read = 0;                               // plans made of JSON so far
};
FakeCudnnCounts fakeCudnnCounts();

}  // namespace wbsr::host_cuda
