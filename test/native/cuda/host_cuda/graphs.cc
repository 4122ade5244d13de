// Stream capture and graphs of the CUDA on the host. A capture lists what was queued and what each part needs; a graph
// is replayed in the order of the capture, or (Deferred, DeferredAhead) in one that only the needs settle.
#include <algorithm>
#include <set>

#include "state.h"

namespace wbsr::host_cuda {

namespace {

struct Graphs {
  std::vector<std::shared_ptr<Capture>> captures;  // those that go on
  size_t live = 0;
};
Graphs& graphs() {
  static Graphs* const one = new Graphs;
  return *one;
}

// Nodes in an order in which each stands as late as its followers allow: branches that join late come late.
void visit(const CUgraph_st& graph, int node, std::vector<bool>& seen, std::vector<int>& order) {
  // Chains are as long as a network: no recursion.
  std::vector<std::pair<int, size_t>> path{{node, 0}};
  seen[static_cast<size_t>(node)] = true;
  while (!path.empty()) {
    auto& [at, next] = path.back();
    const auto& needs = graph.nodes[static_cast<size_t>(at)].needs;
    if (next == needs.size()) {
      order.push_back(at);
      path.pop_back();
      continue;
    }
    const int need = needs[next++];
    if (seen[static_cast<size_t>(need)]) continue;
    seen[static_cast<size_t>(need)] = true;
    path.emplace_back(need, 0);
  }
}

std::vector<int> reachable(const CUgraph_st& graph) {
  std::vector<bool> seen(graph.nodes.size());
  std::vector<int> order;
  for (int node : graph.last)
    if (!seen[static_cast<size_t>(node)]) visit(graph, node, seen, order);
  return order;
}

// Branches before the stream that they left, wherever both can go on.
std::vector<int> branchesFirst(const CUgraph_st& graph) {
  const size_t count = graph.nodes.size();
  std::vector<size_t> missing(count);
  std::vector<std::vector<int>> followers(count);
  std::set<std::pair<bool, int>> ready;  // not a branch, node
  for (size_t i = 0; i < count; ++i) {
    missing[i] = graph.nodes[i].needs.size();
    for (int need : graph.nodes[i].needs) followers[static_cast<size_t>(need)].push_back(static_cast<int>(i));
    if (missing[i] == 0) ready.insert({!graph.nodes[i].branch, static_cast<int>(i)});
  }
  std::vector<int> order;
  while (!ready.empty()) {
    const int node = ready.begin()->second;
    ready.erase(ready.begin());
    order.push_back(node);
    for (int next : followers[static_cast<size_t>(node)])
      if (--missing[static_cast<size_t>(next)] == 0)
        ready.insert({!graph.nodes[static_cast<size_t>(next)].branch, next});
  }
  return order;
}

void replay(const CUgraph_st& graph) {
  if (mode() != Mode::Immediate) {
    for (int node : mode() == Mode::Deferred ? reachable(graph) : branchesFirst(graph))
      graph.nodes[static_cast<size_t>(node)].work();
  } else {
    for (const Node& node : graph.nodes) node.work();
  }
}

}  // namespace

void spoil(Capture& capture) { capture.invalid = true; }

void spoilOthers() {
  for (const auto& capture : graphs().captures)
    if (capture->thread != std::this_thread::get_id() && capture->origin->queue->device == currentDevice())
      spoil(*capture);
}

cudaError_t unlessCapturing() {
  for (const auto& capture : graphs().captures) {
    if (capture->mode == cudaStreamCaptureModeRelaxed) continue;
    if (capture->mode == cudaStreamCaptureModeThreadLocal && capture->thread != std::this_thread::get_id()) continue;
    spoil(*capture);
    return failed(cudaErrorStreamCaptureUnsupported);
  }
  return cudaSuccess;
}

Live liveGraphs() {
  Live result;
  result.graphs = graphs().live;
  return result;
}

}  // namespace wbsr::host_cuda

using namespace wbsr::host_cuda;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  HOST_CUDA_BEGIN("cudaStreamBeginCapture");
  if (!stream) return failed(cudaErrorStreamCaptureUnsupported);  // the legacy stream cannot be captured
  if (stream->capture) return failed(cudaErrorInvalidValue);
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->streams = {stream};
  stream->capture = capture;
  stream->last.clear();
  graphs().captures.push_back(capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  const std::lock_guard lock(mutex());
  cudaError_t error = begin("cudaStreamEndCapture");
  if (!stream || !stream->capture) return failed(cudaErrorInvalidValue);
  const auto capture = stream->capture;
  if (capture->origin != stream) {
    spoil(*capture);
    return failed(cudaErrorStreamCaptureUnmatched);
  }
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id())
    return failed(cudaErrorStreamCaptureWrongThread);
  auto* made = new CUgraph_st;
  made->nodes = std::move(capture->nodes);
  made->last = stream->last;
  if (error == cudaSuccess && capture->invalid) error = cudaErrorStreamCaptureInvalidated;
  if (error == cudaSuccess && reachable(*made).size() != made->nodes.size()) error = cudaErrorStreamCaptureUnjoined;
  for (CUstream_st* joined : capture->streams) {
    joined->capture = nullptr;
    joined->last.clear();
  }
  capture->origin = nullptr;
  auto& all = graphs().captures;
  all.erase(std::remove(all.begin(), all.end(), capture), all.end());
  if (error != cudaSuccess) {
    delete made;
    return failed(error);
  }
  *graph = made;
  ++graphs().live;
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  HOST_CUDA_BEGIN("cudaStreamIsCapturing");
  const auto& capture = resolve(stream)->capture;
  *status = !capture         ? cudaStreamCaptureStatusNone
          : capture->invalid ? cudaStreamCaptureStatusInvalidated
                             : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = nullptr;
  HOST_CUDA_BEGIN("cudaGraphInstantiate");
  if (!graph) return failed(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st;
  (*executable)->device = currentDevice();
  (*executable)->graph = std::make_shared<const CUgraph_st>(*graph);
  ++graphs().live;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  HOST_CUDA_BEGIN("cudaGraphLaunch");
  if (!executable) return failed(cudaErrorInvalidValue);
  if (resolve(stream)->queue->device != executable->device) return failed(cudaErrorInvalidResourceHandle);
  return enqueue(stream, [graph = executable->graph] { replay(*graph); });
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t) {
  HOST_CUDA_BEGIN("cudaGraphUpload");
  return executable ? cudaSuccess : failed(cudaErrorInvalidValue);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const std::lock_guard lock(mutex());
  const cudaError_t error = begin("cudaGraphDestroy");
  if (!graph) return failed(cudaErrorInvalidValue);
  delete graph;
  --graphs().live;
  return error;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const std::lock_guard lock(mutex());
  const cudaError_t error = begin("cudaGraphExecDestroy");
  if (!executable) return failed(cudaErrorInvalidValue);
  delete executable;
  --graphs().live;
  return error;
}
