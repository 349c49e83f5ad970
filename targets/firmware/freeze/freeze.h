/* The first half of the build (docs/firmware.md): the program is evaluated, and what that leaves is made fit to lie in flash. */
#pragma once
#include "../engine.h"

/* A context with the built-in objects of builtins.c; null when memory ran out. */
JSContext *engine_boot(JSRuntime *runtime);

/* After it, nothing may run. scripts/firmware/freeze.ts takes it from here. */
void engine_freeze(JSContext *context);
