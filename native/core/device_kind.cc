#include "core/device_kind.h"

#include <algorithm>
#include <utility>

namespace wbsr {
namespace {

// Inside a function: registrations run before main(), in any order of files.
std::vector<DeviceKind>& registry() {
  static std::vector<DeviceKind> kinds;
  return kinds;
}

}  // namespace

DeviceRegistration::DeviceRegistration(DeviceKind kind) {
  std::vector<DeviceKind>& kinds = registry();
  const auto lower = [&](const DeviceKind& other) { return other.rank < kind.rank; };
  kinds.insert(std::find_if(kinds.begin(), kinds.end(), lower), std::move(kind));
}

const std::vector<DeviceKind>& deviceKinds() { return registry(); }

}  // namespace wbsr
