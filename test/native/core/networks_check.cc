// The networks that bench/gpu times are those of the family: costs and parameter counts of method.md section 1.
#include "support/networks.h"
#include "support/check.h"

using namespace wbsr;
using namespace wbsr::test;

namespace {

struct Row {
  int width, depth;
  double gflops;
  int64_t parameters;  // 0: not in the table
};

void table(const Graph& graph, const std::string& name, const std::vector<Row>& rows) {
  check(graph.subnets().size() == rows.size(), name + ": as many subnets as rows");
  for (const Row& row : rows) {
    bool found = false;
    for (const SubnetInfo& s : graph.subnets()) {
      if (s.width != row.width || s.depth != row.depth) continue;
      found = true;
      const std::string what = name + " " + std::to_string(row.width) + "x" + std::to_string(row.depth);
      const double digits = name == "rcan" ? 1e-3 : 1e-4;  // the last one printed
      check(std::fabs(static_cast<double>(s.flops) * 1e-9 - row.gflops) < digits,
            what + " costs " + std::to_string(s.flops));
      if (row.parameters)
        check(s.parameters == row.parameters, what + " has " + std::to_string(s.parameters) + " parameters");
    }
    check(found, name + " has every subnet of the table");
  }
}

}  // namespace

int main() {
  const Graph small = networks::srresnet(4, {36, 52, 64}, {4, 8, 16});
  table(small, "srresnet",
        {{36, 4, 1.0849, 200883},
         {36, 8, 1.2760, 294483},
         {36, 16, 1.6582, 481683},
         {52, 4, 2.2418, 417459},
         {52, 8, 2.6406, 612563},
         {52, 16, 3.4380, 1002771},
         {64, 4, 3.3821, 631299},
         {64, 8, 3.9860, 926723},
         {64, 16, 5.1940, 1517571}});
  check(small.subnets().back().flops == 5193990144, "SRResNet 64x16 exactly");
  check(networks::srresnet(2, {64}, {16}).parameterCount() == 1369859, "SRResNet x2");
  const Graph large = networks::rcan(4, {36, 52, 64}, {5, 10, 20});
  table(large, "rcan",
        {{36, 5, 3.164, 0},
         {36, 10, 5.552, 0},
         {36, 20, 10.330, 0},
         {52, 5, 6.578, 0},
         {52, 10, 11.562, 0},
         {52, 20, 21.530, 0},
         {64, 5, 9.951, 0},
         {64, 10, 17.501, 0},
         {64, 20, 32.600, 15592379}});
  check(networks::rcan(2, {64}, {20}).parameterCount() == 15444667, "RCAN x2");
  for (const Graph* graph : {&small, &large}) {
    double square = 0;
    for (float v : networks::timingWeights(*graph, 1)) square += static_cast<double>(v) * v;
    const double size = std::sqrt(square / static_cast<double>(graph->parameterCount()));
    check(size > 0.005 && size < 0.2, "weights for timing are of ordinary size: " + std::to_string(size));
  }
  return finish();
}
