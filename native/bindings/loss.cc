// fitMixture, evaluateLoss and fidelityScale of lib/native.ts.
#include "bindings/loss.h"

#include <cmath>
#include <memory>

#include "bindings/arguments.h"
#include "bindings/jobs.h"
#include "bindings/register.h"
#include "core/fidelity_scale.h"
#include "core/loss_prepare.h"
#include "core/mixture.h"
#include "cpu/loss.h"

namespace wbsr::bindings {
namespace {

double readNumber(Napi::Env env, const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) throwExpected("a number", name, value, env);
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(number)) throwExpected("a finite number", name, value, env);
  return number;
}

Napi::Float32Array readFloats(Napi::Env env, const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throwExpected("a Float32Array", name, value, env);
  return value.As<Napi::Float32Array>();
}

std::vector<double> readDoubles(Napi::Env env, const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
    throwExpected("a Float64Array", name, value, env);
  const auto array = value.As<Napi::Float64Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

Napi::Float64Array makeDoubles(Napi::Env env, const std::vector<double>& values) {
  auto array = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// fitMixture(samples, weights | null, dimension, components, iterations, minStd, seed)
Napi::Value fitMixture(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Float32Array samples = readFloats(env, info[0], "samples");
  MixtureOptions options;
  options.dimension = static_cast<int>(readNumber(env, info[2], "dimension"));
  options.components = static_cast<int>(readNumber(env, info[3], "components"));
  options.iterations = static_cast<int>(readNumber(env, info[4], "iterations"));
  options.minStd = readNumber(env, info[5], "minStd");
  options.seed = static_cast<uint64_t>(static_cast<int64_t>(readNumber(env, info[6], "seed")));
  if (options.dimension != 1 && options.dimension != 3) throwExpected("1 or 3", "dimension", info[2], env);
  if (samples.ElementLength() % static_cast<size_t>(options.dimension) != 0)
    throwExpected("a length divisible by the dimension", "samples", samples, env);
  const auto count = static_cast<int64_t>(samples.ElementLength()) / options.dimension;
  KeepAlive keep{samples};
  const float* weights = nullptr;
  if (!info[1].IsNull() && !info[1].IsUndefined()) {
    const Napi::Float32Array array = readFloats(env, info[1], "weights");
    if (static_cast<int64_t>(array.ElementLength()) != count)
      throwExpected("one weight per sample", "weights", array, env);
    weights = array.Data();
    keep.push_back(array);
  }
  auto fit = std::make_shared<MixtureFit>();
  return runJob(
      env, imageWorker(env), keep,
      [fit, data = samples.Data(), weights, count, options] { *fit = fitMixture(data, weights, count, options); },
      [fit](Napi::Env e) -> Napi::Value {
        Napi::Object out = Napi::Object::New(e);
        out.Set("weights", makeDoubles(e, fit->mixture.weights));
        out.Set("means", makeDoubles(e, fit->mixture.means));
        out.Set("covariances", makeDoubles(e, fit->mixture.covariances));
        out.Set("logLikelihood", fit->logLikelihood);
        return out;
      });
}

// evaluateLoss(prediction, target, loss)
Napi::Value evaluateLoss(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Napi::Float32Array prediction = readFloats(env, info[0], "prediction");
  const Napi::Float32Array target = readFloats(env, info[1], "target");
  auto spec = std::make_shared<LossSpec>(readLoss(env, info[2]));
  const size_t length = prediction.ElementLength();
  if (length == 0 || length % static_cast<size_t>(spec->dimension) != 0)
    throwExpected("a length divisible by the loss's dimension", "prediction", prediction, env);
  if (target.ElementLength() != length) throwExpected("the length of prediction", "target", target, env);
  const auto pixels = static_cast<int64_t>(length) / spec->dimension;
  auto sums = std::make_shared<LossSums>();
  auto gradient = std::make_shared<std::vector<float>>(length);
  return runJob(
      env, imageWorker(env), {prediction, target},
      [=, x = prediction.Data(), y = target.Data()] {
        *sums = cpu::evaluateLossInterleaved(*spec, x, y, pixels, gradient->data(), 1.0f);
      },
      [sums, gradient](Napi::Env e) -> Napi::Value {
        Napi::Object out = Napi::Object::New(e);
        out.Set("loss", sums->loss);
        out.Set("data", sums->data);
        out.Set("balance", sums->balance);
        out.Set("dataGradient", sums->dataGradient);
        out.Set("balanceGradient", sums->balanceGradient);
        out.Set("sigmaGradient", sums->sigmaGradient);
        auto array = Napi::Float32Array::New(e, gradient->size());
        std::copy(gradient->begin(), gradient->end(), array.Data());
        out.Set("gradient", array);
        return out;
      });
}

// fidelityScale(loss, typicalResidual)
Napi::Value fidelityScale(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto spec = std::make_shared<LossSpec>(readLoss(env, info[0]));
  if (!spec->balanced) throwExpected("'bd'", "loss.kind", info[0].As<Napi::Object>().Get("kind"), env);
  const double typical = readNumber(env, info[1], "typicalResidual");
  auto result = std::make_shared<double>(0);
  return runJob(
      env, imageWorker(env), {}, [spec, typical, result] { *result = wbsr::fidelityScale(*spec, typical); },
      [result](Napi::Env e) -> Napi::Value { return Napi::Number::New(e, *result); });
}

}  // namespace

LossSpec readLoss(Napi::Env env, const Napi::Value& value) {
  if (!value.IsObject()) throwExpected("an object", "loss", value, env);
  const Napi::Object object = value.As<Napi::Object>();
  const auto text = [&](const char* name) {
    const Napi::Value field = object.Get(name);
    return field.IsString() ? field.As<Napi::String>().Utf8Value() : std::string();
  };
  // The element loss of that name among those that a balancing term may be added to, or among all.
  const auto elementOf = [&](const char* field, bool balanced) {
    const std::string wanted = text(field);
    std::vector<std::string> names;
    for (const ElementLossInfo& row : elementLosses) {
      if (balanced && row.balancing == losses::Balancing::None) continue;
      if (wanted == row.name) return row.loss;
      names.push_back(row.name);
    }
    if (!balanced) names.push_back("bd");
    throwExpected(oneOf(names), std::string("loss.") + field, object.Get(field), env);
  };
  LossSpec spec;
  spec.balanced = text("kind") == "bd";
  spec.element = spec.balanced ? elementOf("fidelity", true) : elementOf("kind", false);
  const double dimension = readNumber(env, object.Get("dimension"), "loss.dimension");
  if (dimension != 1 && dimension != 3) throwExpected("1 or 3", "loss.dimension", object.Get("dimension"), env);
  spec.dimension = static_cast<int>(dimension);
  if (const Napi::Value frequency = object.Get("frequency"); !frequency.IsUndefined()) {
    spec.frequency = static_cast<float>(readNumber(env, frequency, "loss.frequency"));
    if (!(spec.frequency >= 0)) throwExpected("a number of at least 0", "loss.frequency", frequency, env);
  }
  if (!spec.balanced) return spec;

  spec.sigma = static_cast<float>(readNumber(env, object.Get("sigma"), "loss.sigma"));
  if (!(spec.sigma > 0)) throwExpected("a number above 0", "loss.sigma", object.Get("sigma"), env);
  spec.fidelityScale = static_cast<float>(readNumber(env, object.Get("fidelityScale"), "loss.fidelityScale"));
  const Napi::Value mixture = object.Get("mixture");
  if (!mixture.IsObject()) throwExpected("a mixture", "loss.mixture", mixture, env);
  const Napi::Object parts = mixture.As<Napi::Object>();
  spec.mixture.dimension = spec.dimension;
  spec.mixture.weights = readDoubles(env, parts.Get("weights"), "loss.mixture.weights");
  spec.mixture.means = readDoubles(env, parts.Get("means"), "loss.mixture.means");
  spec.mixture.covariances = readDoubles(env, parts.Get("covariances"), "loss.mixture.covariances");
  try {
    checkMixture(spec.mixture);
  } catch (const std::exception& error) {
    throwError(env, "WBSR_INVALID_OPTION", error.what());
  }
  return spec;
}

void registerLoss(Napi::Env env, Napi::Object exports) {
  exports.Set("fitMixture", Napi::Function::New(env, fitMixture, "fitMixture"));
  exports.Set("evaluateLoss", Napi::Function::New(env, evaluateLoss, "evaluateLoss"));
  exports.Set("fidelityScale", Napi::Function::New(env, fidelityScale, "fidelityScale"));
}

}  // namespace wbsr::bindings
