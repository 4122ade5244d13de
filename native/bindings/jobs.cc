#include "bindings/jobs.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "core/error.h"

namespace wbsr::bindings {

struct Worker::State {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> queue;
  bool stop = false;
  std::thread thread;

  void loop() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [this] { return stop || !queue.empty(); });
        if (stop) return;
        work = std::move(queue.front());
        queue.pop_front();
      }
      work();
    }
  }
};

namespace {

struct Job {
  Napi::Promise::Deferred deferred;
  std::vector<Napi::Reference<Napi::Value>> keep;
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> finish;
  bool resolvesWithLastKept = false;
  std::string code, message;  // empty code: success
  explicit Job(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
};

struct Environment {
  napi_threadsafe_function settle = nullptr;
  int pending = 0;  // JavaScript thread only
  std::atomic<bool> closing{false};
  std::unique_ptr<Worker> images;
  std::set<Worker*> workers;  // JavaScript thread only
};

// Not instance data: node-addon-api's class wrappers may want that slot, and the hook below must run first.
thread_local Environment* current = nullptr;

}  // namespace

Worker::Worker() : state_(std::make_unique<State>()) {
  state_->thread = std::thread([state = state_.get()] { state->loop(); });
  current->workers.insert(this);
}

Worker::~Worker() {
  stop();
  if (current) current->workers.erase(this);
}

void Worker::stop() {
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
    state_->queue.clear();
  }
  state_->wake.notify_all();
  if (state_->thread.joinable()) state_->thread.join();
}

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

void settleJob(napi_env rawEnv, napi_value, void* context, void* data) {
  std::unique_ptr<Job> job(static_cast<Job*>(data));
  auto* environment = static_cast<Environment*>(context);
  if (rawEnv == nullptr) {  // torn down: references must not be touched any more
    for (auto& reference : job->keep) reference.SuppressDestruct();
    return;
  }
  Napi::Env env(rawEnv);
  Napi::HandleScope scope(env);
  if (--environment->pending == 0) napi_unref_threadsafe_function(rawEnv, environment->settle);
  try {
    if (!job->code.empty()) {
      job->deferred.Reject(makeError(env, job->code, job->message).Value());
    } else if (job->resolvesWithLastKept) {
      job->deferred.Resolve(job->keep.back().Value());
    } else {
      job->deferred.Resolve(job->finish ? job->finish(env) : env.Undefined());
    }
  } catch (const Napi::Error& error) {
    job->deferred.Reject(error.Value());
  } catch (const std::exception& error) {
    job->deferred.Reject(makeError(env, "WBSR_INTERNAL", error.what()).Value());
  }
}

}  // namespace

void initialiseJobs(Napi::Env env) {
  auto* environment = new Environment();
  current = environment;
  napi_value name = Napi::String::New(env, "wbsr job");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, environment, settleJob,
                                      &environment->settle) != napi_ok)
    throw Napi::Error::New(env, "wbsr: cannot create the job function");
  napi_unref_threadsafe_function(env, environment->settle);
  env.AddCleanupHook([environment] {
    environment->closing = true;
    for (Worker* worker : environment->workers) worker->stop();
    napi_release_threadsafe_function(environment->settle, napi_tsfn_abort);
    // The Environment itself stays: what is collected after this hook still unregisters its worker here.
  });
}

const std::atomic<bool>& closing(Napi::Env) { return current->closing; }

Worker& imageWorker(Napi::Env) {
  if (!current->images) current->images = std::make_unique<Worker>();
  return *current->images;
}

namespace {

Napi::Promise start(Napi::Env env, Worker& worker, const KeepAlive& keep, std::function<void()> work, Job* job) {
  for (const Napi::Value& value : keep)
    if (value.IsObject()) job->keep.push_back(Napi::Reference<Napi::Value>::New(value, 1));
  job->work = std::move(work);
  Napi::Promise promise = job->deferred.Promise();
  Environment* environment = current;
  if (environment->pending++ == 0) napi_ref_threadsafe_function(env, environment->settle);
  worker.post([job, environment] {
    try {
      job->work();
    } catch (const Error& error) {
      job->code = error.code;
      job->message = error.what();
    } catch (const std::bad_alloc&) {
      job->code = "WBSR_OUT_OF_MEMORY";
      job->message = "Out of memory";
    } catch (const std::exception& error) {
      job->code = "WBSR_INTERNAL";
      job->message = error.what();
    }
    job->work = nullptr;
    if (environment->closing ||
        napi_call_threadsafe_function(environment->settle, job, napi_tsfn_nonblocking) != napi_ok) {
      for (auto& reference : job->keep) reference.SuppressDestruct();
      delete job;  // closing: nobody is left to hear of it
    }
  });
  return promise;
}

}  // namespace

Napi::Promise runJob(Napi::Env env, Worker& worker, const KeepAlive& keep, std::function<void()> work,
                     std::function<Napi::Value(Napi::Env)> finish) {
  auto* job = new Job(env);
  job->finish = std::move(finish);
  return start(env, worker, keep, std::move(work), job);
}

Napi::Promise runJobInto(Napi::Env env, Worker& worker, KeepAlive keep, const Napi::Object& result,
                         std::function<void()> work) {
  auto* job = new Job(env);
  job->resolvesWithLastKept = true;
  keep.push_back(result);
  return start(env, worker, keep, std::move(work), job);
}

void throwError(Napi::Env env, const char* code, const std::string& message) { throw makeError(env, code, message); }

}  // namespace wbsr::bindings
