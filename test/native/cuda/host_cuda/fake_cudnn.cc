// The function table of the fake cuDNN.
#include "fake_cudnn.h"

#include <atomic>
#include <cstdio>
#include <mutex>

#include "control.h"
#include "fake_cudnn_node.h"
#include "state.h"

namespace wbsr::host_cuda {
namespace fake {
namespace {

struct FakeHandle {
  int device = 0;
  std::weak_ptr<Capture> capture;  // that of the stream it was last set to
  cudaStream_t stream = nullptr;   // not guarded: a handle is one thread's at a time
};

struct Holder {
  std::shared_ptr<Node> node;
};

FakeCudnn switches;
std::atomic<int> handles{0}, descriptors{0}, plans{0}, plansRead{0}, executions{0}, lastEngine{0};
std::mutex failing;
std::string failingFunction;
Status failingStatus = CUDNN_STATUS_SUCCESS;
int failingAfter = -1;
thread_local std::string lastError;

Status refuse(Status status, const std::string& message) {
  lastError = message;
  return status;
}
Status refuse(const Refusal& refusal) { return refuse(refusal.status, refusal.message); }

// The failure that failNextCudnn() set for this function, else success.
Status injected(const std::string& function) {
  const std::lock_guard lock(failing);
  if (failingAfter < 0 || failingFunction != function) return CUDNN_STATUS_SUCCESS;
  return failingAfter-- > 0 ? CUDNN_STATUS_SUCCESS : refuse(failingStatus, "this failure was asked for");
}

size_t elementBytes(int type) {
  switch (type) {
    case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
    case CUDNN_TYPE_CHAR: return 1;
    case CUDNN_TYPE_INT64:
    case CUDNN_TYPE_DOUBLE:
    case CUDNN_TYPE_HANDLE:
    case CUDNN_TYPE_VOID_PTR: return 8;
  }
  return 4;
}

size_t getVersion() { return 92400; }

const char* getErrorString(Status status) {
  switch (status) {
#define NAME(name) \
  case name: return #name
    NAME(CUDNN_STATUS_SUCCESS);
    NAME(CUDNN_STATUS_BAD_PARAM);
    NAME(CUDNN_STATUS_BAD_PARAM_NULL_POINTER);
    NAME(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED);
    NAME(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH);
    NAME(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE);
    NAME(CUDNN_STATUS_NOT_SUPPORTED);
    NAME(CUDNN_STATUS_INTERNAL_ERROR);
    NAME(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED);
    NAME(CUDNN_STATUS_EXECUTION_FAILED);
#undef NAME
  }
  return "CUDNN_UNKNOWN_STATUS";
}

void getLastErrorString(char* text, size_t capacity) {
  if (capacity == 0) return;
  std::strncpy(text, lastError.c_str(), capacity - 1);
  text[capacity - 1] = 0;
}

Status create(Handle* handle) {
  if (const Status status = injected("cudnnCreate"); status != CUDNN_STATUS_SUCCESS) return status;
  cudaDeviceSynchronize();  // as the library may, here and in destroy()
  auto made = std::make_unique<FakeHandle>();
  if (cudaGetDevice(&made->device) != cudaSuccess) return refuse(CUDNN_STATUS_INTERNAL_ERROR, "no device");
  ++handles;
  *handle = made.release();
  return CUDNN_STATUS_SUCCESS;
}

Status destroy(Handle handle) {
  cudaDeviceSynchronize();
  --handles;
  delete static_cast<FakeHandle*>(handle);
  return CUDNN_STATUS_SUCCESS;
}

Status setStream(Handle handle, cudaStream_t stream) {
  if (!handle) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "handle");
  auto& its = *static_cast<FakeHandle*>(handle);
  {
    // Stricter than the library, for which it is undefined.
    const std::lock_guard lock(mutex());
    const auto before = its.capture.lock();
    if (before && before->origin && (!stream || stream->capture != before))
      return refuse(CUDNN_STATUS_EXECUTION_FAILED,
                    "the handle is in use by a capture, and the stream is not part of it");
    its.capture = stream ? stream->capture : nullptr;
  }
  its.stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

Status createDescriptor(int type, RawDescriptor* descriptor) {
  if (type < 0 || type > CUDNN_BACKEND_TENSOR_DESCRIPTOR) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "descriptor type");
  auto* holder = new Holder{std::make_shared<Node>()};
  holder->node->type = type;
  ++descriptors;
  *descriptor = holder;
  return CUDNN_STATUS_SUCCESS;
}

Status destroyDescriptor(RawDescriptor descriptor) {
  --descriptors;
  delete static_cast<Holder*>(descriptor);
  return CUDNN_STATUS_SUCCESS;
}

Status setAttribute(RawDescriptor descriptor, int name, int type, int64_t count, const void* values) {
  if (!descriptor || !values) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "attribute");
  Node& node = *static_cast<Holder*>(descriptor)->node;
  if (node.finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized");
  if (const Refusal refusal = checkAttribute(node.type, name, type, count); refusal.status != CUDNN_STATUS_SUCCESS)
    return refuse(refusal);
  Value value{type, count, {}, {}};
  if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
    for (int64_t i = 0; i < count; ++i) {
      const auto* holder = static_cast<const Holder*>(static_cast<RawDescriptor const*>(values)[i]);
      if (!holder) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "descriptor in an attribute");
      if (!holder->node->finalized)
        return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attribute " + std::to_string(name));
      value.nodes.push_back(holder->node);
    }
  } else {
    const auto* bytes = static_cast<const unsigned char*>(values);
    value.bytes.assign(bytes, bytes + static_cast<size_t>(count) * elementBytes(type));
  }
  node.values[name] = std::move(value);
  return CUDNN_STATUS_SUCCESS;
}

// JSON is the number of a plan that this process wrote, with the 0 at its end.
std::mutex writing;
std::vector<std::pair<NodePointer, int>>& writtenPlans() {
  static auto* const all = new std::vector<std::pair<NodePointer, int>>;
  return *all;
}

std::string writePlan(const Node& plan) {
  const std::lock_guard lock(writing);
  writtenPlans().emplace_back(plan.graph, plan.engine);
  return "{\"fake\": " + std::to_string(writtenPlans().size() - 1) + "}";
}

bool readPlan(const std::string& json, Node& plan) {
  const std::lock_guard lock(writing);
  size_t number = 0;
  if (json.empty() || json.back() != 0 || std::sscanf(json.c_str(), "{\"fake\": %zu}", &number) != 1 ||
      number >= writtenPlans().size())
    return false;
  plan.graph = writtenPlans()[number].first;
  plan.engine = writtenPlans()[number].second;
  return true;
}

Status give(const std::vector<int>& notes, int64_t capacity, int64_t* count, void* values) {
  *count = std::min<int64_t>(capacity, static_cast<int64_t>(notes.size()));
  if (*count > 0) std::memcpy(values, notes.data(), static_cast<size_t>(*count) * sizeof(int));
  return CUDNN_STATUS_SUCCESS;
}

Status getAttribute(RawDescriptor descriptor, int name, int type, int64_t capacity, int64_t* count, void* values) {
  const Node& node = *static_cast<Holder*>(descriptor)->node;
  if (!node.finalized)
    return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "attributes are read of finalized descriptors");
  const auto is = [&](int owner, int attribute, int kind) {
    return node.type == owner && name == attribute && type == kind;
  };
  if (is(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR)) {
    *count = std::min<int64_t>(capacity, static_cast<int64_t>(node.offered.size()));
    for (int64_t i = 0; i < *count; ++i) {
      Node& into = *static_cast<Holder*>(static_cast<RawDescriptor*>(values)[i])->node;
      if (into.type != CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)
        return refuse(CUDNN_STATUS_BAD_PARAM, "results are engine configurations");
      into.engine = node.offered[static_cast<size_t>(i)];
      into.graph = node.values.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH).nodes[0];
      into.finalized = true;
    }
    return CUDNN_STATUS_SUCCESS;
  }
  if (is(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR) &&
      capacity >= 1) {
    Node& into = *static_cast<Holder*>(*static_cast<RawDescriptor*>(values))->node;
    if (into.type != CUDNN_BACKEND_ENGINE_DESCRIPTOR) return refuse(CUDNN_STATUS_BAD_PARAM, "not an engine descriptor");
    into.engine = node.engine;
    into.graph = node.graph;
    into.finalized = true;
    *count = 1;
    return CUDNN_STATUS_SUCCESS;
  }
  if (is(CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE))
    return give(numericalNotes(node.engine), capacity, count, values);
  if (is(CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE))
    return give(behaviourNotes(node.engine), capacity, count, values);
  if (is(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR)) {
    if (!switches.writesPlans) return refuse(CUDNN_STATUS_NOT_SUPPORTED, "this engine's plans cannot be written");
    const std::string json = writePlan(node);
    *count = static_cast<int64_t>(json.size()) + 1;
    if (capacity > 0) std::memcpy(values, json.c_str(), static_cast<size_t>(std::min(*count, capacity)));
    return CUDNN_STATUS_SUCCESS;
  }
  const bool index = is(CUDNN_BACKEND_ENGINE_DESCRIPTOR, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64);
  const bool workspace =
      is(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64);
  if ((!index && !workspace) || capacity < 1)
    return refuse(CUDNN_STATUS_NOT_SUPPORTED, "attribute " + std::to_string(name) + " cannot be read");
  *static_cast<int64_t*>(values) = index ? node.engine : node.workspace;
  *count = 1;
  return CUDNN_STATUS_SUCCESS;
}

Status finalize(RawDescriptor descriptor) {
  if (const Status status = injected("cudnnBackendFinalize"); status != CUDNN_STATUS_SUCCESS) return status;
  Node& node = *static_cast<Holder*>(descriptor)->node;
  if (node.finalized) return refuse(CUDNN_STATUS_BAD_PARAM, "the descriptor is finalized already");
  if (const Refusal refusal = checkFinal(node); refusal.status != CUDNN_STATUS_SUCCESS) return refuse(refusal);
  if (node.type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)
    node.offered =
        enginesFor(*node.node(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH), node.one<int>(CUDNN_ATTR_ENGINEHEUR_MODE));
  if (node.type == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR) {
    if (node.has(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION)) {
      const std::vector<char> json = node.all<char>(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION);
      if (!switches.readsPlans || !readPlan(std::string(json.data(), json.size()), node))
        return refuse(CUDNN_STATUS_NOT_SUPPORTED, "a plan of another cuDNN");
      ++plansRead;
    } else {
      const Node& configuration = *node.node(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
      node.engine = configuration.engine;
      node.graph = configuration.graph;
    }
    const Refusal refusal = finalizeEngine(node.engine, node.workspace);
    if (refusal.status != CUDNN_STATUS_SUCCESS) return refuse(refusal);
    ++plans;
  }
  node.finalized = true;
  return CUDNN_STATUS_SUCCESS;
}

Status execute(Handle raw, RawDescriptor planDescriptor, RawDescriptor packDescriptor) {
  if (const Status status = injected("cudnnBackendExecute"); status != CUDNN_STATUS_SUCCESS) return status;
  const NodePointer plan = static_cast<Holder*>(planDescriptor)->node;
  const Node& pack = *static_cast<Holder*>(packDescriptor)->node;
  if (plan->type != CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR || pack.type != CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)
    return refuse(CUDNN_STATUS_BAD_PARAM, "a plan and a variant pack are needed");
  if (!plan->finalized || !pack.finalized) return refuse(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "plan or variant pack");
  const auto& handle = *static_cast<FakeHandle*>(raw);
  int device = -1;
  if (cudaGetDevice(&device) != cudaSuccess || device != handle.device)
    return refuse(CUDNN_STATUS_BAD_PARAM, "another device is current than the handle's");
  ++plan->turn;
  const auto ids = pack.all<int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS);
  const auto bound = pack.all<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
  std::map<int64_t, void*> pointers;
  for (size_t i = 0; i < ids.size(); ++i) pointers[ids[i]] = bound[i];
  std::vector<Operation> operations = readGraph(*plan->graph);
  for (const Operation& op : operations) {
    std::vector<Tensor> all = op.inputs;
    all.push_back(op.output);
    for (const Tensor& t : all) {
      if (t.isVirtual) continue;
      if (!pointers.count(t.id) || !pointers[t.id])
        return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "tensor " + std::to_string(t.id) + " has no pointer");
      if (reinterpret_cast<uintptr_t>(pointers[t.id]) % static_cast<uintptr_t>(t.alignment) != 0)
        return refuse(CUDNN_STATUS_BAD_PARAM, "tensor " + std::to_string(t.id) + " is not aligned");
    }
  }
  void* workspace = pack.one<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
  if (plan->workspace > 0 && !workspace) return refuse(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, "no workspace");
  lastEngine = plan->engine;
  ++executions;
  const cudaError_t queued = enqueue(handle.stream, [operations = std::move(operations), pointers, workspace, plan] {
    const auto spoil = [&] {  // the workspace is the engine's, before it reads and after it wrote
      if (plan->workspace > 0) std::memset(workspace, 0xA5, static_cast<size_t>(plan->workspace));
    };
    spoil();
    runGraph(operations, pointers, plan->engine);
    spoil();
  });
  return queued == cudaSuccess ? CUDNN_STATUS_SUCCESS
                               : refuse(CUDNN_STATUS_EXECUTION_FAILED, cudaGetErrorString(queued));
}

const Api table = {getVersion,       getErrorString,    getLastErrorString, create,       destroy,  setStream,
                   createDescriptor, destroyDescriptor, setAttribute,       getAttribute, finalize, execute};

}  // namespace

}  // namespace fake

FakeCudnn& fakeCudnn() { return fake::switches; }

void installFakeCudnn() {
  fake::switches = {};
  cuda::cudnn::install(&fake::table);
}

void failNextCudnn(const std::string& function, int status, int after) {
  const std::lock_guard lock(fake::failing);
  fake::failingFunction = function;
  fake::failingStatus = status;
  fake::failingAfter = after;
}

FakeCudnnCounts fakeCudnnCounts() {
  return {fake::handles, fake::descriptors, fake::plans, fake::executions, fake::lastEngine, fake::plansRead};
}

}  // namespace wbsr::host_cuda
