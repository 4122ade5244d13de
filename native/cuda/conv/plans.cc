// The cache of plans, and building them.
#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <list>
#include <optional>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "cuda/conv/plan.h"
#include "cuda/conv/timing.h"
#include "cuda/conv/plan_store.h"
#include "cuda/conv/tile_conv.h"

namespace wbsr::cuda {
namespace {

constexpr int kMostBuilders = 32;
constexpr int kOthersTimed = 2;       // engines of each variant but the best, beside those of the best
constexpr char kOwnKernel[] = "own";  // StoredPlan::variant of a plan of ours
constexpr char kOwnPlan[] = "tiles";  // instead of cuDNN's JSON

// Makes `device` current and what was current afterwards.
class OnDevice {
 public:
  explicit OnDevice(int device) {
    WBSR_CUDA(cudaGetDevice(&before_));
    if (before_ != device) WBSR_CUDA(cudaSetDevice(device));
    changed_ = before_ != device;
  }
  ~OnDevice() {
    if (changed_) cudaSetDevice(before_);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

class Plans : public ConvPlans {
 public:
  Plans(int device, int autotune, size_t capacity)
      : device_(device),
        autotune_(autotune),
        capacity_(std::max<size_t>(capacity, 1)),
        handle_(makeHandle(device)),
        store_(planFolder()),
        maker_(makerOf(device)),
        workspaceLimit_(workspaceLimitOf(device)) {
    store_.trim();
  }

  std::shared_ptr<const ConvPlan> get(const ConvSpec& asked) override {
    const ConvSpec spec = normalised(asked);
    std::unique_lock lock(mutex_);
    for (;;) {
      if (auto plan = lookUp(spec)) return plan;
      if (building_.insert(spec).second) break;
      built_.wait(lock);  // another thread builds it; if that fails, this one tries
    }
    lock.unlock();
    std::shared_ptr<const ConvPlan> plan;
    std::exception_ptr error;
    try {
      validate(spec);
      plan = build(spec);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    building_.erase(spec);
    if (plan) insert(spec, plan);
    lock.unlock();
    built_.notify_all();
    if (error) std::rethrow_exception(error);
    return plan;
  }

  void prepare(const std::vector<ConvSpec>& specs) override {
    std::vector<ConvSpec> missing;
    {
      const std::lock_guard lock(mutex_);
      for (const ConvSpec& asked : specs) {
        const ConvSpec spec = normalised(asked);
        if (!plans_.count(spec) && std::find(missing.begin(), missing.end(), spec) == missing.end())
          missing.push_back(spec);
      }
    }
    std::mutex turn;
    size_t next = 0;
    std::exception_ptr error;
    const auto work = [&] {
      for (;;) {
        size_t mine;
        {
          const std::lock_guard lock(turn);
          if (error || next >= missing.size()) return;
          mine = next++;
        }
        try {
          get(missing[mine]);
        } catch (...) {
          const std::lock_guard lock(turn);
          if (!error) error = std::current_exception();
        }
      }
    };
    const size_t threads =
        std::min<size_t>({missing.size(), kMostBuilders, std::max(1u, std::thread::hardware_concurrency())});
    std::vector<std::thread> others;
    others.reserve(threads);
    try {
      while (others.size() + 1 < threads) {
        others.emplace_back([&] {
          // Otherwise the end of OnDevice would set the thread's first device, 0, again and create a context on a card
          // that is not used. A failure is reported by the next calls.
          cudaSetDevice(device_);
          work();
        });
      }
    } catch (const std::system_error&) {  // the system has no more threads: those that run, and this one, do the work
    }
    work();
    for (std::thread& other : others) other.join();
    if (error) std::rethrow_exception(error);
  }

  std::shared_ptr<const ConvHandle> makeHandle() const override { return makeHandle(device_); }
  std::string version() const override { return cudnn::version(); }

 private:
  using Entry = std::pair<ConvSpec, std::shared_ptr<const ConvPlan>>;

  static std::shared_ptr<const ConvHandle> makeHandle(int device) {
    const OnDevice current(device);
    return {new ConvHandle(device), [device](const ConvHandle* handle) {
              int before = device;  // this function must not throw
              cudaGetDevice(&before);
              cudaSetDevice(device);
              delete handle;
              cudaSetDevice(before);
            }};
  }

  static int64_t workspaceLimitOf(int device) {
    cudaDeviceProp card;
    WBSR_CUDA(cudaGetDeviceProperties(&card, device));
    return workspaceLimit(card.totalGlobalMem);
  }

  // The part of the plans' keys that names the operation graphs (CMakeLists.txt: a hash of the sources that build
  // them) and the device.
  static std::string makerOf(int device) {
    cudaDeviceProp card;
    int driver = 0;
    WBSR_CUDA(cudaGetDeviceProperties(&card, device));
    WBSR_CUDA(cudaDriverGetVersion(&driver));
    return "graphs " WBSR_CONV_GRAPHS ", " + cudnn::version() + ", " + card.name + " " + std::to_string(card.major) +
           "." + std::to_string(card.minor) + " with " + std::to_string(card.multiProcessorCount) +
           " processors, driver " + std::to_string(driver);
  }

  // spec.text() shortens the slope.
  std::string keyOf(const ConvSpec& spec) const {
    uint32_t slope;
    std::memcpy(&slope, &spec.slope, sizeof slope);
    return maker_ + ", best of " + std::to_string(autotune_) + ": " + spec.text() + ", " + std::to_string(slope);
  }

  // A plan of an earlier process; null if there is none, or if cuDNN does not accept it any more.
  std::unique_ptr<ConvPlan> restore(const ConvSpec& spec, const std::shared_ptr<const ConvHandle>& builder) {
    const std::string key = keyOf(spec);
    const std::optional<StoredPlan> stored = store_.load(key);
    if (stored && stored->variant == kOwnKernel && stored->json == kOwnPlan) return makeTilePlan(spec);
    const std::vector<ConvVariant> variants = variantsOf(spec);
    if (!stored) return nullptr;
    const auto kept = std::find_if(variants.begin(), variants.end(),
                                   [&](const ConvVariant& one) { return one.text() == stored->variant; });
    if (kept == variants.end()) return nullptr;
    try {
      const ConvVariant& variant = *kept;
      const ConvGraph graph = buildConvGraph(spec, variant, builder->raw());
      EnginePlan engine = restoreEngine(stored->json, stored->name, {builder->raw(), nullptr});
      if (engine.workspace > workspaceLimit_) return nullptr;
      return makeConvPlan(spec, variant, graph, std::move(engine), handle_, builder,
                          [store = store_, key] { store.forget(key); });
    } catch (const cudnn::Failure&) {
      store_.forget(key);
      return nullptr;
    }
  }

  std::shared_ptr<const ConvPlan> lookUp(const ConvSpec& spec) {
    const auto found = plans_.find(spec);
    if (found == plans_.end()) return nullptr;
    used_.splice(used_.begin(), used_, found->second);
    return found->second->second;
  }

  void insert(const ConvSpec& spec, std::shared_ptr<const ConvPlan> plan) {
    used_.emplace_front(spec, std::move(plan));
    plans_[spec] = used_.begin();
    while (used_.size() > capacity_) {
      plans_.erase(used_.back().first);
      used_.pop_back();
    }
  }

  // A handle to build with, for one thread at a time.
  std::shared_ptr<const ConvHandle> takeBuilder() {
    {
      const std::lock_guard lock(mutex_);
      if (!builders_.empty()) {
        auto handle = std::move(builders_.back());
        builders_.pop_back();
        return handle;
      }
    }
    return makeHandle(device_);
  }

  std::unique_ptr<ConvPlan> build(const ConvSpec& spec) {
    const OnDevice current(device_);
    const auto builder = takeBuilder();
    std::unique_ptr<ConvPlan> plan;
    std::exception_ptr error;
    try {
      plan = restore(spec, builder);
      if (!plan) plan = buildWith(spec, builder);
    } catch (...) {
      error = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      builders_.push_back(builder);
    }
    if (error) std::rethrow_exception(error);
    return plan;
  }

  std::unique_ptr<ConvPlan> buildWith(const ConvSpec& spec, const std::shared_ptr<const ConvHandle>& builder) {
    std::vector<std::unique_ptr<ConvPlan>> found;
    std::vector<StoredPlan> written;  // of each
    cudnn::Failure failure{cudnn::CUDNN_STATUS_NOT_SUPPORTED, "its heuristics name no engine"};
    const bool timed = autotune_ > 0;
    for (const ConvVariant& variant : variantsOf(spec)) {
      if (!found.empty() && !timed) break;
      try {
        const ConvGraph graph = buildConvGraph(spec, variant, builder->raw());
        const int wanted = !timed ? 1 : found.empty() ? autotune_ : std::min(autotune_, kOthersTimed);
        EngineSearch search = findEngines(graph, spec.precision, {builder->raw(), nullptr}, wanted, workspaceLimit_);
        if (search.plans.empty() && search.failure.status != cudnn::CUDNN_STATUS_SUCCESS) failure = search.failure;
        for (EnginePlan& engine : search.plans) {
          // The others are fast to make, and cuDNN guarantees serialization only for those that it compiles.
          const bool worthKeeping = !store_.folder().empty() && (engine.compiled || timed);
          written.push_back({variant.text(), engine.name, worthKeeping ? writeEngine(engine) : ""});
          found.push_back(makeConvPlan(spec, variant, graph, std::move(engine), handle_, builder));
        }
      } catch (const cudnn::Failure& refused) {
        failure = refused;
      }
    }
    if (timed)
      if (auto own = makeTilePlan(spec)) {
        written.push_back({kOwnKernel, own->describe(), kOwnPlan});
        found.push_back(std::move(own));
      }
    // Engines count the values of a tensor in 32 bits and refuse larger tensors.
    const int64_t most = int64_t{spec.batch} * spec.height * spec.width * std::max(spec.inChannels, spec.outChannels);
    if (found.empty() && most > INT32_MAX)
      throw Error("WBSR_OUT_OF_MEMORY",
                  cudnn::version() + " takes no tensor as large as those of " + spec.text() + ": " + failure.message);
    if (found.empty())
      throwCudnnError(
          cudnn::version() + " has no engine for " + spec.text() + " on CUDA device " + std::to_string(device_),
          failure);
    size_t best = 0;
    if (found.size() > 1) {
      const std::lock_guard lock(timing_);  // timings must not overlap
      best = fastestPlan(spec, found);
    }
    store_.save(keyOf(spec), written[best]);
    return std::move(found[best]);
  }

  const int device_, autotune_;
  const size_t capacity_;
  const std::shared_ptr<const ConvHandle> handle_;
  const PlanStore store_;
  const std::string maker_;
  const int64_t workspaceLimit_;
  std::mutex mutex_, timing_;
  std::condition_variable built_;
  std::list<Entry> used_;  // the last used first
  std::unordered_map<ConvSpec, std::list<Entry>::iterator, HashConvSpec> plans_;
  std::unordered_set<ConvSpec, HashConvSpec> building_;
  std::vector<std::shared_ptr<const ConvHandle>> builders_;
};

}  // namespace

std::string openCudnn() { return cudnn::open(); }

std::unique_ptr<ConvPlans> makeConvPlans(int device, int autotune, size_t capacity) {
  if (const std::string tried = openCudnn(); !tried.empty())
    throw Error("WBSR_NO_DEVICE", "cuDNN cannot be used: " + tried);
  return std::make_unique<Plans>(device, autotune, capacity);
}

}  // namespace wbsr::cuda
