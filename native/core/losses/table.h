// The element losses: a row each.
#pragma once
#include "core/losses/charbonnier.h"
#include "core/losses/l1.h"
#include "core/losses/l2.h"

// row(Functor) for every loss, in the order of the names in error messages.
#define WBSR_ELEMENT_LOSSES(row) row(L1) row(L2) row(Charbonnier)

namespace wbsr {

#define WBSR_ROW(functor) functor,
enum class ElementLoss { WBSR_ELEMENT_LOSSES(WBSR_ROW) };
#undef WBSR_ROW

// What does not depend on the residual.
struct ElementLossInfo {
  ElementLoss loss;
  const char* name;
  losses::Balancing balancing;
};
#define WBSR_ROW(functor) {ElementLoss::functor, losses::functor::name, losses::functor::balancing},
constexpr ElementLossInfo elementLosses[] = {WBSR_ELEMENT_LOSSES(WBSR_ROW)};
#undef WBSR_ROW

constexpr losses::Balancing balancingOf(ElementLoss loss) { return elementLosses[static_cast<int>(loss)].balancing; }

}  // namespace wbsr
