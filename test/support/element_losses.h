// What every element loss of native/core/losses/ must compute: a row each, written down independently of it.
#pragma once
#include <cmath>
#include <vector>

#include "core/losses/table.h"

namespace wbsr::test {

struct ElementReference {
  ElementLoss loss;
  double (*value)(double e);
  double (*gradient)(double e);
};

inline const std::vector<ElementReference> elementReferences = {
    {ElementLoss::L1, [](double e) { return std::fabs(e); }, [](double e) -> double { return (e > 0) - (e < 0); }},
    {ElementLoss::L2, [](double e) { return e * e; }, [](double e) { return 2 * e; }},
    {ElementLoss::Charbonnier, [](double e) { return std::hypot(e, 1e-3); },
     [](double e) { return e / std::hypot(e, 1e-3); }},
};

inline const ElementReference& referenceOf(ElementLoss loss) {
  for (const ElementReference& row : elementReferences)
    if (row.loss == loss) return row;
  throw elementLosses[static_cast<int>(loss)].name;  // no row
}

}  // namespace wbsr::test
