#include "cuda/program/launches.h"

#include <algorithm>

namespace wbsr::cuda {
namespace {

// A wait of the main stream leaves the side stream up to this many entries behind. They keep the side stream busy until
// more are queued, and a wait for the entries before them covers the next waits too.
constexpr int kBehind = 8;

bool overlap(const std::vector<Launches::Range>& a, const std::vector<Launches::Range>& b) {
  return std::any_of(a.begin(), a.end(), [&](const Launches::Range& x) {
    return std::any_of(b.begin(), b.end(), [&](const Launches::Range& y) {
      return x.buffer == y.buffer && x.begin < y.end && y.begin < x.end;
    });
  });
}

}  // namespace

void Launches::add(const Range& writes, Work work) { entries_.push_back({std::move(work), false, {writes}}); }
void Launches::addBeside(std::vector<Range> reads, Work work) {
  entries_.push_back({std::move(work), true, std::move(reads)});
}

void Launches::schedule() {
  int seen[2] = {-1, -1};  // the last entry of the other stream that the main, the side stream has waited for
  int lastMain = -1, events = 0;
  const auto wait = [&](Entry& entry, int other) {
    entry.waitsFor = seen[entry.beside] = other;
    if (entries_[static_cast<size_t>(other)].event < 0) entries_[static_cast<size_t>(other)].event = events++;
  };
  for (int i = 0; i < static_cast<int>(entries_.size()); ++i) {
    Entry& entry = entries_[static_cast<size_t>(i)];
    // Streams keep their order, so a wait for the last relevant entry covers those before it.
    int behind = 0, enough = -1;
    for (int j = i - 1; j > seen[entry.beside]; --j) {
      const Entry& other = entries_[static_cast<size_t>(j)];
      if (other.beside == entry.beside) continue;
      if (other.beside && behind++ == kBehind) enough = j;
      if (!overlap(entry.touches, other.touches)) continue;
      wait(entry, std::max(j, enough));
      break;
    }
    if (entry.beside) {
      // The side stream's first entry waits even if it depends on no entry of this pass: it must run after the work
      // that was queued on the main stream before the pass.
      WBSR_CHECK(lastMain >= 0);
      if (seen[1] < 0) wait(entry, lastMain);
      last_ = i;
    } else {
      lastMain = i;
    }
  }
  join_ = last_ > seen[0];
  if (join_ && entries_[static_cast<size_t>(last_)].event < 0) entries_[static_cast<size_t>(last_)].event = events++;
  if (last_ < 0) return;
  for (auto& set : events_) set = std::make_unique<Event[]>(static_cast<size_t>(events));
}

void Launches::run(cudaStream_t main, cudaStream_t side, Kind kind) {
  Event* const events = events_[kind].get();
  const auto eventOf = [&](int entry) -> Event& { return events[entries_[static_cast<size_t>(entry)].event]; };
  bool forked = false;
  try {
    for (const Entry& entry : entries_) {
      const cudaStream_t stream = entry.beside ? side : main;
      forked = forked || entry.beside;
      if (entry.waitsFor >= 0) eventOf(entry.waitsFor).makeWait(stream);
      entry.work();
      if (entry.event >= 0) events[entry.event].record(stream);
    }
    if (join_) eventOf(last_).makeWait(main);
  } catch (...) {
    if (forked) {
      try {
        eventOf(last_).record(side);
        eventOf(last_).makeWait(main);
      } catch (const Error&) {  // the device has failed, or the capture ends here
      }
    }
    throw;
  }
}

}  // namespace wbsr::cuda
