/* One translation unit with the engine: QuickJS does not export what this needs of it. */

/* All that the program raises to a power are whole numbers. */
static double whole_power(double base, double exponent) {
  double power = 1;
  if (exponent != (int)exponent) return __builtin_nan("");
  for (int i = (int)exponent; i > 0; i--) power *= base;
  for (int i = (int)exponent; i < 0; i++) power /= base;
  return power;
}

#include "quickjs.c"

#include "engine.h"
#include "heap.h"

static void *engine_malloc(JSMallocState *state, size_t size) { return heap_alloc(size); }
static void engine_free(JSMallocState *state, void *pointer) { heap_free(pointer); }
static void *engine_realloc(JSMallocState *state, void *pointer, size_t size) { return heap_resize(pointer, size); }
const JSMallocFunctions engine_allocator = {engine_malloc, engine_free, engine_realloc, heap_usable};

uint8_t *engine_bytes(JSContext *context, JSValueConst value, uint32_t *length) {
  JSObject *object = get_typed_array(context, value, 0);
  if (!object) return NULL;
  if (object->class_id != JS_CLASS_UINT8_ARRAY) {
    JS_ThrowTypeError(context, "not a Uint8Array");
    return NULL;
  }
  *length = object->u.array.count;
  return object->u.array.u.uint8_ptr;
}

/* Runs when the firmware is built and is not linked into it. */
#include "freeze/builtins.c"
#include "freeze/freeze.c"
