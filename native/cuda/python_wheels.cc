#include "cuda/python_wheels.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>

namespace wbsr::cuda {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// The folders of Python packages under prefix/lib: python3.11/site-packages and such, the newest first.
void addPackageFolders(const fs::path& prefix, std::vector<fs::path>& folders) {
  std::error_code ignored;
  std::vector<fs::path> pythons;
  for (fs::directory_iterator entry(prefix / "lib", ignored), end; !ignored && entry != end; entry.increment(ignored))
    if (entry->path().filename().string().rfind("python3", 0) == 0) pythons.push_back(entry->path());
  const auto release = [](const fs::path& path) {  // python3.11 -> 11, python3 -> 0
    const std::string name = path.filename().string();
    return name.size() > 8 && name[7] == '.' ? std::atoi(name.c_str() + 8) : 0;
  };
  std::sort(pythons.begin(), pythons.end(), [&](const fs::path& a, const fs::path& b) {
    return release(a) != release(b) ? release(a) > release(b) : a < b;
  });
  for (const fs::path& python : pythons)
    for (const char* kind : {"site-packages", "dist-packages"}) folders.push_back(python / kind);
}

// The prefix of the python3 that a shell would run: of the link itself (a virtual environment) and of its target.
std::vector<fs::path> prefixesOfPython() {
  std::vector<fs::path> prefixes;
  const std::string path = environment("PATH");
  for (size_t from = 0; from <= path.size();) {
    const size_t to = std::min(path.find(':', from), path.size());
    std::error_code ignored;
    const fs::path python = fs::path(path.substr(from, to - from)) / "python3";
    if (to > from && fs::exists(python, ignored)) {
      prefixes.push_back(python.parent_path().parent_path());
      const fs::path target = fs::canonical(python, ignored);
      if (!ignored) prefixes.push_back(target.parent_path().parent_path());
      break;
    }
    from = to + 1;
  }
  return prefixes;
}

}  // namespace

std::vector<std::string> filesOfWheels(const std::string& name) {
  std::vector<fs::path> prefixes;
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = environment(variable); !prefix.empty()) prefixes.push_back(prefix);
  for (fs::path& prefix : prefixesOfPython()) prefixes.push_back(std::move(prefix));
  if (const std::string home = environment("HOME"); !home.empty()) prefixes.push_back(fs::path(home) / ".local");
  prefixes.push_back("/usr/local");
  prefixes.push_back("/usr");
  std::vector<fs::path> folders;
  for (const fs::path& prefix : prefixes) addPackageFolders(prefix, folders);
  std::vector<std::string> found;
  for (const fs::path& folder : folders) {
    std::error_code ignored;
    const std::string file = (folder / name).string();
    if (fs::exists(file, ignored) && std::find(found.begin(), found.end(), file) == found.end()) found.push_back(file);
  }
  return found;
}

}  // namespace wbsr::cuda
