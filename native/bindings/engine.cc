#include "bindings/register.h"
namespace wbsr::bindings {
void registerEngine(Napi::Env, Napi::Object) {}
}  // namespace wbsr::bindings
