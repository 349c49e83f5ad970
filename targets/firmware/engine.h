/* QuickJS with only the built-in objects that the bundle uses: every other one costs heap at boot and code. */
#pragma once
#include "quickjs.h"

/* A context whose script was read from `bytecode`, which stays in use where it lies; null when memory ran out. */
JSContext *engine_boot(JSRuntime *runtime, const uint8_t *bytecode, size_t length, JSValue *script);

/* The bytes of a Uint8Array, which must outlive their use; null with an exception pending when `value` is none. */
uint8_t *engine_bytes(JSContext *context, JSValueConst value, uint32_t *length);
