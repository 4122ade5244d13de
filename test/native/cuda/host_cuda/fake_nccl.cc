#include "fake_nccl.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <vector>

#include "control.h"
#include "cuda/exchange/nccl_api.h"
#include "state.h"

namespace fs = std::filesystem;
using namespace wbsr::cuda::nccl;

struct wbsr::cuda::nccl::Communicator {
  fs::path folder;
  int rank = 0, ranks = 0;
  std::vector<int> sent, received;  // messages so far, by rank
  std::function<int()> pending;     // what the last call waits for
  int state = kInProgress;          // of the last call
};

namespace wbsr::host_cuda {
namespace {

int getVersion(int* version) {
  *version = 22304;
  return kSuccess;
}

int getUniqueId(UniqueId* id) {
  const char* parent = std::getenv("TMPDIR");
  std::string name = std::string(parent ? parent : "/tmp") + "/wbsr-nccl-XXXXXX";
  if (name.size() >= sizeof id->bytes || !mkdtemp(name.data())) return kSystemError;
  *id = {};
  std::memcpy(id->bytes, name.data(), name.size());
  return kSuccess;
}

// A file is whole or absent.
void write(const fs::path& file, const void* data, size_t bytes) {
  const fs::path aside = file.string() + ".tmp";
  std::ofstream(aside, std::ios::binary).write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  fs::rename(aside, file);
}

fs::path markOf(const Communicator& comm, const char* what, int rank) {
  return comm.folder / (what + std::to_string(rank));
}

int commInitRankConfig(Comm* made, int ranks, UniqueId id, int rank, Config* config) {
  if (config->size < 24 || config->magic != 0xcafebeef || config->version < 21400 || config->blocking != 0)
    return kInvalidArgument;
  auto* comm = new Communicator;
  comm->folder = id.bytes;
  comm->rank = rank;
  comm->ranks = ranks;
  comm->sent.resize(static_cast<size_t>(ranks));
  comm->received.resize(static_cast<size_t>(ranks));
  const int device = currentDevice();
  write(markOf(*comm, "device-", rank), &device, sizeof device);
  comm->pending = [comm, device] {
    for (int other = 0; other < comm->ranks; ++other) {
      int there = -1;
      if (!std::ifstream(markOf(*comm, "device-", other), std::ios::binary)
               .read(reinterpret_cast<char*>(&there), sizeof there))
        return int{kInProgress};
      if (other != comm->rank && there == device) return int{kInvalidUsage};
    }
    return int{kSuccess};
  };
  *made = comm;
  return kInProgress;
}

int commGetAsyncError(Comm comm, int* state) {
  if (comm->pending && comm->state == kInProgress) comm->state = comm->pending();
  *state = comm->state;
  return kSuccess;
}

int commAbort(Comm comm) {
  std::error_code ignored;
  std::ofstream(markOf(*comm, "left-", comm->rank)).close();
  bool last = true;  // of those that came
  for (int rank = 0; rank < comm->ranks; ++rank)
    last = last &&
           (fs::exists(markOf(*comm, "left-", rank), ignored) || !fs::exists(markOf(*comm, "device-", rank), ignored));
  if (last) fs::remove_all(comm->folder, ignored);
  delete comm;
  return kSuccess;
}

int begin(Comm comm, size_t count, int type, int peer, std::function<int()> work) {
  if (count == 0 || type != kFloat32 || peer < 0 || peer >= comm->ranks || peer == comm->rank) return kInvalidArgument;
  if (comm->state != kSuccess) return kInvalidUsage;  // the call before is not done
  comm->state = kInProgress;
  comm->pending = std::move(work);
  return kInProgress;
}

fs::path messageOf(const Communicator& comm, int from, int to, int number) {
  return comm.folder / (std::to_string(from) + "-" + std::to_string(to) + "-" + std::to_string(number));
}

int send(const void* data, size_t count, int type, int to, Comm comm, cudaStream_t stream) {
  return begin(comm, count, type, to, [=] {
    const fs::path file = messageOf(*comm, comm->rank, to, comm->sent[static_cast<size_t>(to)]++);
    enqueue(stream, [=] { write(file, data, count * sizeof(float)); });
    return int{kSuccess};
  });
}

int recv(void* data, size_t count, int type, int from, Comm comm, cudaStream_t stream) {
  return begin(comm, count, type, from, [=] {
    const fs::path file = messageOf(*comm, from, comm->rank, comm->received[static_cast<size_t>(from)]);
    std::error_code ignored;
    const bool left = fs::exists(markOf(*comm, "left-", from), ignored);
    if (!fs::exists(file, ignored)) return left ? int{kRemoteError} : int{kInProgress};
    ++comm->received[static_cast<size_t>(from)];
    enqueue(stream, [=] {
      std::ifstream(file, std::ios::binary)
          .read(static_cast<char*>(data), static_cast<std::streamsize>(count * sizeof(float)));
      fs::remove(file);
    });
    return int{kSuccess};
  });
}

const char* getErrorString(int result) {
  switch (result) {
    case kSystemError: return "unhandled system error";
    case kInvalidArgument: return "invalid argument";
    case kInvalidUsage: return "invalid usage";
    case kRemoteError: return "remote process exited or there was a network error";
  }
  return "unknown result code";
}

const char* getLastError(Comm) { return ""; }

}  // namespace

void installFakeNccl() {
  static const Api table = {getVersion, getUniqueId, commInitRankConfig, commGetAsyncError, commAbort,
                            send,       recv,        getErrorString,     getLastError};
  install(&table);
}

}  // namespace wbsr::host_cuda
