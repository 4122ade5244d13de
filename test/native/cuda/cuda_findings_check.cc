// The messages about the GPUs of machines that the tests do not have (native/cuda/findings.h).
#include "cuda/findings.h"

#include "support/check.h"

namespace {

using wbsr::cuda::Card;
using wbsr::cuda::conclude;
using wbsr::cuda::Findings;
using wbsr::test::check;

Card card(int index, const char* name, int major, int minor) {
  Card made;
  made.index = index;
  made.name = name;
  made.major = major;
  made.minor = minor;
  made.memory = int64_t{143} << 30;
  return made;
}

Findings healthy() {
  Findings f;
  f.driver = 13010;
  f.runtime = 13000;
  f.cudnnVersion = "cuDNN 9.24.0";
  f.cards = {card(0, "NVIDIA H200", 9, 0)};
  return f;
}

void expectReason(const Findings& findings, const std::string& reason) {
  const wbsr::FoundDevices state = conclude(findings);
  check(state.devices.empty(), "no device: " + reason);
  check(state.reason == reason, "found: " + state.reason + "; wanted: " + reason);
}

void checkDrivers() {
  Findings f = healthy();
  f.cards.clear();
  expectReason(f, "the NVIDIA driver (CUDA 13.1) shows no GPU");
  f.visible = "''";
  expectReason(f, "the NVIDIA driver (CUDA 13.1) shows no GPU, CUDA_VISIBLE_DEVICES='' hides those it does not name");
  f.failure = "cudaGetDeviceCount: cudaErrorSystemNotReady (system not yet initialized)";
  expectReason(f, "CUDA cannot be used: cudaGetDeviceCount: cudaErrorSystemNotReady (system not yet initialized)");
  f = {};
  f.runtime = 13000;
  f.tooOld = true;
  expectReason(f,
               "no NVIDIA driver was found (libcuda.so.1): install NVIDIA driver 580 or newer, in a container make it "
               "visible there");
  f.driver = 12040;
  expectReason(f,
               "the NVIDIA driver is for CUDA 12.4, wbsr was built with CUDA 13.0: install NVIDIA driver 580 or newer");
  f.runtime = 14020;
  expectReason(f,
               "the NVIDIA driver is for CUDA 12.4, wbsr was built with CUDA 14.2: install NVIDIA driver for CUDA 14.2 "
               "or newer");
}

void checkCards() {
  Findings f = healthy();
  f.cards = {card(0, "Tesla V100-SXM2-16GB", 7, 0)};
  expectReason(f, "cuda:0 (Tesla V100-SXM2-16GB) has compute capability 7.0, wbsr needs 8.0 (Ampere) or newer");
  f.cards.push_back(card(1, "NVIDIA A100", 8, 0));
  f.cards[1].prohibited = true;
  f.cards.push_back(card(2, "", 0, 0));
  f.cards[2].failure = "cudaGetDeviceProperties: cudaErrorUnknown (unknown error)";
  expectReason(f,
               "cuda:0 (Tesla V100-SXM2-16GB) has compute capability 7.0, wbsr needs 8.0 (Ampere) or newer; cuda:1 "
               "(NVIDIA A100) is in compute mode "
               "prohibited (nvidia-smi -c DEFAULT changes that); cuda:2: cudaGetDeviceProperties: cudaErrorUnknown "
               "(unknown error)");

  // Cards keep CUDA's numbers where one between them cannot be used.
  f.cards.push_back(card(3, "NVIDIA H200", 9, 0));
  f.cards[1].prohibited = false;
  const wbsr::FoundDevices state = conclude(f);
  check(state.reason.empty() && state.devices.size() == 2, "two of four cards");
  if (state.devices.size() != 2) return;
  check(state.devices[0].index == 1 && state.devices[1].index == 3, "their numbers");
  check(state.devices[1].name == "NVIDIA H200" && state.devices[1].memory == int64_t{143} << 30, "name and memory");
  check(state.devices[1].details == "compute capability 9.0, driver for CUDA 13.1, cuDNN 9.24.0",
        "details: " + state.devices[1].details);
}

void checkCudnn() {
  Findings f = healthy();
  f.cudnn = "no libcudnn.so.9 in WBSR_CUDNN_PATH=/nowhere";
  expectReason(f,
               "cuda:0 (NVIDIA H200) is there, but cuDNN 9 cannot be used (no libcudnn.so.9 in "
               "WBSR_CUDNN_PATH=/nowhere): install it with "
               "pip install nvidia-cudnn-cu13, or name its file or folder in WBSR_CUDNN_PATH");
}

}  // namespace

int main() {
  checkDrivers();
  checkCards();
  checkCudnn();
  return wbsr::test::finish();
}
