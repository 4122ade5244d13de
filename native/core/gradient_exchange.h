// Gradients that stay in a device's memory while those of micro-batches are summed, and their way to the devices of other
// ranks, one for each rank. lib/train/stepper.ts decides what is added to what.
#pragma once
#include <cstdint>
#include <vector>

namespace wbsr {

// Held gradients are numbered from 0; a number is made with its first use. Not while a job of the device runs.
class GradientExchange {
 public:
  static constexpr int kMostHeld = 64;

  virtual ~GradientExchange() = default;
  // Names a connection: made on one rank and given to all. Throws WBSR_NO_DEVICE: there is no usable library.
  virtual std::vector<char> makeId() = 0;
  // Waits for the other ranks; the connection lasts as long as the device. Throws WBSR_NO_DEVICE: no usable library, or it
  // refuses these devices; WBSR_ABORTED: *cancel became 1.
  virtual void connect(const std::vector<char>& id, int rank, int ranks, const volatile int32_t* cancel) = 0;

  // held = Arena::Gradient
  virtual void hold(int held) = 0;
  // into += other
  virtual void add(int into, int other) = 0;
  // Arena::Gradient = held * factor
  virtual void use(int held, float factor) = 0;

  // Each waits until it is done, and ends the connection when it cannot be. Throws WBSR_RANK_FAILED: another rank has ended, or
  // cannot be reached any more; WBSR_ABORTED: *cancel became 1.
  virtual void send(int held, int to, const volatile int32_t* cancel) = 0;
  virtual void receive(int held, int from, const volatile int32_t* cancel) = 0;
};

}  // namespace wbsr
