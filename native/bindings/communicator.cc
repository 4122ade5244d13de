// class Communicator of lib/native.ts, and addFloats: what ranks of a training exchange and sum.
#include <cstring>
#include <future>
#include <memory>

#include "bindings/arguments.h"
#include "bindings/fields.h"
#include "bindings/jobs.h"
#include "bindings/register.h"
#include "core/cancel.h"
#include "distributed/mpi.h"

namespace wbsr::bindings {
namespace {

using distributed::Mpi;

// How long listen() sleeps at most before it looks again.
constexpr int kListenRest = 2000, kReceiveRest = 100;

struct Bytes {
  char* data;
  int64_t size;
};

Bytes bytesOf(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray()) throwExpected("a typed array", name, value, value.Env());
  const auto array = value.As<Napi::TypedArray>();
  return {static_cast<char*>(elementsOf(array)), static_cast<int64_t>(array.ByteLength())};
}

class Communicator : public Napi::ObjectWrap<Communicator> {
 public:
  static void define(Napi::Env env, Napi::Object exports) {
    exports.Set(
        "Communicator",
        DefineClass(env, "Communicator",
                    {InstanceMethod<&Communicator::open>("open"), InstanceMethod<&Communicator::send>("send"),
                     InstanceMethod<&Communicator::receive>("receive"), InstanceMethod<&Communicator::listen>("listen"),
                     InstanceMethod<&Communicator::close>("close")}));
  }

  explicit Communicator(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Communicator>(info), closing_(&closing(info.Env())) {}

 private:
  // Shared with jobs, which may outlive the object.
  struct Ranks {
    std::unique_ptr<Mpi> mpi;
  };

  void requireOpen(Napi::Env env) const {
    if (!ranks_->mpi) throwError(env, "WBSR_INTERNAL", "the communicator is not open");
  }

  Mpi::Cancelled cancelledBy(const Napi::Value& value, KeepAlive& keep) const {
    const volatile int32_t* flag =
        arrayArgument<int32_t>(value, "cancel", napi_int32_array, "Int32Array", 1, value.Env());
    keep.push_back(value);
    return [flag, ending = closing_] { return isSet(flag) || *ending; };
  }

  Napi::Value open(const Napi::CallbackInfo& info) {
    return runJob(
        info.Env(), transfers_, {info.This()}, [ranks = ranks_] { ranks->mpi = Mpi::open(); },
        [ranks = ranks_](Napi::Env env) {
          Napi::Object out = Napi::Object::New(env);
          out.Set("rank", ranks->mpi->rank());
          out.Set("ranks", ranks->mpi->size());
          out.Set("version", ranks->mpi->version());
          return out;
        });
  }

  int rankArgument(const Napi::Value& value, const char* name) const {
    return integerArgument(value, name, 0, ranks_->mpi->size() - 1, value.Env());
  }

  static int tagArgument(const Napi::Value& value) { return integerArgument(value, "tag", 0, 32767, value.Env()); }

  // send(to, tag, data, cancel)
  Napi::Value send(const Napi::CallbackInfo& info) {
    requireOpen(info.Env());
    const int to = rankArgument(info[0], "to"), tag = tagArgument(info[1]);
    const Bytes bytes = bytesOf(info[2], "data");
    KeepAlive keep{info.This(), info[2]};
    auto cancelled = cancelledBy(info[3], keep);
    return runJob(
        info.Env(), transfers_, keep,
        [ranks = ranks_, to, tag, bytes, cancelled] { ranks->mpi->send(to, tag, bytes.data, bytes.size, cancelled); },
        [](Napi::Env env) { return env.Undefined(); });
  }

  // receive(from, tag, into, cancel)
  Napi::Value receive(const Napi::CallbackInfo& info) {
    requireOpen(info.Env());
    const int from = rankArgument(info[0], "from"), tag = tagArgument(info[1]);
    const Bytes into = bytesOf(info[2], "into");
    KeepAlive keep{info.This()};
    auto cancelled = cancelledBy(info[3], keep);
    const auto work = [ranks = ranks_, from, tag, into, cancelled] {
      const Mpi::Message message = ranks->mpi->receive(from, {tag}, kReceiveRest, cancelled);
      const auto size = static_cast<int64_t>(message.data.size());
      if (size != into.size)
        throw Error("WBSR_INTERNAL", "rank " + std::to_string(from) + " sent " + std::to_string(size) +
                                         " bytes where " + std::to_string(into.size) +
                                         " were expected: the ranks do not do the same");
      std::memcpy(into.data, message.data.data(), message.data.size());
    };
    keep.push_back(info[2]);  // the result
    return runJob(info.Env(), transfers_, keep, work, [](Napi::Env) { return Napi::Value(); });
  }

  // listen(from, tags, cancel): beside send() and receive()
  Napi::Value listen(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    requireOpen(env);
    const int from = integerArgument(info[0], "from", -1, ranks_->mpi->size() - 1, env);
    if (!info[1].IsArray()) throwExpected("an array", "tags", info[1], env);
    const auto array = info[1].As<Napi::Array>();
    std::vector<int> tags;
    for (uint32_t i = 0; i < array.Length(); ++i) tags.push_back(tagArgument(array[i]));
    KeepAlive keep{info.This()};
    auto cancelled = cancelledBy(info[2], keep);
    auto message = std::make_shared<Mpi::Message>();
    return runJob(
        env, messages_, keep,
        [ranks = ranks_, from, tags, cancelled, message] {
          *message = ranks->mpi->receive(from, tags, kListenRest, cancelled);
        },
        [message](Napi::Env e) {
          Napi::Object out = Napi::Object::New(e);
          out.Set("from", message->from);
          out.Set("tag", message->tag);
          out.Set("data", Napi::Buffer<char>::Copy(e, message->data.data(), message->data.size()));
          return out;
        });
  }

  // Blocks until all ranks close. On the thread of open(), as MPI wants it.
  void close(const Napi::CallbackInfo& info) {
    requireOpen(info.Env());
    std::promise<void> done;
    transfers_.post([this, &done] {
      try {
        ranks_->mpi->finalise();
        done.set_value();
      } catch (...) {
        done.set_exception(std::current_exception());
      }
    });
    try {
      done.get_future().get();
    } catch (const Error& error) {
      throwError(info.Env(), error.code.c_str(), error.what());
    }
    ranks_->mpi.reset();
  }

  const std::atomic<bool>* closing_;
  std::shared_ptr<Ranks> ranks_ = std::make_shared<Ranks>();
  Worker transfers_, messages_;
};

// addFloats(into, values): into += values
Napi::Value addFloats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsTypedArray()) throwExpected("a Float32Array", "into", info[0], env);
  const auto count = static_cast<int64_t>(info[0].As<Napi::TypedArray>().ElementLength());
  float* into = floatsArgument(info[0], "into", count, env);
  const float* values = floatsArgument(info[1], "values", count, env);
  return runJobInto(env, imageWorker(env), {info[1]}, info[0].As<Napi::Object>(), [into, values, count] {
    for (int64_t i = 0; i < count; ++i) into[i] += values[i];
  });
}

Napi::Value describeMpi(const Napi::CallbackInfo& info) {
  const distributed::MpiLibrary found = distributed::findMpi();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("version", found.version);
  out.Set("reason", found.reason);
  return out;
}

}  // namespace

void registerCommunicator(Napi::Env env, Napi::Object exports) {
  Communicator::define(env, exports);
  exports.Set("findMpi", Napi::Function::New(env, describeMpi, "findMpi"));
  exports.Set("addFloats", Napi::Function::New(env, addFloats, "addFloats"));
}

}  // namespace wbsr::bindings
