#include "cuda/training.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/clock.h"
#include "core/error.h"
#include "cuda/distill.h"
#include "cuda/kernels/formats.h"

namespace wbsr::cuda {
namespace {

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

Training::Training(State& state) : state_(state), context_(*state.context) {
  counts_.assign(state.graph.parameters().size() * state.graph.widths().size(), 0);
  stop_.reserve(sizeof(int32_t));
  WBSR_CUDA(cudaMemsetAsync(stop_.as(), 0, sizeof(int32_t), context_.stream));
}

Training::~Training() {
  cudaStreamSynchronize(uploads_);
  cudaStreamSynchronize(context_.stream);
}

// Uploads the job's arrays to lr and hr on the device, on the upload stream. The arrays may change when it returns.
void Training::uploadBatch(Slot& slot, const GradientJob& job) {
  const int scale = state_.graph.scale();
  const int64_t lrPixels = int64_t{job.height} * job.width, hrPixels = lrPixels * scale * scale;
  const size_t lrValues = static_cast<size_t>(job.batch * lrPixels),
               hrValues = static_cast<size_t>(job.batch * hrPixels);
  slot.ready.synchronise();  // the pinned memory's last upload: two steps ago
  slot.consumed.makeWait(uploads_);
  slot.lr.reserve(lrValues * 8 * (sizeof(float) + (context_.half ? sizeof(bf16) : 0)));
  slot.hr.reserve(hrValues * 8 * sizeof(float));
  float* lr = slot.lr.as<float>();
  float* hr = slot.hr.as<float>();
  const auto convert = [&](auto&& work) {
    withType(context_.half, [&](auto type) {
      using T = decltype(type);
      work(context_.half ? reinterpret_cast<T*>(lr + lrValues * 8) : static_cast<T*>(nullptr));
    });
  };
  if (job.source) {
    const int patch = job.width * scale;
    const WindowPlan windows = planWindows(*job.source, patch, scale);
    const size_t head = aligned(windows.crops.size() * sizeof(CropWindow)), bytes = head + windows.bytes;
    slot.pixels.reserve(bytes);
    slot.uploaded.reserve(bytes);
    std::memcpy(slot.pixels.as(), windows.crops.data(), windows.crops.size() * sizeof(CropWindow));
    copyWindows(windows, *job.source, slot.pixels.as<uint8_t>() + head);
    WBSR_CUDA(cudaMemcpyAsync(slot.uploaded.as(), slot.pixels.as(), bytes, cudaMemcpyHostToDevice, uploads_));
    convert([&](auto* copy) {
      assembleCrops(slot.uploaded.as<uint8_t>() + head, slot.uploaded.as<CropWindow>(), job.batch, patch, scale, hr, lr,
                    copy, uploads_);
    });
  } else {
    const size_t lrBytes = lrValues * 3 * sizeof(float), hrBytes = hrValues * 3 * sizeof(float);
    slot.pixels.reserve(aligned(lrBytes) + hrBytes);
    slot.uploaded.reserve(aligned(lrBytes) + hrBytes);
    std::memcpy(slot.pixels.as(), job.lr, lrBytes);
    std::memcpy(slot.pixels.as<char>() + aligned(lrBytes), job.hr, hrBytes);
    WBSR_CUDA(cudaMemcpyAsync(slot.uploaded.as(), slot.pixels.as(), aligned(lrBytes) + hrBytes, cudaMemcpyHostToDevice,
                              uploads_));
    convert([&](auto* copy) {
      using T = std::remove_pointer_t<decltype(copy)>;
      planarToThin<T>(slot.uploaded.as<float>(), lr, copy, job.batch, lrPixels, uploads_);
      planarToThin<T>(reinterpret_cast<const float*>(slot.uploaded.as<char>() + aligned(lrBytes)), hr, nullptr,
                      job.batch, hrPixels, uploads_);
    });
  }
  slot.ready.record(uploads_);
}

// Gradients and losses of all subnets, in `parts` parts of the batch; the means are those of the whole batch.
void Training::runPasses(Slot& slot, const GradientJob& job, int parts) {
  const cudaStream_t stream = context_.stream;
  const int scale = state_.graph.scale();
  const int64_t lrPixels = int64_t{job.height} * job.width, hrPixels = lrPixels * scale * scale;
  const size_t copyAt = static_cast<size_t>(job.batch * lrPixels) * 8;
  WBSR_CUDA(cudaMemsetAsync(context_.weights->gradient(), 0,
                            sizeof(float) * static_cast<size_t>(context_.weights->count()), stream));
  slot.sums.reserve(static_cast<size_t>(parts) * job.subnets.size() * kLossSums * sizeof(double));
  double* sums = slot.sums.as<double>();
  for (int part = 0; part < parts; ++part) {
    const int first = static_cast<int>(int64_t{job.batch} * part / parts),
              count = static_cast<int>(int64_t{job.batch} * (part + 1) / parts) - first;
    const float* target = slot.hr.as<float>() + first * hrPixels * 8;
    for (size_t i = 0; i < job.subnets.size(); ++i) {
      const int subnet = job.subnets[i];
      if (state_.cancelled(job.cancel)) throw Error("WBSR_ABORTED", "the job was cancelled");
      Executable& program = state_.executable(subnet, count, job.height, job.width, job.height, job.width, true);
      program.reserve();
      // Copied to the addresses that the captured graphs read.
      const size_t lrBytes = static_cast<size_t>(count * lrPixels) * 8 * sizeof(float),
                   hrBytes = static_cast<size_t>(count * hrPixels) * 8 * sizeof(float);
      WBSR_CUDA(cudaMemcpyAsync(program.inputThin(), slot.lr.as<float>() + first * lrPixels * 8, lrBytes,
                                cudaMemcpyDeviceToDevice, stream));
      if (context_.half) {
        const bf16* copy = reinterpret_cast<const bf16*>(slot.lr.as<float>() + copyAt) + first * lrPixels * 8;
        WBSR_CUDA(cudaMemcpyAsync(program.inputCopy(), copy, lrBytes / 2, cudaMemcpyDeviceToDevice, stream));
      }
      WBSR_CUDA(cudaMemcpyAsync(context_.target.as(), target, hrBytes, cudaMemcpyDeviceToDevice, stream));
      program.run();
      WBSR_CUDA(
          cudaMemcpyAsync(sums, context_.lossSums.as(), kLossSums * sizeof(double), cudaMemcpyDeviceToDevice, stream));
      sums += kLossSums;
      if (i == 0 && job.distillation > 0 && job.subnets.size() > 1) {
        slot.distilled.reserve(hrBytes);
        distill(target, program.outputThin(), slot.distilled.as<float>(), count * hrPixels * 8,
                static_cast<float>(job.distillation), stream);
        target = slot.distilled.as<float>();
      }
    }
  }
  slot.consumed.record(stream);
}

void Training::withMemory(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error& error) {
    if (error.code != "WBSR_OUT_OF_MEMORY") throw;
    state_.trim();
    work();
  }
}

void Training::inTurn(Turns& turns, int64_t ticket, const std::function<void()>& submitted) {
  state_.guard([&] {
    try {
      submitted();
      turns.take(ticket);
    } catch (...) {
      // The next step uses this slot, so no copy from or to it may be in flight.
      cudaStreamSynchronize(uploads_);
      cudaStreamSynchronize(context_.stream);
      throw;
    }
  });
}

double Training::elapsed(double started) {
  const double ended = now();
  std::lock_guard<std::mutex> lock(mutex_);
  const double seconds = ended - std::max(started, lastDone_);
  lastDone_ = ended;
  return seconds;
}

int64_t Training::gradients(const GradientJob& job) {
  const int64_t ticket = turns_.next();  // waits until the step before the last one has been reported
  Slot& slot = slots_[ticket % 2];
  inTurn(turns_, ticket, [&] { submitGradients(slot, job); });
  return ticket;
}

void Training::submitGradients(Slot& slot, const GradientJob& job) {
  const cudaStream_t stream = context_.stream;
  slot.started = now();
  slot.loss = job.loss;
  slot.subnets = static_cast<int>(job.subnets.size());
  const int scale = state_.graph.scale();
  const LossCounts counts = countLoss(job.loss, job.batch, job.height * scale, job.width * scale);
  slot.pixelsOfMean = counts.pixels;
  const LossParameters parameters = makeLossParameters(job.loss, counts, 1.f);
  context_.setLossHasFrequency(job.loss.frequency > 0);
  slot.settings.reserve(sizeof parameters);
  withMemory([&] {
    context_.weights->prepareTraining();
    uploadBatch(slot, job);
  });
  std::memcpy(slot.settings.as(), &parameters, sizeof parameters);
  WBSR_CUDA(cudaMemcpyAsync(context_.lossParameters.as(), slot.settings.as(), sizeof parameters, cudaMemcpyHostToDevice,
                            stream));
  slot.ready.makeWait(stream);

  for (;;) {
    parts_ = std::min(parts_, job.batch);
    try {
      runPasses(slot, job, parts_);
      break;
    } catch (const Error& error) {
      // The step is restarted: it has written only gradients, and they are cleared first.
      if (error.code != "WBSR_OUT_OF_MEMORY") throw;
      state_.trim();
      if (parts_ >= job.batch)
        throw Error("WBSR_OUT_OF_MEMORY",
                    "Not even one crop of " + std::to_string(job.width) + "x" + std::to_string(job.height) +
                        " LR pixels fits into the memory of the CUDA device for training: " + error.what());
      parts_ *= 2;
    }
  }
  slot.parts = parts_;
  const size_t sumBytes = static_cast<size_t>(slot.parts * slot.subnets) * kLossSums * sizeof(double);
  slot.results.reserve(sumBytes + sizeof(int32_t));
  checkFinite(context_.weights->gradient(), context_.weights->count(), slot.sums.as<double>(),
              slot.parts * slot.subnets * kLossSums, stop_.as<int32_t>(), stream);
  gradientChecked_ = true;
  WBSR_CUDA(cudaMemcpyAsync(slot.results.as(), slot.sums.as(), sumBytes, cudaMemcpyDeviceToHost, stream));
  WBSR_CUDA(
      cudaMemcpyAsync(slot.results.as<char>() + sumBytes, stop_.as(), sizeof(int32_t), cudaMemcpyDeviceToHost, stream));
  slot.done.record(stream);
}

TrainReport Training::waitGradients(int64_t ticket) {
  TrainReport report;
  Slot& slot = slots_[ticket % 2];
  try {
    state_.guard([&] {
      slot.done.synchronise();
      const double* sums = slot.results.as<double>();
      const double share = 1.0 / slot.subnets;
      for (int i = 0; i < slot.subnets; ++i) {
        double total[kLossSums] = {};
        for (int part = 0; part < slot.parts; ++part)
          for (int k = 0; k < kLossSums; ++k) total[k] += sums[(part * slot.subnets + i) * kLossSums + k];
        const LossSums loss = lossReport(slot.loss, total, slot.pixelsOfMean);
        report.losses.push_back(loss.loss);
        report.mean.add(loss, share);
      }
      int32_t stopped = 0;
      std::memcpy(&stopped,
                  slot.results.as<char>() + static_cast<size_t>(slot.parts * slot.subnets) * kLossSums * sizeof(double),
                  sizeof stopped);
      report.finite = stopped == 0;
      report.parts = slot.parts;
      report.seconds = elapsed(slot.started);
    });
  } catch (...) {
    turns_.give(ticket);
    throw;
  }
  turns_.give(ticket);
  return report;
}

int64_t Training::apply(const UpdateJob& job) {
  const int64_t ticket = updateTurns_.next();
  UpdateSlot& slot = updateSlots_[ticket % 2];
  inTurn(updateTurns_, ticket, [&] { submitUpdate(slot, job); });
  return ticket;
}

// One optimizer step, unless the device finds a value that is not finite.
void Training::submitUpdate(UpdateSlot& slot, const UpdateJob& job) {
  const cudaStream_t stream = context_.stream;
  const auto& graph = state_.graph;
  slot.started = now();
  const std::vector<int> touched = touchedWidths(graph, job.subnets);
  const size_t stepBytes = aligned(counts_.size() * sizeof(math::AdamStep)),
               touchedBytes = touched.size() * sizeof(int32_t);
  slot.settings.reserve(stepBytes + touchedBytes);
  slot.result.reserve(sizeof(int32_t));
  withMemory([&] {
    context_.weights->prepareTraining();
    slot.settingsOnDevice.reserve(stepBytes + touchedBytes);
  });
  slot.countsBefore = counts_;
  std::vector<math::AdamStep> steps;
  adamSteps(graph, touched, job.settings, counts_, steps);
  std::memcpy(slot.settings.as(), steps.data(), steps.size() * sizeof(math::AdamStep));
  std::memcpy(slot.settings.as<char>() + stepBytes, touched.data(), touchedBytes);
  char* device = slot.settingsOnDevice.as<char>();
  WBSR_CUDA(cudaMemcpyAsync(device, slot.settings.as(), stepBytes + touchedBytes, cudaMemcpyHostToDevice, stream));
  if (!gradientChecked_)
    checkFinite(context_.weights->gradient(), context_.weights->count(), nullptr, 0, stop_.as<int32_t>(), stream);
  gradientChecked_ = true;
  context_.weights->update(reinterpret_cast<const math::AdamStep*>(device),
                           reinterpret_cast<const int32_t*>(device + stepBytes), job.settings.emaDecay > 0,
                           stop_.as<int32_t>());
  WBSR_CUDA(cudaMemcpyAsync(slot.result.as(), stop_.as(), sizeof(int32_t), cudaMemcpyDeviceToHost, stream));
  slot.done.record(stream);
}

UpdateReport Training::waitApply(int64_t ticket) {
  UpdateReport report;
  UpdateSlot& slot = updateSlots_[ticket % 2];
  try {
    state_.guard([&] {
      slot.done.synchronise();
      int32_t stopped = 0;
      std::memcpy(&stopped, slot.result.as(), sizeof stopped);
      report.finite = stopped == 0;
      report.seconds = elapsed(slot.started);
      // The device has updated nothing since then, so the counts must not change either.
      if (!report.finite && countsAtFailure_.empty()) countsAtFailure_ = slot.countsBefore;
    });
  } catch (...) {
    updateTurns_.give(ticket);
    throw;
  }
  updateTurns_.give(ticket);
  return report;
}

std::vector<int32_t> Training::counts() { return countsAtFailure_.empty() ? counts_ : countsAtFailure_; }

void Training::setCounts(const std::vector<int32_t>& counts) {
  WBSR_CHECK(counts.size() == counts_.size());
  counts_ = counts;
  countsAtFailure_.clear();
}

void Training::reset() {
  if (!countsAtFailure_.empty()) counts_ = std::move(countsAtFailure_);
  countsAtFailure_.clear();
  WBSR_CUDA(cudaMemsetAsync(stop_.as(), 0, sizeof(int32_t), context_.stream));
  gradientChecked_ = false;
}

int64_t Training::bytes() const {
  size_t sum = stop_.bytes();
  for (const Slot& s : slots_)
    sum += s.pixels.bytes() + s.settings.bytes() + s.results.bytes() + s.uploaded.bytes() + s.sums.bytes() +
           s.hr.bytes() + s.lr.bytes() + s.distilled.bytes();
  for (const UpdateSlot& s : updateSlots_) sum += s.settings.bytes() + s.result.bytes() + s.settingsOnDevice.bytes();
  return static_cast<int64_t>(sum);
}

}  // namespace wbsr::cuda
