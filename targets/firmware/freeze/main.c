/* Runs on the emulated board while the firmware is built: evaluates the program and stops, for its memory to be taken. */
#include <string.h>

#include "../bindings.h"
#include "../board.h"
#include "../heap.h"
#include "freeze.h"

extern const uint8_t bundle[];
extern const uint32_t bundle_size;
extern char __heap_start[], __heap_end[];

#define FREE 1u
#define END 4u

_Noreturn static void stop(const char *text) {
  board_serial_write((const uint8_t *)text, strlen(text));
  board_serial_write((const uint8_t *)"\n", 1);
  for (;;) board_wait();
}
_Noreturn void abort(void) { stop("aborted"); }
_Noreturn void _exit(int status) { abort(); }

/*
 * Blocks as heap.c lays them out, but exactly as long as what was asked for, and cleared: a rest of something else would be taken for a
 * part of them.
 */
static void *allocate(JSMallocState *state, size_t size) {
  const uint32_t words = 1 + (size + 3) / 4;
  if (!size) return NULL;
  uint32_t *block = (uint32_t *)__heap_start;
  while (*block != END && *block != words * 4 + FREE) block += *block / 4;
  if (*block == END) {
    if ((char *)(block + words + 1) > __heap_end) return NULL;
    block[words] = END;
  }
  memset(block, 0, words * 4);
  block[0] = words * 4;
  return block + 1;
}
static void release(JSMallocState *state, void *pointer) {
  if (pointer) ((uint32_t *)pointer)[-1] |= FREE;
}
static void *resize(JSMallocState *state, void *pointer, size_t size) {
  void *moved = allocate(state, size);
  if (size && !moved) return NULL;
  if (pointer && moved) memcpy(moved, pointer, heap_usable(pointer) < size ? heap_usable(pointer) : size);
  release(state, pointer);
  return moved;
}
static const JSMallocFunctions allocator = {allocate, release, resize, heap_usable};

int main(void) {
  board_init();
  *(uint32_t *)__heap_start = END;
  JSRuntime *runtime = JS_NewRuntime2(&allocator, NULL);
  if (!runtime) stop("out of memory");
  JS_SetMaxStackSize(runtime, 0);
  JSContext *context = engine_boot(runtime);
  if (!context) stop("out of memory");
  bindings_add(context);
  JSValue script = JS_ReadObject(context, bundle, bundle_size, JS_READ_OBJ_BYTECODE);
  if (JS_IsException(script) || JS_IsException(JS_EvalFunction(context, script))) stop(JS_ToCString(context, JS_GetException(context)));
  engine_freeze(context);
  stop("frozen");
}
