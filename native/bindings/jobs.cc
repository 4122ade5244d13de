#include "bindings/jobs.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "core/error.h"

namespace wbsr::bindings {

namespace {

struct Environment {
  napi_threadsafe_function settle = nullptr;
  int pending = 0;  // JavaScript thread only
  std::atomic<bool> closing{false};
  std::unique_ptr<Worker> images;
  std::set<Worker*> workers;  // JavaScript thread only
};

// Not instance data: node-addon-api's class wrappers may use that slot, and the hook below must run first.
thread_local Environment* current = nullptr;

struct Job {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::Reference<Napi::Value>> keep;
  std::function<void()> work, wait;
  std::function<Napi::Value(Napi::Env)> finish;
  std::string code, message;  // empty code: success
  bool settling = false;      // on the JavaScript thread of a living environment
  explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  // On any other thread references must not be used; they are freed with their environment.
  ~Job() {
    if (!settling)
      for (auto& reference : keep) reference.SuppressDestruct();
  }
};

}  // namespace

struct Worker::State {
  Environment* environment = current;  // where it is registered; the module may be loaded again on this thread
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> queue;
  bool stop = false;
  Kind kind = Kind::Dropping;
  std::thread thread;

  void loop() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [this] { return stop || !queue.empty(); });
        if (queue.empty() || (stop && kind == Kind::Dropping)) return;
        work = std::move(queue.front());
        queue.pop_front();
      }
      work();
    }
  }
};

Worker::Worker(Kind kind) : state_(std::make_unique<State>()) {
  state_->kind = kind;
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
  state_->environment->workers.insert(this);
}

Worker::~Worker() {
  stop();
  state_->environment->workers.erase(this);
}

void Worker::stop() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
    if (state_->kind == Kind::Dropping) state_->queue.clear();
  }
  state_->wake.notify_all();
  if (state_->thread.joinable()) state_->thread.join();
}

Worker::Kind Worker::kind() const { return state_->kind; }

void Worker::post(std::function<void()> work) {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->queue.push_back(std::move(work));
  }
  state_->wake.notify_one();
}

namespace {

Napi::Error makeError(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

void settle(Napi::Env env, Job& job) {
  try {
    if (!job.code.empty()) {
      job.deferred.Reject(makeError(env, job.code, job.message).Value());
      return;
    }
    const Napi::Value value = job.finish(env);
    job.deferred.Resolve(value.IsEmpty() ? job.keep.back().Value() : value);
  } catch (const Napi::Error& error) {
    job.deferred.Reject(error.Value());
  } catch (const std::bad_alloc&) {
    job.deferred.Reject(makeError(env, "WBSR_OUT_OF_MEMORY", "Out of memory").Value());
  } catch (const std::exception& error) {
    job.deferred.Reject(makeError(env, "WBSR_INTERNAL", error.what()).Value());
  }
}

void settleJob(napi_env rawEnv, napi_value, void* context, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(data));
  auto* environment = static_cast<Environment*>(context);
  if (rawEnv == nullptr) return;  // torn down
  if (--environment->pending == 0) napi_unref_threadsafe_function(rawEnv, environment->settle);
  job->settling = true;
  try {
    Napi::Env env(rawEnv);
    Napi::HandleScope scope(env);
    settle(env, *job);
  } catch (const Napi::Error&) {
    // A worker thread that is being terminated runs no JavaScript: the promise cannot be rejected.
  }
}

// May be called several times.
void stopAll(Environment& environment) {
  environment.closing = true;
  for (Worker::Kind kind : {Worker::Kind::Dropping, Worker::Kind::Draining})
    for (Worker* worker : environment.workers)
      if (worker->kind() == kind) worker->stop();
}

}  // namespace

void stopJobs() { stopAll(*current); }

void initialiseJobs(Napi::Env env) {
  auto* environment = new Environment();
  current = environment;
  napi_value name = Napi::String::New(env, "wbsr job");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, environment, settleJob,
                                      &environment->settle) != napi_ok)
    throw Napi::Error::New(env, "wbsr: cannot create the job function");
  napi_unref_threadsafe_function(env, environment->settle);
  env.AddCleanupHook([environment] {
    stopAll(*environment);
    napi_release_threadsafe_function(environment->settle, napi_tsfn_abort);
    // The Environment itself stays: objects that are collected after this hook still unregister their workers here.
  });
}

const std::atomic<bool>& closing(Napi::Env) { return current->closing; }

Worker& imageWorker(Napi::Env) {
  if (!current->images) current->images = std::make_unique<Worker>();
  return *current->images;
}

namespace {

// Shared only because std::function must be copyable: the function owns the job.
using HeldJob = std::shared_ptr<std::unique_ptr<Job>>;

void perform(Job& job, std::function<void()>& part) {
  try {
    part();
  } catch (const Error& error) {
    job.code = error.code;
    job.message = error.what();
  } catch (const std::bad_alloc&) {
    job.code = "WBSR_OUT_OF_MEMORY";
    job.message = "Out of memory";
  } catch (const std::exception& error) {
    job.code = "WBSR_INTERNAL";
    job.message = error.what();
  }
}

void deliver(const HeldJob& held, Environment* environment) {
  Job* job = held->release();
  job->work = job->wait = nullptr;
  if (environment->closing || napi_call_threadsafe_function(environment->settle, job, napi_tsfn_nonblocking) != napi_ok)
    delete job;  // closing: its promise can no longer be settled
}

// second: null for a job of one part.
Napi::Promise start(Napi::Env env, Worker& first, Worker* second, const KeepAlive& keep, std::unique_ptr<Job> job) {
  for (const Napi::Value& value : keep)
    if (value.IsObject()) job->keep.push_back(Napi::Reference<Napi::Value>::New(value, 1));
  Napi::Promise promise = job->deferred.Promise();
  Environment* environment = current;
  if (environment->pending++ == 0) napi_ref_threadsafe_function(env, environment->settle);
  first.post([held = std::make_shared<std::unique_ptr<Job>>(std::move(job)), second, environment] {
    perform(**held, (*held)->work);
    if (!second) return deliver(held, environment);
    // Also after a failure: promises settle in the order of the calls.
    second->post([held, environment] {
      if ((*held)->code.empty()) perform(**held, (*held)->wait);
      deliver(held, environment);
    });
  });
  return promise;
}

}  // namespace

Napi::Promise runJob(Napi::Env env, Worker& worker, const KeepAlive& keep, std::function<void()> work,
                     std::function<Napi::Value(Napi::Env)> finish) {
  auto job = std::make_unique<Job>(env);
  job->work = std::move(work);
  job->finish = std::move(finish);
  return start(env, worker, nullptr, keep, std::move(job));
}

Napi::Promise runJobInTwo(Napi::Env env, Worker& first, Worker& second, const KeepAlive& keep,
                          std::function<void()> work, std::function<void()> wait,
                          std::function<Napi::Value(Napi::Env)> finish) {
  auto job = std::make_unique<Job>(env);
  job->work = std::move(work);
  job->wait = std::move(wait);
  job->finish = std::move(finish);
  return start(env, first, &second, keep, std::move(job));
}

Napi::Promise runJobInto(Napi::Env env, Worker& worker, KeepAlive keep, const Napi::Object& result,
                         std::function<void()> work) {
  keep.push_back(result);
  return runJob(env, worker, keep, std::move(work), [](Napi::Env) { return Napi::Value(); });
}

void throwError(Napi::Env env, const char* code, const std::string& message) { throw makeError(env, code, message); }

}  // namespace wbsr::bindings
