// Finds and loads libnccl.so.2: WBSR_NCCL_PATH (the file, or its folder), the loader's path, Python's wheel nvidia-nccl.
#include "cuda/exchange/nccl_api.h"

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <vector>

#include "core/error.h"
#include "cuda/library.h"
#include "cuda/python_wheels.h"

namespace wbsr::cuda::nccl {
namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr int kOldest = 21400;  // the first that can be told not to block

std::mutex loading;
std::atomic<const Api*> current{nullptr};
Api loaded{};

// Loads `file`. Returns an empty string, or the reason of a failure.
std::string load(const std::string& file) {
  Library library(file);
  if (!library.error().empty()) return library.error();
  Api table{};
  library.find("ncclGetVersion", table.getVersion);
  int version = 0;
  if (table.getVersion && table.getVersion(&version) == kSuccess && version < kOldest)
    return file + ": its version is " + std::to_string(version) + ", " + std::to_string(kOldest) + " (2.14) is needed";
  library.find("ncclGetUniqueId", table.getUniqueId);
  library.find("ncclCommInitRankConfig", table.commInitRankConfig);
  library.find("ncclCommGetAsyncError", table.commGetAsyncError);
  library.find("ncclCommAbort", table.commAbort);
  library.find("ncclSend", table.send);
  library.find("ncclRecv", table.recv);
  library.find("ncclGetErrorString", table.getErrorString);
  library.find("ncclGetLastError", table.getLastError);
  if (!library.missing().empty()) return file + ": it has no " + library.missing();
  library.keep();
  loaded = table;
  return "";
}

}  // namespace

std::string open() {
  const std::lock_guard lock(loading);
  if (current.load()) return "";
  std::vector<std::string> files;
  if (const char* path = std::getenv("WBSR_NCCL_PATH"); path && *path) {
    std::error_code ignored;
    const std::filesystem::path given = path;
    files.push_back((std::filesystem::is_directory(given, ignored) ? given / kName : given).string());
  } else {
    files = filesOfWheels(std::string("nvidia/nccl/lib/") + kName);
    files.insert(files.begin(), kName);
  }
  std::string tried;
  for (const std::string& file : files) {
    const std::string why = load(file);
    if (why.empty()) {
      current = &loaded;
      return "";
    }
    tried += (tried.empty() ? "" : "; ") + why;
  }
  return tried;
}

const Api& api() {
  const Api* table = current.load();
  if (!table) throw Error("WBSR_INTERNAL", "NCCL is used before it was opened");
  return *table;
}

void install(const Api* table) {
  const std::lock_guard lock(loading);
  current = table;
}

}  // namespace wbsr::cuda::nccl
