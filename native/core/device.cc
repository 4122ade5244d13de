#include "core/device.h"

#include <exception>

namespace wbsr {

StepTicket Device::submit(const TrainJob& job) {
  StepTicket ticket;
  ticket.gradients = gradients(job);
  try {
    ticket.update = apply({job.subnets, job});
  } catch (...) {
    const std::exception_ptr failed = std::current_exception();
    try {
      waitGradients(ticket.gradients);  // the caller gets no ticket
    } catch (...) {}
    std::rethrow_exception(failed);
  }
  return ticket;
}

TrainReport Device::wait(const StepTicket& ticket) {
  TrainReport report;
  std::exception_ptr failed;
  try {
    report = waitGradients(ticket.gradients);
  } catch (...) {
    failed = std::current_exception();
  }
  // Also after a failure: a device may be waiting for the ticket.
  const UpdateReport update = [&] {
    try {
      return waitApply(ticket.update);
    } catch (...) {
      if (!failed) failed = std::current_exception();
      return UpdateReport{};
    }
  }();
  if (failed) std::rethrow_exception(failed);
  report.finite = report.finite && update.finite;
  report.seconds += update.seconds;
  return report;
}

}  // namespace wbsr
