// Long work outside the event loop and libuv's pool: each Worker is a thread with a queue. A job runs on it and settles
// a promise through one thread-safe function per environment (main thread or worker_threads).
#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

namespace wbsr::bindings {

// Made and destroyed on the JavaScript thread. When the environment ends, all workers are stopped before the function
// that settles promises goes away.
class Worker {
 public:
  // Queued jobs when the worker stops. Dropping: they are dropped. Draining: they are run; for second parts of jobs,
  // because a first part may be waiting for one of them. Draining workers stop after all others.
  enum class Kind { Dropping, Draining };
  explicit Worker(Kind kind = Kind::Dropping);
  ~Worker();  // finishes the running job, drops or runs the queued ones by its kind, joins
  void post(std::function<void()> work);
  void stop();
  Kind kind() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Stops all workers of this environment for good. The end of an environment does the same, but process.exit() skips it.
void stopJobs();

// JavaScript values that must outlive a job (typed arrays it reads or writes).
using KeepAlive = std::vector<Napi::Value>;

// Runs `work` on `worker`; then, on the JavaScript thread, resolves with what `finish` makes (an empty value: with the
// last of `keep`), or rejects with the wbsr::Error (property `code`) or std::exception thrown by `work`. `work` must not
// touch JavaScript; neither function may own references, since both may be destroyed on the worker or after the
// environment.
Napi::Promise runJob(Napi::Env env, Worker& worker, const KeepAlive& keep, std::function<void()> work,
                     std::function<Napi::Value(Napi::Env)> finish);

// The same in two parts: `work` on `first`, then, unless it threw, `wait` on `second`, while `first` goes on with its next
// job. `second` must outlive `first`.
Napi::Promise runJobInTwo(Napi::Env env, Worker& first, Worker& second, const KeepAlive& keep,
                          std::function<void()> work, std::function<void()> wait,
                          std::function<Napi::Value(Napi::Env)> finish);

// The same as runJob for a result that exists before the job does (typed arrays that `work` fills): resolves with it.
Napi::Promise runJobInto(Napi::Env env, Worker& worker, KeepAlive keep, const Napi::Object& result,
                         std::function<void()> work);

// The environment's worker for image operations that have no engine of their own (resize, metrics, batches).
Worker& imageWorker(Napi::Env env);

// True once the environment is closing: long loops stop early.
const std::atomic<bool>& closing(Napi::Env env);

// Called once from the module's Init.
void initialiseJobs(Napi::Env env);

// Throws a JavaScript Error with property `code`.
[[noreturn]] void throwError(Napi::Env env, const char* code, const std::string& message);

}  // namespace wbsr::bindings
