// The engine under ThreadSanitizer: every thread of a block is a real one, so that a missing __syncthreads or
// __syncwarp is a data race that ThreadSanitizer sees. The threads are kept for the next launch.
#ifdef __SANITIZE_THREAD__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine.h"

namespace wbsr::host_cuda {

namespace {

void waitWhile(std::atomic<int>& word, int value) {
  while (word.load(std::memory_order_acquire) == value)
    syscall(SYS_futex, reinterpret_cast<int*>(&word), FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
void wakeAll(std::atomic<int>& word) { syscall(SYS_futex, reinterpret_cast<int*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }

// Counts threads up to `count`; the last one lets the others go on.
struct Barrier {
  std::atomic<int> arrived{0}, turn{0};
};

struct Warp {
  Barrier barrier;
  uint64_t values[2][kLanes];
};

struct Job {
  const Launch* launch = nullptr;
  SharedMemory* shared = nullptr;
  int threads = 0;
  Barrier block, ends;                 // __syncthreads; the end of a block
  std::unique_ptr<Warp[]> warps;
  std::unique_ptr<Site[]> waits;       // where each thread waits
  std::unique_ptr<std::atomic<int>[]> state;  // of each thread: kRuns, kWaits, kEnded
  std::atomic<int> blocked{0};         // threads that wait, ended ones among them
  std::atomic<uint64_t> at{0};         // the block that runs
};
enum { kRuns, kWaits, kEnded };

Job* job = nullptr;
thread_local int self = -1;
thread_local int phase = 0;

[[noreturn]] void failStuck() {
  std::map<std::string, std::vector<int>> waiting;
  int ended = 0;
  for (int i = 0; i < job->threads; ++i) {
    const int state = job->state[static_cast<size_t>(i)].load(std::memory_order_acquire);
    if (state == kEnded) ++ended;
    if (state == kWaits) waiting[job->waits[static_cast<size_t>(i)].text()].push_back(i);
  }
  std::string message = "threads wait for ever in " + job->launch->text() + ", block " + std::to_string(job->at.load()) + " of " +
                        std::to_string(job->launch->blocks()) + ":";
  for (const auto& [where, threads] : waiting)
    message += "\n  " + std::to_string(threads.size()) + " of " + std::to_string(job->threads) + " at " + where + " (the first is thread " +
               std::to_string(threads[0]) + ")";
  fail(message + "\n  " + std::to_string(ended) + " have ended");
}

// `last` runs in the thread that comes last, before the others go on. The counter of blocked threads is never above the
// truth, and right when all have counted themselves.
template <typename Last> void arrive(Barrier& barrier, int count, int state, Last last) {
  const int turn = barrier.turn.load(std::memory_order_relaxed);
  auto& mine = job->state[static_cast<size_t>(self)];
  mine.store(state, std::memory_order_release);
  if (barrier.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == count) {
    mine.store(kRuns, std::memory_order_release);
    last();
    barrier.arrived.store(0, std::memory_order_relaxed);
    job->blocked.fetch_sub(count - 1, std::memory_order_acq_rel);
    barrier.turn.store(turn + 1, std::memory_order_release);
    wakeAll(barrier.turn);
    return;
  }
  if (job->blocked.fetch_add(1, std::memory_order_acq_rel) + 1 == job->threads) failStuck();
  waitWhile(barrier.turn, turn);
  mine.store(kRuns, std::memory_order_release);
}

// All threads wait at one place, or something is wrong.
void checkSites(int first, int count) {
  const Site& one = job->waits[static_cast<size_t>(first)];
  for (int i = first + 1; i < first + count; ++i) {
    const Site& other = job->waits[static_cast<size_t>(i)];
    if (other == one) continue;
    fail("threads of one block wait at different places in " + job->launch->text() + ", block " + std::to_string(job->at.load()) + ": thread " +
         std::to_string(first) + " at " + one.text() + ", thread " + std::to_string(i) + " at " + other.text());
  }
}

void runThread(Job& work, int thread) {
  self = thread;
  threadIdx = threadIndex(thread, work.launch->block);
  blockDim = work.launch->block;
  gridDim = work.launch->grid;
  const uint64_t blocks = work.launch->blocks();
  for (uint64_t b = 0; b < blocks; ++b) {
    blockIdx = blockIndex(b, work.launch->grid);
    phase = 0;
    work.launch->body();
    arrive(work.ends, work.threads, kEnded, [&] {
      work.shared->spoil();
      work.at.store(b + 1);
    });
  }
  self = -1;
}

// The threads, as many as the largest block so far.
class Pool {
 public:
  ~Pool() {
    stop_ = true;
    next();
    for (auto& thread : threads_) thread.join();
  }
  void run(Job& work) {
    while (static_cast<int>(threads_.size()) < work.threads) {
      const int index = static_cast<int>(threads_.size());
      threads_.emplace_back([this, index, seen = turn_.load()] { serve(index, seen); });
    }
    work_ = &work;
    running_.store(static_cast<int>(threads_.size()));
    next();
    for (int left; (left = running_.load(std::memory_order_acquire)) > 0;) waitWhile(running_, left);
  }

 private:
  void next() {
    turn_.fetch_add(1, std::memory_order_acq_rel);
    wakeAll(turn_);
  }
  void serve(int index, int seen) {
    for (;;) {
      waitWhile(turn_, seen);
      seen = turn_.load(std::memory_order_acquire);
      if (stop_) return;
      if (index < work_->threads) runThread(*work_, index);
      if (running_.fetch_sub(1, std::memory_order_acq_rel) == 1) wakeAll(running_);
    }
  }
  std::vector<std::thread> threads_;
  std::atomic<int> turn_{0}, running_{0};
  bool stop_ = false;
  Job* work_ = nullptr;
};

void needLaunch(const char* what) {
  if (self < 0) fail(std::string(what) + " outside of a kernel");
}

}  // namespace

void runLaunch(const Launch& launch) {
  static std::mutex mutex;
  static Pool pool;
  if (self >= 0) fail("a kernel launches another: " + launch.text());
  const std::lock_guard lock(mutex);
  SharedMemory shared(launch.shared);
  shared.spoil();
  Job work;
  work.launch = &launch;
  work.shared = &shared;
  work.threads = launch.threads();
  const size_t warps = static_cast<size_t>((work.threads + kLanes - 1) / kLanes);
  work.warps = std::make_unique<Warp[]>(warps);
  for (size_t w = 0; w < warps; ++w) std::fill_n(&work.warps[w].values[0][0], 2 * kLanes, ~uint64_t{0});
  work.waits = std::make_unique<Site[]>(static_cast<size_t>(work.threads));
  work.state = std::make_unique<std::atomic<int>[]>(static_cast<size_t>(work.threads));
  job = &work;
  pool.run(work);
  job = nullptr;
}

void* dynamicShared() {
  needLaunch("dynamic shared memory is asked for");
  return job->shared->data();
}

void blockBarrier(const Site& site) {
  needLaunch(site.what);
  job->waits[static_cast<size_t>(self)] = site;
  arrive(job->block, job->threads, kWaits, [] { checkSites(0, job->threads); });
}

int laneOf() { return self % kLanes; }
int laneCount() { return std::min(kLanes, job->threads - self / kLanes * kLanes); }

const uint64_t* warpExchange(unsigned mask, uint64_t value, const Site& site) {
  needLaunch(site.what);
  const int lanes = laneCount();
  const unsigned existing = 0xffffffffu >> (kLanes - lanes);
  if ((mask & existing) != existing) fail(site.text() + " in " + job->launch->text() + ": only masks of the whole warp are modelled");
  Warp& warp = job->warps[static_cast<size_t>(self / kLanes)];
  uint64_t* values = warp.values[phase];
  values[laneOf()] = value;
  job->waits[static_cast<size_t>(self)] = site;
  // The values of the other phase are written again only when every lane has come here: whoever reads these is done.
  arrive(warp.barrier, lanes, kWaits, [] { checkSites(self / kLanes * kLanes, laneCount()); });
  phase ^= 1;
  return values;
}

}  // namespace wbsr::host_cuda
#endif
