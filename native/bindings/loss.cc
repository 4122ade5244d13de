#include "bindings/register.h"
namespace wbsr::bindings {
void registerLoss(Napi::Env, Napi::Object) {}
}  // namespace wbsr::bindings
