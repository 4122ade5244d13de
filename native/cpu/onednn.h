// oneDNN as Debian ships it (API v2). The few places where API v3 differs are kept here.
#pragma once
#include <dnnl.hpp>
