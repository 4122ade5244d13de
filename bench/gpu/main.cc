// wbsr as a contestant of the GPU benchmarks (contest.py). Argument: the part, inference, training, operators or routed;
// one process each, so that a failure in one part leaves the others alone.
#include <cstdio>
#include <string>

#include "commands.h"

int main(int count, char** arguments) {
  using namespace wbsr::bench;
  const std::string part = count > 1 ? arguments[1] : "";
  begin();
  if (part == "inference") return serve(inferenceCommands());
  if (part == "training") return serve(trainingCommands());
  if (part == "operators") return serve(operatorCommands());
  if (part == "routed") return serve(routedCommands());
  std::fprintf(stderr, "Expected inference, training, operators or routed but received '%s'\n", part.c_str());
  return 2;
}
