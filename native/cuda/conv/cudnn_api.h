// cuDNN 9's backend (graph) API as far as conv.cc uses it: our own declarations, so that building needs no cuDNN and one
// binary serves machines with and without it. The numbers are part of cuDNN's ABI; test/native/cuda/cudnn.test.ts compares
// each with the real headers where there are any. The functions are a table, filled by cudnn_api.cc from
// libcudnn.so.9 or by a test with its own.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace wbsr::cuda::cudnn {

#define WBSR_CUDNN_CONSTANTS(X)                                         \
  X(CUDNN_STATUS_SUCCESS, 0)                                            \
  X(CUDNN_STATUS_NOT_INITIALIZED, 1001)                                 \
  X(CUDNN_STATUS_BAD_PARAM, 2000)                                       \
  X(CUDNN_STATUS_BAD_PARAM_NULL_POINTER, 2002)                          \
  X(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, 2004)                         \
  X(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, 2008)                        \
  X(CUDNN_STATUS_BAD_PARAM_ATTRIBUTE_TYPE, 2010)                        \
  X(CUDNN_STATUS_NOT_SUPPORTED, 3000)                                   \
  X(CUDNN_STATUS_INTERNAL_ERROR, 4000)                                  \
  X(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, 4004)         \
  X(CUDNN_STATUS_EXECUTION_FAILED, 5000)                                \
  X(CUDNN_DATA_FLOAT, 0)                                                \
  X(CUDNN_DATA_BFLOAT16, 9)                                             \
  X(CUDNN_CROSS_CORRELATION, 1)                                         \
  X(CUDNN_PROPAGATE_NAN, 1)                                             \
  X(CUDNN_POINTWISE_ADD, 0)                                             \
  X(CUDNN_POINTWISE_RELU_FWD, 100)                                      \
  X(CUDNN_POINTWISE_SIGMOID_FWD, 102)                                   \
  X(CUDNN_POINTWISE_RELU_BWD, 200)                                      \
  X(CUDNN_HEUR_MODE_FALLBACK, 2)                                        \
  X(CUDNN_HEUR_MODE_A, 3)                                               \
  X(CUDNN_NUMERICAL_NOTE_TENSOR_CORE, 0)                                \
  X(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, 1)                        \
  X(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, 2)                \
  X(CUDNN_NUMERICAL_NOTE_FFT, 3)                                        \
  X(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, 4)                           \
  X(CUDNN_NUMERICAL_NOTE_WINOGRAD, 5)                                   \
  X(CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION, 0)                         \
  X(CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER, 1)             \
  X(CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER, 2)               \
  X(CUDNN_BACKEND_POINTWISE_DESCRIPTOR, 0)                              \
  X(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, 1)                            \
  X(CUDNN_BACKEND_ENGINE_DESCRIPTOR, 2)                                 \
  X(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, 3)                              \
  X(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, 4)                             \
  X(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, 5)                         \
  X(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, 10)         \
  X(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, 11) \
  X(CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, 12)   \
  X(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, 13)                   \
  X(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, 15)                        \
  X(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, 16)                          \
  X(CUDNN_BACKEND_TENSOR_DESCRIPTOR, 17)                                \
  X(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, 38)                            \
  X(CUDNN_TYPE_HANDLE, 0)                                               \
  X(CUDNN_TYPE_DATA_TYPE, 1)                                            \
  X(CUDNN_TYPE_BOOLEAN, 2)                                              \
  X(CUDNN_TYPE_INT64, 3)                                                \
  X(CUDNN_TYPE_FLOAT, 4)                                                \
  X(CUDNN_TYPE_DOUBLE, 5)                                               \
  X(CUDNN_TYPE_VOID_PTR, 6)                                             \
  X(CUDNN_TYPE_CONVOLUTION_MODE, 7)                                     \
  X(CUDNN_TYPE_HEUR_MODE, 8)                                            \
  X(CUDNN_TYPE_NAN_PROPOGATION, 10)                                     \
  X(CUDNN_TYPE_NUMERICAL_NOTE, 11)                                      \
  X(CUDNN_TYPE_POINTWISE_MODE, 14)                                      \
  X(CUDNN_TYPE_BACKEND_DESCRIPTOR, 15)                                  \
  X(CUDNN_TYPE_BEHAVIOR_NOTE, 19)                                       \
  X(CUDNN_TYPE_CHAR, 24)                                                \
  X(CUDNN_ATTR_POINTWISE_MODE, 0)                                       \
  X(CUDNN_ATTR_POINTWISE_MATH_PREC, 1)                                  \
  X(CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, 2)                            \
  X(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, 3)                            \
  X(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, 4)                            \
  X(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, 5)                      \
  X(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, 100)                              \
  X(CUDNN_ATTR_CONVOLUTION_CONV_MODE, 101)                              \
  X(CUDNN_ATTR_CONVOLUTION_DILATIONS, 102)                              \
  X(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 103)                         \
  X(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, 104)                          \
  X(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 105)                           \
  X(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 106)                           \
  X(CUDNN_ATTR_ENGINEHEUR_MODE, 200)                                    \
  X(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, 201)                         \
  X(CUDNN_ATTR_ENGINEHEUR_RESULTS, 202)                                 \
  X(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, 204)                              \
  X(CUDNN_ATTR_ENGINECFG_ENGINE, 300)                                   \
  X(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, 400)                              \
  X(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, 401)                       \
  X(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, 402)                      \
  X(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, 405)                 \
  X(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, 407)                          \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, 700)                \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, 701)                 \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, 702)            \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, 703)                    \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, 704)                    \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, 705)                    \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, 706)               \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, 707)                \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, 708)           \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, 709)                   \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, 710)                  \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, 711)                  \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, 712)             \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA, 713)              \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, 714)         \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, 715)                \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, 716)                 \
  X(CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY, 717)                \
  X(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, 750)                  \
  X(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, 751)                          \
  X(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, 752)                          \
  X(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, 753)                          \
  X(CUDNN_ATTR_OPERATION_POINTWISE_DXDESC, 756)                         \
  X(CUDNN_ATTR_OPERATION_POINTWISE_DYDESC, 757)                         \
  X(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, 800)                              \
  X(CUDNN_ATTR_OPERATIONGRAPH_OPS, 801)                                 \
  X(CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT, 802)                 \
  X(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, 900)                              \
  X(CUDNN_ATTR_TENSOR_DATA_TYPE, 901)                                   \
  X(CUDNN_ATTR_TENSOR_DIMENSIONS, 902)                                  \
  X(CUDNN_ATTR_TENSOR_STRIDES, 903)                                     \
  X(CUDNN_ATTR_TENSOR_UNIQUE_ID, 906)                                   \
  X(CUDNN_ATTR_TENSOR_IS_VIRTUAL, 907)                                  \
  X(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, 1000)                           \
  X(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, 1001)                        \
  X(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, 1003)                            \
  X(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, 1300)                            \
  X(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, 1301)                               \
  X(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, 1303)                             \
  X(CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, 1305)                              \
  X(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, 2702)

// cuDNN's own names: one enumeration for all of its enums, whose values cross the interface as int.
#define WBSR_CUDNN_ENUMERATOR(name, value) name = value,
enum Constant : int { WBSR_CUDNN_CONSTANTS(WBSR_CUDNN_ENUMERATOR) };
#undef WBSR_CUDNN_ENUMERATOR

using Status = int;
using Handle = void*;         // cudnnHandle_t
using RawDescriptor = void*;  // cudnnBackendDescriptor_t

struct Api {
  size_t (*getVersion)();
  const char* (*getErrorString)(Status);
  void (*getLastErrorString)(char*, size_t);
  Status (*create)(Handle*);
  Status (*destroy)(Handle);
  Status (*setStream)(Handle, cudaStream_t);
  Status (*createDescriptor)(int type, RawDescriptor*);
  Status (*destroyDescriptor)(RawDescriptor);
  Status (*setAttribute)(RawDescriptor, int name, int type, int64_t count, const void* values);
  Status (*getAttribute)(RawDescriptor, int name, int type, int64_t capacity, int64_t* count, void* values);
  Status (*finalize)(RawDescriptor);
  Status (*execute)(Handle, RawDescriptor plan, RawDescriptor variantPack);
};

// Loads libcudnn.so.9 unless it is loaded; returns "", or what was tried. Thread-safe. The next call retries a failure.
std::string open();
// After open() returned empty, or install().
const Api& api();
std::string version();   // "cuDNN 9.24.0"
std::string location();  // the file that was loaded
// For tests: replaces the table; null: none, the library is looked for again. Not while another thread uses the table.
void install(const Api* table);

}  // namespace wbsr::cuda::cudnn
