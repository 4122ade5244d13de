#include "cuda/conv/plan_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "cuda/conv/cudnn_api.h"

namespace wbsr::cuda {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMagic = "wbsr plan 2 ";
constexpr const char* kEnding = ".plan";

// FNV-1a, 64 bits: names files and finds damaged ones.
std::string hashOf(const std::string& text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(hash));
  return out;
}

// The part of a file that its hash covers.
std::string contents(const std::string& key, const StoredPlan& plan) {
  return key + "\n" + plan.variant + "\n" + plan.name + "\n" + plan.json;
}

std::string headOf(const std::string& contents) {
  std::string head = kMagic;
  head += hashOf(contents);
  return head;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

}  // namespace

std::string PlanStore::fileOf(const std::string& key) const {
  return (fs::path(folder_) / (hashOf(key) + kEnding)).string();
}

bool PlanStore::usable() const {
  struct stat about {};
  return !folder_.empty() && stat(folder_.c_str(), &about) == 0 && S_ISDIR(about.st_mode) &&
         about.st_uid == geteuid() && (about.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

// Lines: magic and hash; key; variant; name; then the JSON.
std::optional<StoredPlan> PlanStore::load(const std::string& key) const {
  if (!usable()) return std::nullopt;
  const std::string file = fileOf(key);
  std::ifstream in(file, std::ios::binary);
  std::string magic, foundKey;
  StoredPlan plan;
  if (!std::getline(in, magic) || !std::getline(in, foundKey) || !std::getline(in, plan.variant) ||
      !std::getline(in, plan.name))
    return std::nullopt;
  plan.json.assign(std::istreambuf_iterator<char>(in), {});
  if (foundKey != key || magic != headOf(contents(key, plan))) return std::nullopt;
  std::error_code ignored;
  fs::last_write_time(file, fs::file_time_type::clock::now(), ignored);  // trim() keeps the last used files
  return plan;
}

void PlanStore::save(const std::string& key, const StoredPlan& plan) const {
  if (folder_.empty() || plan.json.empty()) return;
  std::error_code error;
  if (fs::create_directories(folder_, error)) fs::permissions(folder_, fs::perms::owner_all, error);
  if (!usable()) return;
  // The file is complete or absent, also when two processes write the same one.
  static std::atomic<int> count{0};
  const std::string file = fileOf(key),
                    half = file + "." + std::to_string(getpid()) + "." + std::to_string(count++) + ".tmp";
  {
    const std::string text = contents(key, plan);
    std::ofstream out(half, std::ios::binary);
    out << headOf(text) << '\n' << text;
    out.close();
    if (!out) {
      fs::remove(half, error);
      return;
    }
  }
  fs::rename(half, file, error);
  if (error) fs::remove(half, error);
}

void PlanStore::forget(const std::string& key) const {
  std::error_code ignored;
  if (usable()) fs::remove(fileOf(key), ignored);
}

void PlanStore::trim(size_t files) const {
  if (!usable()) return;
  std::vector<std::pair<fs::file_time_type, fs::path>> plans;
  std::error_code ignored;
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (fs::directory_iterator entry(folder_, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    std::error_code gone;
    const fs::file_time_type time = fs::last_write_time(entry->path(), gone);
    if (gone) continue;
    if (entry->path().extension() == kEnding)
      plans.emplace_back(time, entry->path());
    else if (entry->path().extension() == ".tmp" && time < old)
      fs::remove(entry->path(), gone);  // of a process that was killed
  }
  if (plans.size() <= files) return;
  std::sort(plans.begin(), plans.end());
  for (size_t i = 0; i + files < plans.size(); ++i) fs::remove(plans[i].second, ignored);
}

std::string planFolder() {
  if (std::getenv("WBSR_PLAN_CACHE")) return environment("WBSR_PLAN_CACHE");
  if (cudnn::location().empty()) return "";
  // The same rules as for the folder of lib/data/index.ts.
  const fs::path cache = environment("XDG_CACHE_HOME"), home = environment("HOME");
  if (cache.is_absolute()) return (cache / "wbsr" / "plans").string();
  return home.is_absolute() ? (home / ".cache" / "wbsr" / "plans").string() : "";
}

}  // namespace wbsr::cuda
