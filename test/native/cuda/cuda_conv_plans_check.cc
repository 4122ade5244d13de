// The cache of convolution plans: keys, bound, threads, what is refused; on the host also faults and lifetimes.
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "support/conv_reference.h"
#include "cuda/conv/engines.h"
#include "cuda/conv/plan_store.h"

namespace {

using namespace wbsr;
using namespace wbsr::test;

void checkCache() {
  const Shape shape{1, 3, 5, 8, 16, 3};
  const ConvSpec a = makeSpec(ConvSpec::Forward, shape);
  ConvSpec b = a, c = a;
  b.bias = true, c.height = 4;
  const auto plans = makeConvPlans(0, 0, 2);
  const auto planA = plans->get(a), planB = plans->get(b);
  check(planA != planB && plans->get(a) == planA && plans->get(b) == planB, "two plans are kept");
  plans->get(a);
  const auto planC = plans->get(c);
  check(plans->get(c) == planC && plans->get(a) == planA, "the last used are kept");
  check(plans->get(b) != planB, "the least recently used one went");
  ConvSpec same = b;
  same.slope = 0.3f, same.gate = true, same.x = Type::Float;
  check(plans->get(same) == plans->get(b), "what a direction does not use is not part of the key");

  // Several threads that request the same plan get the same one.
  const auto shared = makeConvPlans(0, 0);
  std::vector<std::shared_ptr<const ConvPlan>> got(4);
  std::vector<std::thread> threads;
  for (auto& one : got) threads.emplace_back([&] { one = shared->get(a); });
  for (std::thread& thread : threads) thread.join();
  check(std::all_of(got.begin(), got.end(), [&](const auto& one) { return one && one == got[0]; }),
        "one plan for four threads");

  std::vector<ConvSpec> specs;
  eachSpec(shape, Precision::Bf16, [&](const ConvSpec& s) { specs.push_back(s); });
  const size_t kinds = specs.size();
  for (size_t i = 0; i < kinds; ++i) specs.push_back(specs[i]);
  shared->prepare(specs);
  shared->prepare({});
  for (const ConvSpec& s : specs) checkSpec(*shared, s);
}

// Plans outlive their process in a folder; what is wrong with a file there is found before cuDNN is told of it, and a
// plan that does not work goes.
void checkStore() {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("wbsr-plans-" + std::to_string(getpid()));
  fs::remove_all(folder);
  setenv("WBSR_PLAN_CACHE", folder.c_str(), 1);
  ConvSpec s = makeSpec(ConvSpec::Forward, {2, 3, 5, 8, 16, 3});
  s.bias = true, s.activation = ActivationKind::LeakyRelu, s.slope = 0.1f;
  const auto files = [&] {
    std::vector<fs::path> found;
    if (fs::exists(folder))
      for (const auto& entry : fs::directory_iterator(folder)) found.push_back(entry.path());
    return found;
  };
  // Plans of a process that begins.
  const auto checked = [&](const ConvSpec& spec, int autotune = 0) {
    return checkSpec(*makeConvPlans(0, autotune), spec);
  };
  const std::string how = checked(s);
  check(files().size() == 1 && (fs::status(folder).permissions() & fs::perms::others_all) == fs::perms::none,
        "a plan is kept, for its owner");
  {
    std::ifstream kept(files()[0]);
    std::string head, key, variant;
    std::getline(kept, head) && std::getline(kept, key) && std::getline(kept, variant);
    const bool named = key.rfind("graphs ", 0) == 0 && key.find_first_not_of("0123456789abcdef", 7) == 7 + 16;
    check(named && has(key, "cuDNN 9."), "its key names the sources of our graphs, cuDNN and the card: " + key);
    check(variant == variantsOf(s)[0].text(), "its variant is named, not counted: " + variant);
  }
  check(checked(s) == how, "and is the same one when it is read");
  checked(s, 3);
  check(files().size() == 2, "a timed choice is kept beside it");
  ConvSpec near = s;
  near.slope = std::nextafter(0.1f, 1.f);
  checked(near);
  check(files().size() == 3, "slopes that look alike are not");
  ConvSpec toData = makeSpec(ConvSpec::BackwardData, {2, 3, 5, 8, 16, 3});
  toData.gate = true, toData.activation = ActivationKind::Relu;
  checked(toData);
  toData.residual = true;
  checked(toData);
  check(files().size() == 5, "nor are data gradients with and without another gradient added");

  const PlanStore store(folder.string());
  const StoredPlan plan{"fused, bf16", "an engine", "{\"a\":\n1}"};
  store.save("key", plan);
  const auto same = store.load("key");
  check(same && same->variant == plan.variant && same->name == plan.name && same->json == plan.json &&
            !store.load("other"),
        "what was saved is read");
  const size_t before = files().size();
  for (const fs::path& file : files()) {
    const auto size = fs::file_size(file);
    std::fstream edit(file, std::ios::in | std::ios::out | std::ios::binary);
    edit.seekp(static_cast<std::streamoff>(size) - 2);
    edit.put('#');
  }
  check(!store.load("key"), "a changed file is not read");
  check(checked(s) == how, "but made anew");
  store.save("key", plan);
  fs::resize_file(files()[0], 10);
  fs::permissions(folder, fs::perms::group_write, fs::perm_options::add);
  check(!store.load("key"), "nor one where others may write");
  store.save("another", plan);
  check(files().size() == before, "where nothing is written either");
  fs::permissions(folder, fs::perms::owner_all);
  check(store.load("key").has_value(), "else it is");
  store.forget("key");
  check(!store.load("key") && files().size() == before - 1, "and goes when it does not work");
  for (int i = 0; i < 9; ++i) store.save(std::to_string(i), plan);
  for (const fs::path& file : files())
    fs::last_write_time(file, fs::file_time_type::clock::now() - std::chrono::hours(2));
  check(store.load("7") && store.load("3"), "used");
  store.trim(2);
  check(files().size() == 2 && store.load("7") && store.load("3"), "those used last stay");
  PlanStore("").save("key", plan);
  check(!PlanStore("").load("key"), "no folder");

#ifdef WBSR_HOST_CUDA
  using host_cuda::fakeCudnn;
  using host_cuda::fakeCudnnCounts;
  fs::remove_all(folder);
  auto read = [&, last = fakeCudnnCounts().read]() mutable {
    const int now = fakeCudnnCounts().read;
    return now - std::exchange(last, now);
  };
  checked(s);
  check(read() == 0, "compiled");
  checked(s);
  check(read() == 1, "read");
  fakeCudnn().readsPlans = false;
  checked(s);
  check(read() == 0, "a cuDNN that does not take it compiles");
  fakeCudnn().readsPlans = true;
  checked(s);
  check(read() == 1, "and keeps that one");
  {
    const auto plans = makeConvPlans(0, 0);
    host_cuda::failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_EXECUTION_FAILED);
    check(has(thrown([&] { checkSpec(*plans, s); }), "WBSR_DEVICE_FAILED") && files().empty(),
          "a plan that fails is not kept");
  }
  {
    makeConvPlans(0, 0)->get(s);
    const auto plan = makeConvPlans(0, 0)->get(s);  // which is read
    const size_t kept = files().size();
    DeviceArray<bf16> x(2 * 3 * 5 * 8), w(16 * 9 * 8), y(2 * 3 * 5 * 16);
    DeviceArray<float> bias(16);
    DeviceArray<unsigned char> workspace(plan->workspace());
    const Stream stream;
    wbsr::cuda::Graph graph;
    host_cuda::failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_EXECUTION_FAILED);
    const std::string error = thrown([&] {
      graph.capture(stream, [&] { plan->run({x.data(), w.data(), y.data(), bias.data()}, workspace.data(), stream); });
    });
    check(has(error, "WBSR_DEVICE_FAILED") && kept > 0 && files().size() == kept,
          "a failure within a capture says nothing about the plan: " + error);
  }
  fs::remove_all(folder);
  read();
  fakeCudnn().writesPlans = false;
  checked(s);
  checked(s);
  check(read() == 0 && files().empty(), "what cuDNN cannot write");
  fakeCudnn().writesPlans = true;
  unsetenv("WBSR_PLAN_CACHE");
  check(planFolder().empty(), "a cuDNN that is not the library keeps nothing");
#endif
  fs::remove_all(folder);
  setenv("WBSR_PLAN_CACHE", "", 1);
}

void checkBadSpecs() {
  const auto plans = makeConvPlans(0, 0);
  const std::vector<Shape> shapes = {
      {1, 4, 4, 12, 8, 3}, {1, 4, 4, 8, 4, 3}, {1, 4, 4, 8, 8, 0}, {0, 4, 4, 8, 8, 3}, {1, 0, 4, 8, 8, 3}};
  for (const Shape& shape : shapes) {
    const ConvSpec s = makeSpec(ConvSpec::Forward, shape);
    const std::string error = thrown([&] { plans->get(s); });
    check(has(error, "WBSR_INTERNAL") && has(error, s.text()), s.text() + " is refused: " + error);
  }
}

#ifdef WBSR_HOST_CUDA
using host_cuda::failNextCudnn;
using host_cuda::fakeCudnn;
using host_cuda::fakeCudnnCounts;

void checkFaults() {
  const ConvSpec s = makeSpec(ConvSpec::Forward, {1, 3, 5, 8, 16, 3});
  failNextCudnn("cudnnCreate", cudnn::CUDNN_STATUS_INTERNAL_ERROR);
  std::string error = thrown([] { makeConvPlans(0, 0); });
  check(has(error, "WBSR_DEVICE_FAILED cuDNN 9.24.0 on CUDA device 0: CUDNN_STATUS_INTERNAL_ERROR in cudnnCreate"),
        "a handle that cannot be made: " + error);
  const auto plans = makeConvPlans(0, 0);
  fakeCudnn().engines = false;
  error = thrown([&] { plans->get(s); });
  check(has(error, "WBSR_DEVICE_FAILED cuDNN 9.24.0 has no engine for " + s.text() + " on CUDA device 0: "),
        "no engine: " + error);
  error = thrown([&] { plans->prepare({s, makeSpec(ConvSpec::BackwardWeights, {1, 3, 5, 8, 16, 3})}); });
  check(has(error, "no engine"), "prepare() throws what happened: " + error);
  error = thrown([&] { plans->get(makeSpec(ConvSpec::Forward, {4, 8192, 8192, 8, 16, 3})); });
  check(has(error, "WBSR_OUT_OF_MEMORY cuDNN 9.24.0 takes no tensor as large as those of forward 3x3"),
        "more values than 32 bits count: " + error);
  fakeCudnn().engines = true;
  // Both graphs, the plain one and none, fail where they are built.
  failNextCudnn("cudnnBackendFinalize", cudnn::CUDNN_STATUS_INTERNAL_ERROR);
  error = thrown([&] { plans->get(s); });
  check(has(error, "CUDNN_STATUS_INTERNAL_ERROR in cudnnBackendFinalize(tensor): this failure was asked for"),
        "a descriptor that cannot be made: " + error);
  const auto plan = plans->get(s);

  DeviceArray<bf16> x(3 * 5 * 8), w(16 * 9 * 8), y(3 * 5 * 16);
  x.zero(), w.zero();
  DeviceArray<unsigned char> workspace(plan->workspace());
  const Stream stream;
  const auto run = [&] { plan->run({x.data(), w.data(), y.data()}, workspace.data(), stream); };
  failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_EXECUTION_FAILED);
  error = thrown(run);
  check(has(error, "WBSR_DEVICE_FAILED") && has(error, s.text()) && has(error, "device 0") &&
            has(error, "CUDNN_STATUS_EXECUTION_FAILED in cudnnBackendExecute: this failure was asked for"),
        "an execution that fails: " + error);
  failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED);
  check(has(thrown(run), "WBSR_OUT_OF_MEMORY"), "no memory left in an execution");
  check(thrown(run).empty(), "the plan can be run on");
  // cuDNN does not always report full memory as such.
  host_cuda::setMemoryLimit(host_cuda::live().bytes + (100 << 20));
  failNextCudnn("cudnnBackendExecute", cudnn::CUDNN_STATUS_EXECUTION_FAILED);
  check(has(thrown(run), "WBSR_OUT_OF_MEMORY"), "a kernel that cannot be loaded into full memory");
  failNextCudnn("cudnnCreate", cudnn::CUDNN_STATUS_NOT_INITIALIZED);
  check(has(thrown([] { makeConvPlans(0, 0); }), "WBSR_OUT_OF_MEMORY"), "a handle that has no room");
  host_cuda::setMemoryLimit(0);
  stream.synchronise();
  error = thrown([&] { plan->run({x.data(), nullptr, y.data()}, workspace.data(), stream); });
  check(has(error, "WBSR_INTERNAL"), "a tensor without a pointer: " + error);
  error = thrown([&] { plan->run({x.data() + 1, w.data(), y.data()}, workspace.data(), stream); });
  check(has(error, "not aligned"), "a tensor that is not aligned: " + error);
}

// Threads that the system refuses: the others build their plans.
void checkThreads() {
  std::vector<ConvSpec> specs;
  for (int width = 3; width < 9; ++width) specs.push_back(makeSpec(ConvSpec::Forward, {1, 3, width, 8, 16, 3}));
  pthread_attr_t usual, endless;
  pthread_getattr_default_np(&usual);
  pthread_attr_init(&endless);
  check(pthread_attr_setstacksize(&endless, size_t{1} << 47) == 0 && pthread_setattr_default_np(&endless) == 0,
        "stacks that no thread can have");
  const auto plans = makeConvPlans(0, 0);
  const std::string error = thrown([&] { plans->prepare(specs); });
  pthread_setattr_default_np(&usual);
  pthread_attr_destroy(&usual);
  pthread_attr_destroy(&endless);
  const int made = fakeCudnnCounts().plans;
  for (const ConvSpec& s : specs) plans->get(s);
  check(error.empty() && fakeCudnnCounts().plans == made, "plans are built without further threads: " + error);
}

// How many engines are tried, and how much workspace one may take.
void checkChoice() {
  check(workspaceLimit(size_t{8} << 30) == int64_t{256} << 20 && workspaceLimit(size_t{140} << 30) == int64_t{1} << 30,
        "workspace by the card's memory");
  const ConvSpec plain = makeSpec(ConvSpec::Forward, {1, 3, 5, 8, 16, 3});
  check(makeConvPlans(0, 0)->get(plain)->workspace() == 1024, "the heuristics' first engine takes 1000 bytes");
  host_cuda::setMemoryLimit(30000);
  check(makeConvPlans(0, 0)->get(plain)->workspace() == 0, "which a small card does not have");
  host_cuda::setMemoryLimit(0);
  ConvSpec fused = plain;
  fused.bias = true;
  const auto made = [&](int autotune) {
    const int before = fakeCudnnCounts().plans;
    makeConvPlans(0, autotune)->get(fused);
    return fakeCudnnCounts().plans - before;
  };
  const int first = made(0), both = made(1);  // with the engine that is refused for its workspace
  check(first == 2 && both == 2 * first, "autotune 1 times the fused graph against the plain one, 0 does not: " +
                                             std::to_string(first) + " and " + std::to_string(both) + " plans");
}

// Models of one device have their plans together as long as there is one.
void checkShared() {
  const int handles = static_cast<int>(fakeCudnnCounts().handles);
  auto one = sharedConvPlans(0, 0);
  const auto two = sharedConvPlans(0, 0), timed = sharedConvPlans(0, 4);
  check(one == two && one != timed, "the same plans where engines are chosen alike");
  retireConvPlans(one);
  const auto fresh = sharedConvPlans(0, 0);
  check(fresh != one && sharedConvPlans(0, 0) == fresh && sharedConvPlans(0, 4) == timed, "others after a failure");
  retireConvPlans(one);
  check(sharedConvPlans(0, 0) == fresh, "what is retired twice takes nothing with it");
  check(static_cast<int>(fakeCudnnCounts().handles) == handles + 3, "a handle each");

  // A plan that one model captures while another one runs it, each with a handle of its own, or both with the plans'.
  const ConvSpec s = makeSpec(ConvSpec::Forward, {1, 3, 5, 8, 16, 3});
  const auto plan = fresh->get(s);
  DeviceArray<bf16> x(3 * 5 * 8), w(16 * 9 * 8), y(3 * 5 * 16), other(3 * 5 * 16);
  x.zero(), w.zero();
  DeviceArray<unsigned char> workspace(plan->workspace()), otherWorkspace(plan->workspace());
  const Stream stream, otherStream;
  for (const bool own : {true, false}) {
    const auto mine = own ? fresh->makeHandle() : nullptr, its = own ? fresh->makeHandle() : nullptr;
    ConvArguments captured{x.data(), w.data(), y.data()}, direct{x.data(), w.data(), other.data()};
    captured.handle = mine.get();
    direct.handle = its.get();
    std::string error;
    wbsr::cuda::Graph graph;
    graph.capture(stream, [&] {
      plan->run(captured, workspace.data(), stream);
      std::thread([&] { error = thrown([&] { plan->run(direct, otherWorkspace.data(), otherStream); }); }).join();
      plan->run(captured, workspace.data(), stream);
    });
    otherStream.synchronise();
    check(error.empty() == own, "a run beside a capture, handles " + std::string(own ? "apart: " : "shared: ") + error);
  }
}

void checkLifetimes() {
  const auto before = fakeCudnnCounts();
  const ConvSpec s = makeSpec(ConvSpec::Forward, {1, 3, 5, 8, 16, 3});
  auto plans = makeConvPlans(0, 3);
  auto plan = plans->get(s);
  plans.reset();
  DeviceArray<bf16> x(3 * 5 * 8), w(16 * 9 * 8), y(3 * 5 * 16);
  x.zero(), w.zero();
  DeviceArray<unsigned char> workspace(plan->workspace());
  plan->run({x.data(), w.data(), y.data()}, workspace.data(), nullptr);
  check(y.download().size() == y.size(), "a plan outlives its cache");
  plan.reset();
  const auto after = fakeCudnnCounts();
  check(after.handles == before.handles && after.descriptors == before.descriptors,
        "handles and descriptors are given back");

  // No memory to time in: the heuristics' word is taken.
  const auto timed = makeConvPlans(0, 3);
  host_cuda::failNext("cudaMalloc", cudaErrorMemoryAllocation, 1);
  check(thrown([&] { checkSpec(*timed, s); }).empty(), "no memory for timing");

  host_cuda::setDevices(2);
  auto second = makeConvPlans(1, 0);
  int device = -1;
  CUDA_OK(cudaGetDevice(&device));
  check(device == 0, "the current device is left as it was");
  CUDA_OK(cudaSetDevice(1));
  checkSpec(*second, s);
  CUDA_OK(cudaSetDevice(0));
  second.reset();
  CUDA_OK(cudaGetDevice(&device));
  check(device == 0, "also when plans go");
  host_cuda::setDevices(1);
}

void checkLoader() {
  cudnn::install(nullptr);
  setenv("WBSR_CUDNN_PATH", "/nowhere/libcudnn.so.9", 1);
  const std::string tried = openCudnn();
  check(has(tried, "WBSR_CUDNN_PATH") && has(tried, "/nowhere/libcudnn.so.9"), "what was tried: " + tried);
  check(has(thrown([] { makeConvPlans(0, 0); }), "WBSR_NO_DEVICE cuDNN cannot be used: "), "no plans without cuDNN");
  unsetenv("WBSR_CUDNN_PATH");
  host_cuda::installFakeCudnn();
  check(openCudnn().empty() && cudnn::version() == "cuDNN 9.24.0", "a table that was installed");
}
#endif

}  // namespace

int main() {
#ifdef WBSR_HOST_CUDA
  checkLoader();
#endif
  if (!runParts({checkCache, checkStore, checkBadSpecs})) return 2;
#ifdef WBSR_HOST_CUDA
  runParts({checkFaults, checkThreads, checkChoice, checkShared, checkLifetimes});
#endif
  return finish();
}
