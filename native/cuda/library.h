// A shared library that is opened at run time, with the functions that are looked up in it.
#pragma once
#include <string>

namespace wbsr::cuda {

class Library {
 public:
  // Opens the file, or the name on the loader's path. error() tells whether that failed.
  explicit Library(const std::string& file);
  // Closes it, unless keep() was called.
  ~Library();
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  // Empty, or why it could not be opened.
  const std::string& error() const { return error_; }
  // Sets `function`, to null where the library does not have it; of an open library.
  template <typename F>
  void find(const char* name, F& function) {
    function = reinterpret_cast<F>(address(name));
  }
  // The first name that was looked up and is not there; empty: all are.
  const std::string& missing() const { return missing_; }
  // It stays open as long as the process.
  void keep() { handle_ = nullptr; }

 private:
  void* address(const char* name);

  void* handle_;
  std::string error_, missing_;
};

}  // namespace wbsr::cuda
