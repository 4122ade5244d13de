// The engine: the threads of a block are fibers of the calling thread that switch only where they wait. A kernel that
// never waits runs all its threads on one fiber without a switch.
//
// Under ThreadSanitizer (HOST_CUDA_TSAN; this file itself is compiled without it) every thread has a fiber and a stack of
// its own and is told to ThreadSanitizer as a thread. Switching orders nothing; barriers do, and the end of a block comes
// before the next block. So a missing __syncthreads or __syncwarp is a data race that it reports, in every run. Each
// barrier costs the square of the block's threads then, so only the first and last blocks of a launch are watched, and of
// launches with the same kernel and sizes only the first ones; the rest runs as one thread.
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef HOST_CUDA_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace wbsr::host_cuda {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 512 << 10;
#else
constexpr size_t kStack = 128 << 10;
#endif
#ifdef HOST_CUDA_TSAN
constexpr bool kFiberPerThread = true;
#else
constexpr bool kFiberPerThread = false;
#endif
constexpr uint64_t kWatchedFirst = 2, kWatchedLast = 2;
constexpr int kWatchedLaunches = 3;

// The order between threads, for ThreadSanitizer.
void orderAfter([[maybe_unused]] char& point) {
#ifdef HOST_CUDA_TSAN
  __tsan_acquire(&point);
#endif
}
void orderBefore([[maybe_unused]] char& point) {
#ifdef HOST_CUDA_TSAN
  __tsan_release(&point);
#endif
}

#ifdef __x86_64__
// Saves what a call must keep on the stack, changes stacks, takes it up there.
extern "C" void wbsrSwitchStack(void** from, void* to);
asm(R"(
.text
.type wbsrSwitchStack, @function
.globl wbsrSwitchStack
.hidden wbsrSwitchStack
wbsrSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size wbsrSwitchStack, .-wbsrSwitchStack
)");
#endif

// A stack and where its execution stands.
struct Fiber {
#ifdef __x86_64__
  void* at = nullptr;
#else
  ucontext_t at;
#endif
  const void* bottom = nullptr;  // for AddressSanitizer
  size_t size = 0;
  void* fakeStack = nullptr;
  void* memory = nullptr;
  void* tsan = nullptr;  // what ThreadSanitizer calls it
  int thread = -1;
  uint3 index = {};
  Site waits = {};
  AsyncCopies copies;  // of the thread it runs
};

struct Barrier {
  std::vector<Fiber*> waiting;
  // Two and two alternate: a thread that is a barrier ahead must not be ordered before one that is behind.
  int phase = 0;
  char order[2];
};

struct Warp {
  Barrier barrier;
  uint64_t values[2][kLanes];
  Words words[2][kLanes];
};

struct Engine {
  const Launch* launch = nullptr;
  SharedMemory* shared = nullptr;
  int threads = 0, next = 0, finished = 0;
  uint64_t block = 0, blocks = 0;
  bool watchedLaunch = false, watched = false;  // this block; only where kFiberPerThread
  std::map<std::array<size_t, 8>, int> seen;    // launches by kernel and sizes
  char blockEnds[2];
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  std::deque<Fiber*> ready;
  Barrier barrier;
  std::vector<Warp> warps;
  Fiber main;
  Fiber* current = nullptr;
  Fiber* previous = nullptr;
  Fiber* entering = nullptr;

  ~Engine() {
    for (auto& fiber : fibers) munmap(fiber->memory, kStack);
  }
};
Engine* engine = nullptr;  // of the launch that runs

// The running thread, for ThreadSanitizer: the engine's own code belongs to the launching thread.
void asThread() {
#ifdef HOST_CUDA_TSAN
  if (engine->watched) __tsan_switch_to_fiber(engine->current->tsan, __tsan_switch_to_fiber_no_sync);
#endif
}
void asEngine() {
#ifdef HOST_CUDA_TSAN
  if (engine->watched) __tsan_switch_to_fiber(engine->main.tsan, __tsan_switch_to_fiber_no_sync);
#endif
}

void enter(Fiber& fiber) {
#ifdef __SANITIZE_ADDRESS__
  const void* bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(fiber.fakeStack, &bottom, &size);
  engine->previous->bottom = bottom;
  engine->previous->size = size;
#endif
  engine->current = &fiber;
  threadIdx = fiber.index;
}

void switchTo(Fiber& to) {
  Fiber& from = *engine->current;
  engine->previous = &from;
  engine->entering = &to;
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&from.fakeStack, to.bottom, to.size);
#endif
#ifdef __x86_64__
  wbsrSwitchStack(&from.at, to.at);
#else
  swapcontext(&from.at, &to.at);
#endif
  enter(from);
}

[[noreturn]] void failStuck() {
  Engine& e = *engine;
  std::map<std::string, std::vector<int>> waiting;
  for (Fiber* fiber : e.barrier.waiting) waiting[fiber->waits.text()].push_back(fiber->thread);
  for (Warp& warp : e.warps)
    for (Fiber* fiber : warp.barrier.waiting) waiting[fiber->waits.text()].push_back(fiber->thread);
  std::string message = "threads wait for ever in " + e.launch->text() + ", block " + std::to_string(e.block) + " of " +
                        std::to_string(e.blocks) + ":";
  for (const auto& [where, threads] : waiting)
    message += "\n  " + std::to_string(threads.size()) + " of " + std::to_string(e.threads) + " at " + where +
               " (the first is thread " + std::to_string(threads[0]) + ")";
  message += "\n  " + std::to_string(e.finished) + " have ended";
  fail(message);
}

[[noreturn]] void failDifferent(const Fiber& one, const Fiber& other) {
  fail("threads of one block wait at different places in " + engine->launch->text() + ", block " +
       std::to_string(engine->block) + ": thread " + std::to_string(one.thread) + " at " + one.waits.text() +
       ", thread " + std::to_string(other.thread) + " at " + other.waits.text());
}

bool same(const Site& a, const Site& b) {
  return std::strcmp(a.what, b.what) == 0 && a.where.line() == b.where.line() && a.where.column() == b.where.column();
}

void beginBlock() {
  Engine& e = *engine;
  e.next = e.finished = 0;
  e.watched = e.watchedLaunch && (e.block < kWatchedFirst || e.block + kWatchedLast >= e.blocks);
  blockIdx = blockIndex(e.block, e.launch->grid);
  char& before = e.blockEnds[(e.block + 1) & 1];
  orderAfter(before);
  e.shared->spoil();
  orderBefore(before);
  for (Warp& warp : e.warps) {
    warp.barrier.phase = 0;
    std::fill_n(&warp.values[0][0], 2 * kLanes, ~uint64_t{0});
  }
}

void runThread() {
  Engine& e = *engine;
  Fiber& self = *e.current;
  self.thread = e.next++;
  self.index = threadIdx = threadIndex(self.thread, e.launch->block);
  asThread();
  if (e.watched) orderAfter(e.blockEnds[(e.block + 1) & 1]);  // of the block before
  e.launch->body();
  if (!self.copies.queued.empty())
    fail("a thread ends with copies into shared memory that it has not waited for, in " + e.launch->text());
  self.copies.groups.clear();
  if (e.watched) orderBefore(e.blockEnds[e.block & 1]);
  asEngine();
  ++e.finished;
}

Fiber& makeFiber();

// A fiber that can run: one that has begun, so that a warp ends before the next begins and few stacks are in use; else
// one for the next thread; null where all others wait.
Fiber* nextFiber() {
  Engine& e = *engine;
  if (!e.ready.empty()) {
    Fiber* const fiber = e.ready.front();
    e.ready.pop_front();
    return fiber;
  }
  if (e.next == e.threads) return nullptr;
  if (kFiberPerThread)
    return e.next < static_cast<int>(e.fibers.size()) ? e.fibers[static_cast<size_t>(e.next)].get() : &makeFiber();
  if (e.idle.empty()) return &makeFiber();
  Fiber* const fiber = e.idle.back();
  e.idle.pop_back();
  return fiber;
}

// What every fiber does, from launch to launch.
void runThreads() {
  Engine& e = *engine;
  for (;;) {
    runThread();
    Fiber* to = nullptr;
    if (e.finished == e.threads && ++e.block == e.blocks) {
      to = &e.main;
    } else {
      if (e.finished == e.threads) beginBlock();
      // On this stack; but a fiber that a thread owns never runs an earlier thread, which would need it again.
      const bool owned = e.watched || (kFiberPerThread && e.next == 0);
      if (!owned && e.ready.empty() && e.next < e.threads) continue;
      to = nextFiber();
      if (!to) failStuck();
    }
    if (to == e.current) continue;
    if (!kFiberPerThread) e.idle.push_back(e.current);
    switchTo(*to);
  }
}

void fiberMain() {
  enter(*engine->entering);
  runThreads();
}

Fiber& makeFiber() {
  auto fiber = std::make_unique<Fiber>();
  fiber->memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (fiber->memory == MAP_FAILED) fail("no memory for the stack of a fiber");
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  mprotect(fiber->memory, page, PROT_NONE);
  fiber->bottom = static_cast<char*>(fiber->memory) + page;
  fiber->size = kStack - page;
#ifdef __x86_64__
  // As wbsrSwitchStack leaves a stack: six registers, the address to return to, and one word so that the function
  // begins with the alignment that a call gives.
  void** top = reinterpret_cast<void**>(static_cast<char*>(fiber->memory) + kStack);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&fiberMain);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fiber->at = top;
#else
  getcontext(&fiber->at);
  fiber->at.uc_stack = {const_cast<void*>(fiber->bottom), 0, fiber->size};
  fiber->at.uc_link = nullptr;
  makecontext(&fiber->at, fiberMain, 0);
#endif
#ifdef HOST_CUDA_TSAN
  fiber->tsan = __tsan_create_fiber(0);
  // Not by std::string: ThreadSanitizer sees what it copies, and the running thread has used this part of its stack.
  char name[] = "threadIdx 0000";
  size_t number = engine->fibers.size();
  for (char* digit = name + sizeof name - 2; number > 0 && *digit != ' '; number /= 10)
    *digit-- += static_cast<char>(number % 10);
  __tsan_set_fiber_name(fiber->tsan, name);
#endif
  engine->fibers.push_back(std::move(fiber));
  return *engine->fibers.back();
}

// Waits until `count` threads have come. `ordered`: what they did before comes before what they do after.
void arrive(Barrier& barrier, int count, bool ordered, const Site& site) {
  Engine& e = *engine;
  e.current->waits = site;
  char& order = barrier.order[barrier.phase];
  ordered = ordered && e.watched;
  if (ordered) orderBefore(order);
  asEngine();
  if (!barrier.waiting.empty() && !same(barrier.waiting[0]->waits, e.current->waits))
    failDifferent(*barrier.waiting[0], *e.current);
  if (static_cast<int>(barrier.waiting.size()) + 1 == count) {
    e.ready.insert(e.ready.end(), barrier.waiting.begin(), barrier.waiting.end());
    barrier.waiting.clear();
    barrier.phase ^= 1;
  } else {
    barrier.waiting.push_back(e.current);
    Fiber* const to = nextFiber();
    if (!to) failStuck();
    switchTo(*to);
  }
  asThread();
  if (ordered) orderAfter(order);
}

void needLaunch(const char* what) {
  if (!engine || !engine->launch) fail(std::string(what) + " outside of a kernel");
}

}  // namespace

void runLaunch(const Launch& launch) {
  static std::mutex mutex;
  static Engine one;
  const std::lock_guard lock(mutex);
  engine = &one;
  Engine& e = one;
  if (e.launch) fail("a kernel launches another: " + launch.text());
  SharedMemory shared(launch.shared);
  e.launch = &launch;
  e.shared = &shared;
  e.threads = launch.threads();
  e.block = 0;
  e.blocks = launch.blocks();
  e.warps.resize(static_cast<size_t>((e.threads + kLanes - 1) / kLanes));
  const dim3 g = launch.grid, b = launch.block;
  e.watchedLaunch = kFiberPerThread &&
                    e.seen[{reinterpret_cast<size_t>(launch.kernel), g.x, g.y, g.z, b.x, b.y, b.z, launch.shared}]++ <
                        kWatchedLaunches;
  blockDim = launch.block;
  gridDim = launch.grid;
  beginBlock();
  e.current = &e.main;
#ifdef HOST_CUDA_TSAN
  e.main.tsan = __tsan_get_current_fiber();
#endif
  switchTo(*nextFiber());
  orderAfter(e.blockEnds[(e.blocks + 1) & 1]);
  e.launch = nullptr;
}

void* dynamicShared() {
  needLaunch("dynamic shared memory is asked for");
  return engine->shared->data();
}

void blockBarrier(const Site& site) {
  needLaunch(site.what);
  arrive(engine->barrier, engine->threads, true, site);
}

int laneOf() { return engine->current->thread % kLanes; }
int laneCount() { return std::min(kLanes, engine->threads - engine->current->thread / kLanes * kLanes); }

namespace {

Warp& warpOf(unsigned mask, const Site& site) {
  needLaunch(site.what);
  const unsigned existing = 0xffffffffu >> (kLanes - laneCount());
  if ((mask & existing) != existing)
    fail(site.text() + " in " + engine->launch->text() + ": only masks of the whole warp are modelled");
  return engine->warps[static_cast<size_t>(engine->current->thread / kLanes)];
}

}  // namespace

void warpBarrier(unsigned mask, const Site& site) { arrive(warpOf(mask, site).barrier, laneCount(), true, site); }

const uint64_t* warpExchange(unsigned mask, uint64_t value, const Site& site) {
  Warp& warp = warpOf(mask, site);
  uint64_t* values = warp.values[warp.barrier.phase];
  values[laneOf()] = value;
  // The values of the other phase are written again only when every lane has arrived here, after its reads.
  arrive(warp.barrier, laneCount(), false, site);
  return values;
}

const Words* warpExchangeWords(const Words& words, const Site& site) {
  Warp& warp = warpOf(0xffffffffu, site);
  if (laneCount() != kLanes) fail(site.text() + ": the warp has fewer than 32 lanes");
  Words* all = warp.words[warp.barrier.phase];
  all[laneOf()] = words;
  arrive(warp.barrier, kLanes, false, site);
  return all;
}

AsyncCopies& asyncCopies() {
  needLaunch("a copy into shared memory");
  return engine->current->copies;
}

}  // namespace wbsr::host_cuda
