// The plans that all models of a device share.
#include <map>
#include <mutex>
#include <utility>

#include "cuda/conv/conv.h"

namespace wbsr::cuda {
namespace {

struct Shared {
  std::mutex mutex;
  std::map<std::pair<int, int>, std::weak_ptr<ConvPlans>> plans;  // by device and autotune
};

Shared& shared() {
  static Shared* const one = new Shared;  // models may outlive static objects
  return *one;
}

}  // namespace

std::shared_ptr<ConvPlans> sharedConvPlans(int device, int autotune) {
  Shared& all = shared();
  const std::lock_guard lock(all.mutex);
  std::weak_ptr<ConvPlans>& entry = all.plans[{device, autotune}];
  std::shared_ptr<ConvPlans> plans = entry.lock();
  if (!plans) entry = plans = makeConvPlans(device, autotune);
  return plans;
}

void retireConvPlans(const std::shared_ptr<ConvPlans>& plans) {
  Shared& all = shared();
  const std::lock_guard lock(all.mutex);
  for (auto entry = all.plans.begin(); entry != all.plans.end(); ++entry) {
    if (entry->second.lock() != plans) continue;
    all.plans.erase(entry);
    return;
  }
}

}  // namespace wbsr::cuda
