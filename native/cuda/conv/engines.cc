#include "cuda/conv/engines.h"

#include <algorithm>

namespace wbsr::cuda {
namespace {

using cudnn::Descriptor;

constexpr int kConfigurations = 32;  // most configurations of a heuristic that are tried

bool contains(const std::vector<int>& notes, int note) {
  return std::find(notes.begin(), notes.end(), note) != notes.end();
}

// The reason why an engine with these notes must not be used; empty: it may be used.
std::string refusal(const std::vector<int>& numerical, const std::vector<int>& behaviour, Precision precision) {
  if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) return "not deterministic";
  if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)) return "sums in less than float32";
  if (contains(behaviour, cudnn::CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER) ||
      contains(behaviour, cudnn::CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER))
    return "wants reordered weights";
  if (precision == Precision::Fp32) {
    if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) return "tensor cores";
    if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS)) return "rounds its inputs";
  }
  return "";
}

std::string describe(int64_t index, const std::vector<int>& numerical, const std::vector<int>& behaviour) {
  std::string text = "engine " + std::to_string(index);
  if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) text += ", tensor cores";
  if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_WINOGRAD)) text += ", Winograd";
  if (contains(numerical, cudnn::CUDNN_NUMERICAL_NOTE_FFT)) text += ", FFT";
  if (contains(behaviour, cudnn::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION)) text += ", compiled at run time";
  return text;
}

std::vector<Descriptor> configurations(const ConvGraph& graph, const EngineTarget& target, int mode) {
  Descriptor heuristics(cudnn::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.setDescriptor(cudnn::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.graph);
  heuristics.setEnum(cudnn::CUDNN_ATTR_ENGINEHEUR_MODE, cudnn::CUDNN_TYPE_HEUR_MODE, mode);
  if (target.described) heuristics.setDescriptor(cudnn::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target.described);
  heuristics.finalize();
  std::vector<Descriptor> found;
  std::vector<cudnn::RawDescriptor> raw;
  for (int i = 0; i < kConfigurations; ++i) {
    found.emplace_back(cudnn::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(found.back().raw());
  }
  int64_t count = 0;
  cudnn::check(cudnn::api().getAttribute(heuristics.raw(), cudnn::CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                         cudnn::CUDNN_TYPE_BACKEND_DESCRIPTOR, kConfigurations, &count, raw.data()),
               "cudnnBackendGetAttribute(engine heuristics, results)");
  found.resize(static_cast<size_t>(std::clamp<int64_t>(count, 0, kConfigurations)));
  return found;
}

EnginePlan finalize(const Descriptor& configuration, const EngineTarget& target) {
  EnginePlan made;
  made.plan = Descriptor(cudnn::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  if (target.handle) made.plan.setHandle(cudnn::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
  made.plan.setDescriptor(cudnn::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
  if (target.described) made.plan.setDescriptor(cudnn::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.described);
  made.plan.finalize();
  made.workspace = made.plan.integer(cudnn::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  return made;
}

}  // namespace

std::string writeEngine(const EnginePlan& engine) {
  try {
    return engine.plan.text(cudnn::CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
  } catch (const cudnn::Failure&) {
    return "";
  }
}

EnginePlan restoreEngine(const std::string& json, const std::string& name, const EngineTarget& target) {
  EnginePlan made;
  made.name = name;
  made.plan = Descriptor(cudnn::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  made.plan.setText(cudnn::CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, json);
  if (target.handle) made.plan.setHandle(cudnn::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
  if (target.described) made.plan.setDescriptor(cudnn::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target.described);
  made.plan.finalize();
  made.workspace = made.plan.integer(cudnn::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
  return made;
}

int64_t workspaceLimit(size_t memory) {
  constexpr int64_t kMost = int64_t{1} << 30;
  constexpr size_t kShare = 32;  // of the memory
  return std::min(kMost, static_cast<int64_t>(memory / kShare));
}

EngineSearch findEngines(const ConvGraph& graph, Precision precision, const EngineTarget& target, int wanted,
                         int64_t workspace) {
  EngineSearch search;
  for (const int mode : {cudnn::CUDNN_HEUR_MODE_A, cudnn::CUDNN_HEUR_MODE_FALLBACK}) {
    // The fallback serves when nothing else works; its engines are not worth timing.
    if (!search.plans.empty()) break;
    std::vector<Descriptor> offered;
    try {
      offered = configurations(graph, target, mode);
    } catch (const cudnn::Failure& failure) {
      search.failure = failure;
      continue;
    }
    for (const Descriptor& configuration : offered) {
      if (static_cast<int>(search.plans.size()) >= wanted) break;
      ++search.offered;
      try {
        Descriptor engine(cudnn::CUDNN_BACKEND_ENGINE_DESCRIPTOR);
        configuration.descriptor(cudnn::CUDNN_ATTR_ENGINECFG_ENGINE, engine);
        const std::vector<int> numerical =
            engine.enums(cudnn::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, cudnn::CUDNN_TYPE_NUMERICAL_NOTE);
        const std::vector<int> behaviour =
            engine.enums(cudnn::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, cudnn::CUDNN_TYPE_BEHAVIOR_NOTE);
        const std::string name = describe(engine.integer(cudnn::CUDNN_ATTR_ENGINE_GLOBAL_INDEX), numerical, behaviour);
        const std::string why = refusal(numerical, behaviour, precision);
        if (!why.empty()) {
          ++search.refused;
          search.failure = {cudnn::CUDNN_STATUS_NOT_SUPPORTED, name + " is not taken: " + why};
          continue;
        }
        EnginePlan made = finalize(configuration, target);
        made.name = name;
        made.compiled = contains(behaviour, cudnn::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION);
        if (made.workspace > workspace) {
          ++search.refused;
          const std::string bytes = std::to_string(made.workspace);
          search.failure = {cudnn::CUDNN_STATUS_NOT_SUPPORTED, name + " is not taken: it wants " + bytes +
                                                                   " bytes of workspace, more than " +
                                                                   std::to_string(workspace)};
          continue;
        }
        search.plans.push_back(std::move(made));
      } catch (const cudnn::Failure& failure) {
        search.failure = failure;
      }
    }
  }
  return search;
}

}  // namespace wbsr::cuda
