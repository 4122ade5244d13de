#include "cuda/uploads.h"

namespace wbsr::cuda {

void Uploads::handOver(cudaStream_t compute) {
  uploaded_.record(stream);
  uploaded_.makeWait(compute);
}

Uploads::Kept* Uploads::take(const View& view, const Origin& origin, size_t bytes) {
  Kept* oldest = nullptr;
  for (Kept& kept : kept_) {
    if (kept.picture == origin.picture && kept.type == view.type && kept.width == view.width &&
        kept.channels == view.channels && kept.there.size() == static_cast<size_t>(origin.rows))
      return &kept;
    if (!kept.lent && (!oldest || kept.used < oldest->used)) oldest = &kept;
  }
  if (!oldest) return nullptr;
  Kept& kept = *oldest;
  kept.picture = 0;  // if the allocation fails
  if (bytes > kept.memory.bytes()) {
    if (kept.read) kept.lastRead.synchronise();
    stream.synchronise();
    kept.memory.reserve(bytes);
  } else if (kept.read) {
    kept.lastRead.makeWait(stream);
  }
  kept.picture = origin.picture;
  kept.type = view.type;
  kept.width = view.width;
  kept.channels = view.channels;
  kept.there.assign(static_cast<size_t>(origin.rows), false);
  kept.read = false;
  return &kept;
}

const uint8_t* Uploads::picture(const View& view, const Origin& origin) {
  if (origin.picture == 0) return nullptr;
  WBSR_CHECK(origin.top >= 0 && origin.top + view.height <= origin.rows);
  const size_t row = sampleBytes(view.type) * static_cast<size_t>(view.channels) * static_cast<size_t>(view.width);
  const size_t bytes = row * static_cast<size_t>(origin.rows) + 256;
  if (bytes > kMostBytes) return nullptr;
  Kept* const kept = take(view, origin, bytes);
  if (!kept) return nullptr;
  kept->used = ++clock_;
  kept->lent = true;
  const auto there = [&](int y) { return kept->there[static_cast<size_t>(origin.top + y)]; };
  uint8_t* const first = kept->memory.as<uint8_t>() + row * static_cast<size_t>(origin.top);
  for (int y = 0; y < view.height;) {
    int end = y;
    while (end < view.height && !there(end)) ++end;
    if (end == y) {
      ++y;
      continue;
    }
    transfer.upload(first + row * static_cast<size_t>(y),
                    static_cast<const uint8_t*>(view.data) + row * static_cast<size_t>(y),
                    row * static_cast<size_t>(end - y), stream);
    for (; y < end; ++y) kept->there[static_cast<size_t>(origin.top + y)] = true;
  }
  return first;
}

void Uploads::giveBack() {
  for (Kept& kept : kept_) kept.lent = false;
}

void Uploads::giveBack(cudaStream_t compute) {
  for (Kept& kept : kept_) {
    if (!kept.lent) continue;
    kept.lastRead.record(compute);
    kept.read = true;
  }
  giveBack();
}

void Uploads::trim() {
  stream.synchronise();
  for (Kept& kept : kept_) {
    if (kept.lent) continue;
    if (kept.read) kept.lastRead.synchronise();
    kept.picture = 0;
    kept.read = false;
    kept.memory.release();
  }
}

int64_t Uploads::bytes() const {
  return static_cast<int64_t>(transfer.bytes() + kept_[0].memory.bytes() + kept_[1].memory.bytes());
}

}  // namespace wbsr::cuda
