#include "cpu/onednn.h"
