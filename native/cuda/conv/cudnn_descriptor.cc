#include "cuda/conv/cudnn_descriptor.h"

#include <algorithm>

namespace wbsr::cuda::cudnn {
namespace {

const char* nameOf(int type) {
  switch (type) {
    case CUDNN_BACKEND_POINTWISE_DESCRIPTOR: return "pointwise";
    case CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR: return "convolution";
    case CUDNN_BACKEND_ENGINE_DESCRIPTOR: return "engine";
    case CUDNN_BACKEND_ENGINECFG_DESCRIPTOR: return "engine configuration";
    case CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR: return "engine heuristics";
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR: return "execution plan";
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR: return "convolution forward operation";
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR: return "convolution backward filter operation";
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR: return "convolution backward data operation";
    case CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR: return "pointwise operation";
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR: return "operation graph";
    case CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR: return "variant pack";
    case CUDNN_BACKEND_TENSOR_DESCRIPTOR: return "tensor";
    case CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR: return "device properties";
  }
  return "descriptor";
}

}  // namespace

Failure failure(Status status, const std::string& call) {
  char text[512] = "";
  api().getLastErrorString(text, sizeof text);
  text[sizeof text - 1] = 0;
  std::string message = std::string(api().getErrorString(status)) + " in " + call;
  if (text[0]) message += std::string(": ") + text;
  return {status, message};
}

void check(Status status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS) throw failure(status, call);
}

Descriptor::Descriptor(int type) : type_(type) {
  const Status status = api().createDescriptor(type, &raw_);
  if (status != CUDNN_STATUS_SUCCESS)
    throw failure(status, std::string("cudnnBackendCreateDescriptor(") + nameOf(type) + ")");
}

Descriptor::~Descriptor() {
  if (raw_) api().destroyDescriptor(raw_);
}

void Descriptor::set(int name, int type, int64_t count, const void* values) {
  const Status status = api().setAttribute(raw_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS)
    throw failure(status, std::string("cudnnBackendSetAttribute(") + nameOf(type_) + ", " + std::to_string(name) + ")");
}

void Descriptor::finalize() {
  const Status status = api().finalize(raw_);
  if (status != CUDNN_STATUS_SUCCESS) throw failure(status, std::string("cudnnBackendFinalize(") + nameOf(type_) + ")");
}

int64_t Descriptor::integer(int name) const {
  int64_t value = 0, count = 0;
  const Status status = api().getAttribute(raw_, name, CUDNN_TYPE_INT64, 1, &count, &value);
  if (status != CUDNN_STATUS_SUCCESS)
    throw failure(status, std::string("cudnnBackendGetAttribute(") + nameOf(type_) + ", " + std::to_string(name) + ")");
  return value;
}

std::vector<int> Descriptor::enums(int name, int type) const {
  std::vector<int> values(32);  // there are ten kinds of numerical notes, five of behaviour notes
  int64_t count = 0;
  const Status status =
      api().getAttribute(raw_, name, type, static_cast<int64_t>(values.size()), &count, values.data());
  if (status != CUDNN_STATUS_SUCCESS)
    throw failure(status, std::string("cudnnBackendGetAttribute(") + nameOf(type_) + ", " + std::to_string(name) + ")");
  values.resize(static_cast<size_t>(count));
  return values;
}

std::string Descriptor::text(int name) const {
  int64_t count = 0;
  Status status = api().getAttribute(raw_, name, CUDNN_TYPE_CHAR, 0, &count, nullptr);
  std::string text(static_cast<size_t>(std::max<int64_t>(count, 0)), 0);
  if (status == CUDNN_STATUS_SUCCESS)
    status = api().getAttribute(raw_, name, CUDNN_TYPE_CHAR, count, &count, text.data());
  if (status != CUDNN_STATUS_SUCCESS)
    throw failure(status, std::string("cudnnBackendGetAttribute(") + nameOf(type_) + ", " + std::to_string(name) + ")");
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

void Descriptor::descriptor(int name, Descriptor& into) const {
  int64_t count = 0;
  const Status status = api().getAttribute(raw_, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &into.raw_);
  if (status != CUDNN_STATUS_SUCCESS)
    throw failure(status, std::string("cudnnBackendGetAttribute(") + nameOf(type_) + ", " + std::to_string(name) + ")");
}

}  // namespace wbsr::cuda::cudnn
