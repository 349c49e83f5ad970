/* The `host` object of targets/quickjs/host.d.ts. */
#pragma once
#include "quickjs.h"

void bindings_add(JSContext *context);
