// exchange() of class Engine: gradients of ranks that meet in the devices' own memory.
#include <memory>

#include "bindings/arguments.h"
#include "bindings/engine.h"
#include "bindings/fields.h"

namespace wbsr::bindings {
namespace {

GradientExchange& exchangeOf(Device& device) {
  GradientExchange* exchange = device.exchange();
  if (!exchange) throw Error("WBSR_INTERNAL", "the device has no exchange of gradients");
  return *exchange;
}

int heldOf(const Napi::Object& job, const char* name) {
  return integerArgument(job.Get(name), name, 0, GradientExchange::kMostHeld - 1, job.Env());
}

int rankOf(const Napi::Object& job, const char* name, int least = 0) {
  return integerArgument(job.Get(name), name, least, 1 << 16, job.Env());
}

std::vector<char> idOf(const Napi::Object& job) {
  const Napi::Value value = job.Get("id");
  const auto* bytes = arrayArgument<char>(value, "id", napi_uint8_array, "Uint8Array", -1, job.Env());
  return {bytes, bytes + value.As<Napi::TypedArray>().ByteLength()};
}

// What a job does to the exchange, read on the JavaScript thread.
std::function<void(GradientExchange&)> workOf(const Napi::Object& job, const volatile int32_t* cancel) {
  const Napi::Value value = job.Get("action");
  const std::string action = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
  using Exchange = GradientExchange;
  if (action == "connect")
    return [id = idOf(job), rank = rankOf(job, "rank"), ranks = rankOf(job, "ranks", 1), cancel](Exchange& exchange) {
      exchange.connect(id, rank, ranks, cancel);
    };
  if (action == "hold") return [held = heldOf(job, "held")](Exchange& exchange) { exchange.hold(held); };
  if (action == "add")
    return
        [held = heldOf(job, "held"), other = heldOf(job, "other")](Exchange& exchange) { exchange.add(held, other); };
  if (action == "use")
    return [held = heldOf(job, "held"), factor = static_cast<float>(numberOf(job, "factor"))](Exchange& exchange) {
      exchange.use(held, factor);
    };
  if (action == "send")
    return [held = heldOf(job, "held"), to = rankOf(job, "to"), cancel](Exchange& exchange) {
      exchange.send(held, to, cancel);
    };
  if (action == "receive")
    return [held = heldOf(job, "held"), from = rankOf(job, "from"), cancel](Exchange& exchange) {
      exchange.receive(held, from, cancel);
    };
  throwExpected(oneOf({"connect", "hold", "add", "use", "send", "receive"}), "action", value, job.Env());
}

}  // namespace

// exchange(job)
Napi::Value Engine::exchange(const Napi::CallbackInfo& info) {
  if (!info[0].IsObject()) throwExpected("a job", "exchange()", info[0], info.Env());
  const Napi::Object job = info[0].As<Napi::Object>();
  KeepAlive keep;
  const volatile int32_t* cancel = cancelOf(job, keep);
  return run(
      info.This().As<Napi::Object>(), keep, [work = workOf(job, cancel)](Device& device) { work(exchangeOf(device)); },
      [](Napi::Env env) { return env.Undefined(); });
}

// exchangeId()
Napi::Value Engine::exchangeId(const Napi::CallbackInfo& info) {
  auto id = std::make_shared<std::vector<char>>();
  return run(
      info.This().As<Napi::Object>(), {}, [id](Device& device) { *id = exchangeOf(device).makeId(); },
      [id](Napi::Env env) { return Napi::Buffer<char>::Copy(env, id->data(), id->size()); });
}

}  // namespace wbsr::bindings
