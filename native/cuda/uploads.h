// Pixels and tables on their way to the device: a stream of their own, so that neither waits for the network's work that is
// queued before, and pictures that several jobs read, each row of which is copied once. For the engine's thread.
#pragma once
#include <cstdint>
#include <vector>

#include "core/pixels.h"
#include "cuda/transfer.h"

namespace wbsr::cuda {

class Uploads {
 public:
  Stream stream;
  Transfer transfer;  // copies on `stream`

  // Work queued on `compute` from now on sees everything that was uploaded.
  void handOver(cudaStream_t compute);

  // The first row of the view in device memory, for work that is queued on `stream` from now on, or on another one after
  // handOver(); up to 15 bytes behind the view may be read. Lent until giveBack(). Null: the view belongs to no picture, or
  // to one that is too large to be kept, and the caller has to upload it.
  const uint8_t* picture(const View& view, const Origin& origin);
  // Nothing reads the lent pictures any more; with `compute`: nothing but what is queued there now.
  void giveBack();
  void giveBack(cudaStream_t compute);
  // Frees the pictures that are not lent.
  void trim();
  int64_t bytes() const;

 private:
  static constexpr size_t kMostBytes = size_t{256} << 20;  // of a picture
  struct Kept {
    uint64_t picture = 0;  // 0: none
    Sample type = Sample::U8;
    int width = 0, channels = 0;
    DeviceBuffer memory;
    std::vector<bool> there;  // rows
    bool lent = false, read = false;
    Event lastRead;  // by compute, if `read`
    uint64_t used = 0;
  };
  // The picture's entry, emptied if it held another one; null where both are lent.
  Kept* take(const View& view, const Origin& origin, size_t bytes);

  Kept kept_[2];  // one that is enlarged and one that is routed meanwhile
  Event uploaded_;
  uint64_t clock_ = 0;
};

}  // namespace wbsr::cuda
