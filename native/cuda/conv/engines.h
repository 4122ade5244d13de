// cuDNN's engines for an operation graph: the suggestions of its heuristics, less those that must not be used,
// finalized one after the other until one works.
#pragma once
#include <string>
#include <vector>

#include "cuda/conv/graph.h"

namespace wbsr::cuda {

struct EnginePlan {
  cudnn::Descriptor plan;
  int64_t workspace = 0;
  bool compiled = false;  // at run time, for its shape
  std::string name;       // "engine 37, tensor cores, compiled at run time"
};

// The device that plans are made for: a handle's device, or one that is only described (a finalized device properties
// descriptor, cuDNN 9.8 or newer), whose plans cannot be run here.
struct EngineTarget {
  cudnn::Handle handle = nullptr;
  const cudnn::Descriptor* described = nullptr;
};

struct EngineSearch {
  std::vector<EnginePlan> plans;  // as the heuristics rank them, at most `wanted`
  int offered = 0, refused = 0;   // configurations; those that must not be used
  cudnn::Failure failure;         // of the last one that failed
};

// Most workspace that an engine may take on a card of that much memory, bytes: each model has two workspaces.
int64_t workspaceLimit(size_t memory);

// The plan as JSON for restoreEngine(); empty if cuDNN cannot serialize this engine's plans.
std::string writeEngine(const EnginePlan& engine);
// Throws cudnn::Failure if this cuDNN or the device does not accept the plan.
EnginePlan restoreEngine(const std::string& json, const std::string& name, const EngineTarget& target);

// workspace: the most bytes of it that an engine may take.
EngineSearch findEngines(const ConvGraph& graph, Precision precision, const EngineTarget& target, int wanted,
                         int64_t workspace);

}  // namespace wbsr::cuda
