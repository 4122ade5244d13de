#include "cuda/findings.h"

namespace wbsr::cuda {
namespace {

// bf16 matrix units came with Ampere.
constexpr int kLeastMajor = 8;

std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The oldest Linux driver for a major version of CUDA, as NVIDIA's compatibility table has it.
std::string driverFor(int runtime) {
  switch (runtime / 1000) {
    case 12: return "550";  // of 12.4, the oldest that is compiled with
    case 13: return "580";
    default: return "for CUDA " + versionText(runtime);
  }
}

std::string nameOf(int index, const std::string& name) {
  return "cuda:" + std::to_string(index) + (name.empty() ? "" : " (" + name + ")");
}

// Why the card cannot be used; empty where it can.
std::string objection(const Card& card) {
  if (!card.failure.empty()) return nameOf(card.index, card.name) + ": " + card.failure;
  if (card.major < kLeastMajor)
    return nameOf(card.index, card.name) + " has compute capability " + std::to_string(card.major) + "." +
           std::to_string(card.minor) + ", wbsr needs " + std::to_string(kLeastMajor) + ".0 (Ampere) or newer";
  if (card.prohibited)
    return nameOf(card.index, card.name) + " is in compute mode prohibited (nvidia-smi -c DEFAULT changes that)";
  return "";
}

std::string whyNoCards(const Findings& f) {
  const std::string need = "install NVIDIA driver " + driverFor(f.runtime) + " or newer";
  if (f.driver == 0 && f.tooOld)
    return "no NVIDIA driver was found (libcuda.so.1): " + need + ", in a container make it visible there";
  if (f.tooOld)
    return "the NVIDIA driver is for CUDA " + versionText(f.driver) + ", wbsr was built with CUDA " +
           versionText(f.runtime) + ": " + need;
  if (!f.failure.empty()) return "CUDA cannot be used: " + f.failure;
  if (f.cards.empty()) {
    const std::string hidden =
        f.visible.empty() ? "" : ", CUDA_VISIBLE_DEVICES=" + f.visible + " hides those it does not name";
    return "the NVIDIA driver (CUDA " + versionText(f.driver) + ") shows no GPU" + hidden;
  }
  std::string why;
  for (const Card& card : f.cards) why += (why.empty() ? "" : "; ") + objection(card);
  return why;
}

}  // namespace

FoundDevices conclude(const Findings& f) {
  FoundDevices state;
  for (const Card& card : f.cards) {
    if (!objection(card).empty()) continue;
    const std::string capability = std::to_string(card.major) + "." + std::to_string(card.minor);
    state.devices.push_back(
        {card.index, card.name,
         "compute capability " + capability + ", driver for CUDA " + versionText(f.driver) + ", " + f.cudnnVersion,
         card.memory});
  }
  if (state.devices.empty()) {
    state.reason = whyNoCards(f);
  } else if (!f.cudnn.empty()) {
    state.reason = nameOf(state.devices[0].index, state.devices[0].name) + " is there, but cuDNN 9 cannot be used (" +
                   f.cudnn + "): install it with pip install nvidia-cudnn-cu" + std::to_string(f.runtime / 1000) +
                   ", or name its file or folder in WBSR_CUDNN_PATH";
    state.devices.clear();
  }
  return state;
}

}  // namespace wbsr::cuda
