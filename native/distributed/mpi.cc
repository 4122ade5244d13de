#include "distributed/mpi.h"

#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>

#include "core/error.h"

namespace wbsr::distributed {
namespace {

// Open MPI's C interface (mpi.h), as far as it is used: handles are pointers to objects of the library.
using Handle = void*;
struct Status {
  int source, tag, error, cancelled;
  size_t bytes;
};
constexpr int kSuccess = 0, kThreadSerialized = 2;

// The signatures of mpi.h, by the names of its functions.
struct Library {
  void* handle = nullptr;
  int (*initThread)(int*, char***, int, int*) = nullptr;
  int (*initialized)(int*) = nullptr;
  int (*finalize)() = nullptr;
  int (*commRank)(Handle, int*) = nullptr;
  int (*commSize)(Handle, int*) = nullptr;
  int (*setErrorHandler)(Handle, Handle) = nullptr;
  int (*isend)(const void*, int, Handle, int, int, Handle, Handle*) = nullptr;
  int (*irecv)(void*, int, Handle, int, int, Handle, Handle*) = nullptr;
  int (*iprobe)(int, int, Handle, int*, Status*) = nullptr;
  int (*test)(Handle*, int*, Status*) = nullptr;
  int (*getCount)(const Status*, Handle, int*) = nullptr;
  int (*libraryVersion)(char*, int*) = nullptr;
  int (*errorString)(int, char*, int*) = nullptr;
  Handle world = nullptr, byte = nullptr, errorsReturn = nullptr;
  std::string version, reason;
};

template <typename Function>
bool find(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  return function != nullptr;
}

Library openLibrary() {
  Library lib;
  // Global: its components are libraries that look for its symbols.
  lib.handle = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
  if (!lib.handle) {
    lib.reason = std::string("Open MPI was not found: ") + dlerror() + " (Debian: apt-get install openmpi-bin)";
    return lib;
  }
  const bool whole =
      find(lib.handle, "MPI_Init_thread", lib.initThread) && find(lib.handle, "MPI_Initialized", lib.initialized) &&
      find(lib.handle, "MPI_Finalize", lib.finalize) && find(lib.handle, "MPI_Comm_rank", lib.commRank) &&
      find(lib.handle, "MPI_Comm_size", lib.commSize) &&
      find(lib.handle, "MPI_Comm_set_errhandler", lib.setErrorHandler) && find(lib.handle, "MPI_Isend", lib.isend) &&
      find(lib.handle, "MPI_Irecv", lib.irecv) && find(lib.handle, "MPI_Iprobe", lib.iprobe) &&
      find(lib.handle, "MPI_Test", lib.test) && find(lib.handle, "MPI_Get_count", lib.getCount) &&
      find(lib.handle, "MPI_Get_library_version", lib.libraryVersion) &&
      find(lib.handle, "MPI_Error_string", lib.errorString) && find(lib.handle, "ompi_mpi_comm_world", lib.world) &&
      find(lib.handle, "ompi_mpi_byte", lib.byte) && find(lib.handle, "ompi_mpi_errors_return", lib.errorsReturn);
  if (!whole) {
    lib.reason = "libmpi.so.40 is not Open MPI, which alone is supported";
    return lib;
  }
  char text[8192] = {};
  int length = 0;
  if (lib.libraryVersion(text, &length) == kSuccess)
    lib.version = std::string(text).substr(0, std::string(text).find(','));
  return lib;
}

const Library& library() {
  static const Library lib = openLibrary();
  return lib;
}

// Held during each single call of MPI.
std::mutex& mutex() {
  static std::mutex lock;
  return lock;
}

void check(int result, const char* call) {
  if (result == kSuccess) return;
  char text[512] = {};
  int length = 0;
  library().errorString(result, text, &length);
  throw Error("WBSR_INTERNAL", std::string(call) + " failed: " + text);
}

// Sleeps between two looks, longer from time to time.
class Rest {
 public:
  explicit Rest(int mostMicroseconds) : most_(mostMicroseconds) {}
  void operator()() {
    std::this_thread::sleep_for(std::chrono::microseconds(now_));
    now_ = std::min(most_, now_ + now_ / 4 + 1);
  }

 private:
  int most_, now_ = 5;
};

Error stopped() { return Error("WBSR_ABORTED", "waiting for another rank was cancelled"); }

// While data are on their way, which move only when MPI is called.
constexpr int kTransferRest = 100;

}  // namespace

// A transfer and its memory. One that was cancelled stays for ever, because MPI may still read or write it.
struct Mpi::Pending {
  std::vector<char> data;
  Handle request = nullptr;
};

MpiLibrary findMpi() { return {library().version, library().reason}; }

std::unique_ptr<Mpi> Mpi::open() {
  const Library& lib = library();
  if (!lib.reason.empty()) throw Error("WBSR_NO_DEVICE", lib.reason);
  std::lock_guard<std::mutex> lock(mutex());
  int before = 0;
  check(lib.initialized(&before), "MPI_Initialized");
  if (before) throw Error("WBSR_INTERNAL", "MPI was initialised before in this process");
  int provided = 0;
  check(lib.initThread(nullptr, nullptr, kThreadSerialized, &provided), "MPI_Init_thread");
  check(lib.setErrorHandler(lib.world, lib.errorsReturn), "MPI_Comm_set_errhandler");
  if (provided < kThreadSerialized)
    throw Error("WBSR_NO_DEVICE", lib.version + " was built without threads (MPI_THREAD_SERIALIZED)");
  std::unique_ptr<Mpi> mpi(new Mpi());
  mpi->version_ = lib.version;
  check(lib.commRank(lib.world, &mpi->rank_), "MPI_Comm_rank");
  check(lib.commSize(lib.world, &mpi->size_), "MPI_Comm_size");
  return mpi;
}

Mpi::~Mpi() = default;

std::vector<char> Mpi::wait(std::unique_ptr<Pending> pending, const Cancelled& cancelled) {
  Rest rest(kTransferRest);
  for (;;) {
    int done = 0;
    {
      std::lock_guard<std::mutex> lock(mutex());
      Status status{};
      check(library().test(&pending->request, &done, &status), "MPI_Test");
    }
    if (done) return std::move(pending->data);
    if (cancelled()) {
      pending.release();
      throw stopped();
    }
    rest();
  }
}

void Mpi::send(int to, int tag, const void* data, int64_t bytes, const Cancelled& cancelled) {
  if (bytes > INT32_MAX) throw Error("WBSR_OUT_OF_MEMORY", "a message between ranks has at most 2 GiB");
  auto pending = std::make_unique<Pending>();
  const char* from = static_cast<const char*>(data);
  pending->data.assign(from, from + bytes);
  {
    std::lock_guard<std::mutex> lock(mutex());
    const Library& lib = library();
    check(lib.isend(pending->data.data(), static_cast<int>(bytes), lib.byte, to, tag, lib.world, &pending->request),
          "MPI_Isend");
  }
  wait(std::move(pending), cancelled);
}

Mpi::Message Mpi::receive(int from, const std::vector<int>& tags, int restMicroseconds, const Cancelled& cancelled) {
  const Library& lib = library();
  Rest rest(restMicroseconds);
  for (;;) {
    for (const int tag : tags) {
      auto pending = std::make_unique<Pending>();
      Message message;
      {
        std::lock_guard<std::mutex> lock(mutex());
        int found = 0, bytes = 0;
        Status status{};
        check(lib.iprobe(from, tag, lib.world, &found, &status), "MPI_Iprobe");
        if (!found) continue;
        check(lib.getCount(&status, lib.byte, &bytes), "MPI_Get_count");
        pending->data.resize(static_cast<size_t>(bytes));
        check(lib.irecv(pending->data.data(), bytes, lib.byte, status.source, status.tag, lib.world, &pending->request),
              "MPI_Irecv");
        message.from = status.source;
        message.tag = status.tag;
      }
      message.data = wait(std::move(pending), cancelled);
      return message;
    }
    if (cancelled()) throw stopped();
    rest();
  }
}

void Mpi::finalise() {
  std::lock_guard<std::mutex> lock(mutex());
  check(library().finalize(), "MPI_Finalize");
}

}  // namespace wbsr::distributed
