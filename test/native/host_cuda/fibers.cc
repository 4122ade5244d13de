// The engine for everything but ThreadSanitizer: the threads of a block are fibers of the calling thread that switch
// only where they wait. A kernel that never waits runs all its threads on one fiber without a switch.
#ifndef __SANITIZE_THREAD__
#include <sys/mman.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "engine.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace wbsr::host_cuda {

namespace {

#ifdef __SANITIZE_ADDRESS__
constexpr size_t kStack = 512 << 10;
#else
constexpr size_t kStack = 128 << 10;
#endif

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
  const void* bottom = nullptr;  // AddressSanitizer wants to know
  size_t size = 0;
  void* fakeStack = nullptr;
  void* memory = nullptr;
  int thread = -1;
  uint3 index = {};
  Site waits = {};
};

struct Barrier {
  std::vector<Fiber*> waiting;
};

struct Warp {
  Barrier barrier;
  int phase = 0;
  uint64_t values[2][kLanes];
};

struct Engine {
  const Launch* launch = nullptr;
  SharedMemory* shared = nullptr;
  int threads = 0, next = 0, finished = 0;
  uint64_t block = 0, blocks = 0;
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::vector<Fiber*> idle;
  std::deque<Fiber*> ready;
  Barrier barrier;
  std::vector<Warp> warps;
  Fiber main;
  Fiber* current = nullptr;
  Fiber* previous = nullptr;

  ~Engine() {
    for (auto& fiber : fibers) munmap(fiber->memory, kStack);
  }
};
Engine* engine = nullptr;  // of the launch that runs

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
  std::string message = "threads wait for ever in " + e.launch->text() + ", block " + std::to_string(e.block) + " of " + std::to_string(e.blocks) + ":";
  for (const auto& [where, threads] : waiting)
    message += "\n  " + std::to_string(threads.size()) + " of " + std::to_string(e.threads) + " at " + where + " (the first is thread " +
               std::to_string(threads[0]) + ")";
  message += "\n  " + std::to_string(e.finished) + " have ended";
  fail(message);
}

[[noreturn]] void failDifferent(const Fiber& other, const Site& site) {
  const Engine& e = *engine;
  fail("threads of one block wait at different places in " + e.launch->text() + ", block " + std::to_string(e.block) + ": thread " +
       std::to_string(other.thread) + " at " + other.waits.text() + ", thread " + std::to_string(e.current->thread) + " at " + site.text());
}

void beginBlock() {
  Engine& e = *engine;
  e.next = e.finished = 0;
  blockIdx = blockIndex(e.block, e.launch->grid);
  e.shared->spoil();
  for (Warp& warp : e.warps) {
    warp.phase = 0;
    std::fill_n(&warp.values[0][0], 2 * kLanes, ~uint64_t{0});
  }
}

// What every fiber does: threads that have not begun yet, then threads that can go on, then the next block.
void runThreads() {
  Engine& e = *engine;
  for (;;) {
    while (e.ready.empty() && e.next < e.threads) {
      Fiber& self = *e.current;
      self.thread = e.next++;
      self.index = threadIdx = threadIndex(self.thread, e.launch->block);
      e.launch->body();
      ++e.finished;
    }
    Fiber& self = *e.current;
    if (!e.ready.empty()) {
      e.idle.push_back(&self);
      Fiber& to = *e.ready.front();
      e.ready.pop_front();
      switchTo(to);
    } else if (e.finished < e.threads) {
      failStuck();
    } else if (++e.block < e.blocks) {
      beginBlock();
    } else {
      e.idle.push_back(&self);
      switchTo(e.main);
    }
  }
}

void fiberMain() {
  // Whoever enters a new fiber leaves it on top of the idle ones: a stack that begins takes no arguments.
  Fiber& self = *engine->idle.back();
  engine->idle.pop_back();
  enter(self);
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
  engine->fibers.push_back(std::move(fiber));
  return *engine->fibers.back();
}

// Gives way to a thread that can run. Begun ones come first, so that a warp ends before the next begins and few stacks
// are in use.
void suspend(const Site& site) {
  Engine& e = *engine;
  e.current->waits = site;
  if (!e.ready.empty()) {
    Fiber& to = *e.ready.front();
    e.ready.pop_front();
    switchTo(to);
  } else if (e.next < e.threads) {
    if (e.idle.empty()) {
      e.idle.push_back(&makeFiber());
      switchTo(*e.idle.back());  // fiberMain takes it off
    } else {
      Fiber& to = *e.idle.back();
      e.idle.pop_back();
      switchTo(to);
    }
  } else {
    failStuck();
  }
}

// True for the thread that came last.
bool arrive(Barrier& barrier, int count, const Site& site) {
  Engine& e = *engine;
  if (!barrier.waiting.empty() && !(barrier.waiting[0]->waits == site)) failDifferent(*barrier.waiting[0], site);
  if (static_cast<int>(barrier.waiting.size()) + 1 == count) {
    e.ready.insert(e.ready.end(), barrier.waiting.begin(), barrier.waiting.end());
    barrier.waiting.clear();
    return true;
  }
  barrier.waiting.push_back(e.current);
  suspend(site);
  return false;
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
  blockDim = launch.block;
  gridDim = launch.grid;
  beginBlock();
  e.current = &e.main;
  if (e.idle.empty()) {
    e.idle.push_back(&makeFiber());
    switchTo(*e.idle.back());
  } else {
    Fiber& to = *e.idle.back();
    e.idle.pop_back();
    switchTo(to);
  }
  e.launch = nullptr;
}

void* dynamicShared() {
  needLaunch("dynamic shared memory is asked for");
  return engine->shared->data();
}

void blockBarrier(const Site& site) {
  needLaunch(site.what);
  arrive(engine->barrier, engine->threads, site);
}

int laneOf() { return engine->current->thread % kLanes; }
int laneCount() { return std::min(kLanes, engine->threads - engine->current->thread / kLanes * kLanes); }

const uint64_t* warpExchange(unsigned mask, uint64_t value, const Site& site) {
  needLaunch(site.what);
  Engine& e = *engine;
  const int lanes = laneCount();
  const unsigned existing = 0xffffffffu >> (kLanes - lanes);
  if ((mask & existing) != existing) fail(site.text() + " in " + e.launch->text() + ": only masks of the whole warp are modelled");
  Warp& warp = e.warps[static_cast<size_t>(e.current->thread / kLanes)];
  uint64_t* values = warp.values[warp.phase];
  values[laneOf()] = value;
  // The values of the other phase are written again only when every lane has come here: whoever reads these is done.
  if (lanes == 1 || arrive(warp.barrier, lanes, site)) warp.phase ^= 1;
  return values;
}

}  // namespace wbsr::host_cuda
#endif
