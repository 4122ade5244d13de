// Open MPI, opened at run time: the calls that training on several ranks needs, with waits that sleep instead of spinning and
// that end when they are cancelled.
//
// Open MPI alone: its handles are addresses of exported objects (ompi_mpi_comm_world), those of MPICH and its relatives are
// integers, and a library has one of the two. Compiled without mpi.h, so that a build needs no MPI; what is declared in mpi.cc
// is the same in Open MPI 2 to 5 (libmpi.so.40).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace wbsr::distributed {

// What the library says of itself (version), or why there is none. Does not initialise MPI.
struct MpiLibrary {
  std::string version, reason;
};
MpiLibrary findMpi();

// All ranks that mpirun started. There is one in a process, and once it is closed there can be no other. Its methods may be
// called on several threads: single calls of MPI are never made at the same time (MPI_THREAD_SERIALIZED).
class Mpi {
 public:
  // Initialises MPI, which waits for all ranks. Throws WBSR_NO_DEVICE where there is no usable library, WBSR_INTERNAL where
  // MPI refuses.
  static std::unique_ptr<Mpi> open();
  ~Mpi();

  int rank() const { return rank_; }
  int size() const { return size_; }
  const std::string& version() const { return version_; }

  // Asked while a call waits; true ends it with WBSR_ABORTED.
  using Cancelled = std::function<bool()>;
  // tag: 0 .. 32767. Messages of one tag between two ranks arrive in the order in which they were sent. Returns once `data`
  // may change.
  void send(int to, int tag, const void* data, int64_t bytes, const Cancelled& cancelled);
  struct Message {
    int from = 0, tag = 0;
    std::vector<char> data;
  };
  // The next message of the rank (-1: any) with the first of the tags that has one. restMicroseconds: how long it sleeps at most
  // before it looks again.
  Message receive(int from, const std::vector<int>& tags, int restMicroseconds, const Cancelled& cancelled);
  // Waits until all ranks have come here; MPI cannot be used afterwards. On the thread of open().
  void finalise();

 private:
  Mpi() = default;
  struct Pending;
  // Returns its memory once it is done.
  static std::vector<char> wait(std::unique_ptr<Pending> pending, const Cancelled& cancelled);

  int rank_ = 0, size_ = 1;
  std::string version_;
};

}  // namespace wbsr::distributed
