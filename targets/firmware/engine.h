/* What the firmware needs of QuickJS beyond its own interface. */
#pragma once
#include "quickjs.h"

extern const JSMallocFunctions engine_allocator;

/* The bytes of a Uint8Array, which must outlive their use; null with an exception pending when `value` is none. */
uint8_t *engine_bytes(JSContext *context, JSValueConst value, uint32_t *length);
