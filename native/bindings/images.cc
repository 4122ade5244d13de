#include "bindings/register.h"
namespace wbsr::bindings {
void registerImages(Napi::Env, Napi::Object) {}
}  // namespace wbsr::bindings
