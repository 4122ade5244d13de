// Libraries that pip installed: nvidia-cudnn and nvidia-nccl are wheels of Python.
#pragma once
#include <string>
#include <vector>

namespace wbsr::cuda {

// The files of that name below the package folders of Python installations (of a virtual environment, the python3 of PATH, the
// user and the system), the most likely first, each once.
std::vector<std::string> filesOfWheels(const std::string& name);

}  // namespace wbsr::cuda
