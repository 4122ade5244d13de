// Plans that cuDNN has compiled before, in this process or an earlier one. cuDNN writes a plan with its kernels as
// JSON, which it reads in 1 ms instead of compiling for 0.4 to 1 s (cuDNN 9.24). One file per plan in a folder of the
// user. A plan is valid only for the cuDNN, the card and the driver that it was made for, and for the operation graphs that
// our sources build, which are part of its key.
//
// No failure here is an error. A plan that cannot be read or does not match is compiled again; if writing fails, the
// plan is not kept. Files contain code for the card, so a folder that other users may write to is not used.
#pragma once
#include <optional>
#include <string>
#include <utility>

namespace wbsr::cuda {

struct StoredPlan {
  std::string variant;  // ConvVariant::text(), or of our own kernel (plans.cc)
  std::string name;     // of the engine
  std::string json;     // as cuDNN wrote it
};

class PlanStore {
 public:
  // folder: created when the first plan is saved; empty: nothing is kept.
  explicit PlanStore(std::string folder) : folder_(std::move(folder)) {}

  std::optional<StoredPlan> load(const std::string& key) const;
  void save(const std::string& key, const StoredPlan& plan) const;
  void forget(const std::string& key) const;  // of a plan that failed
  // Leaves at most `files` plans, those used last.
  void trim(size_t files = 2048) const;
  const std::string& folder() const { return folder_; }

 private:
  bool usable() const;
  std::string fileOf(const std::string& key) const;

  const std::string folder_;
};

// WBSR_PLAN_CACHE, where empty means none; else XDG_CACHE_HOME/wbsr/plans or HOME/.cache/wbsr/plans. Empty also where none of them is
// set, and where cuDNN is not the library.
std::string planFolder();

}  // namespace wbsr::cuda
