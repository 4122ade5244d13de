// Plans that cuDNN has compiled before, for this process or an earlier one: it writes a plan as JSON, kernels and all, and
// reads it in a thousandth of the time (0.4 to 1 s to compile, 1 ms to read, cuDNN 9.24). One file for each plan in a folder
// of the user's. A plan is good only for the cuDNN, the card and the driver it was made for: they are part of its key.
//
// Nothing here is an error. What cannot be read or does not fit is compiled anew; where nothing can be written nothing is
// kept. Files hold code for the card, so a folder that others may write to is not used.
#pragma once
#include <optional>
#include <string>
#include <utility>

namespace wbsr::cuda {

struct StoredPlan {
  int variant = 0;   // index into variantsOf()
  std::string name;  // of the engine
  std::string json;  // as cuDNN wrote it
};

class PlanStore {
 public:
  // folder: empty keeps nothing. Made when the first plan is saved.
  explicit PlanStore(std::string folder) : folder_(std::move(folder)) {}

  std::optional<StoredPlan> load(const std::string& key) const;
  void save(const std::string& key, const StoredPlan& plan) const;
  void forget(const std::string& key) const;  // it did not work
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
