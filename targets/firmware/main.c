/* Boots the engine with the embedded bytecode and calls what it left in `host.step` for ever. */
#include <stdint.h>
#include <string.h>

#include "bindings.h"
#include "board.h"
#include "engine.h"
#include "flash.h"
#include "heap.h"
#include "stack.h"

extern const uint8_t bundle[];
extern const uint32_t bundle_size;
extern char __heap_start[], __heap_end[], __stack[];

/* The engine checks its depth only where it calls; C below it needs this much. */
#define STACK_RESERVE 1024u
#define PAINT 0x7e57ac5eu
/* Garbage in cycles is looked for when the heap has grown by this much. */
#define GARBAGE_BYTES 2048u

void stack_paint(void) {
  uint32_t *here = __builtin_frame_address(0);
  for (uint32_t *word = (uint32_t *)__heap_end; word < here - 16; word++) *word = PAINT;
}

size_t stack_size(void) { return (size_t)(__stack - __heap_end); }

size_t stack_peak(void) {
  const uint32_t *word = (const uint32_t *)__heap_end;
  while (word < (const uint32_t *)__stack && *word == PAINT) word++;
  return (size_t)(__stack - (const char *)word);
}

static void *engine_malloc(JSMallocState *state, size_t size) { return heap_alloc(size); }
static void engine_free(JSMallocState *state, void *pointer) { heap_free(pointer); }
static void *engine_realloc(JSMallocState *state, void *pointer, size_t size) { return heap_resize(pointer, size); }
static const JSMallocFunctions allocator = {engine_malloc, engine_free, engine_realloc, heap_usable};

static void say(const char *text) { board_serial_write((const uint8_t *)text, strlen(text)); }

/* Lines that are no frames: a gateway skips them, a person reads them. */
static _Noreturn void give_up(JSContext *context) {
  say("mallorn: ");
  JSValue error = context ? JS_GetException(context) : JS_UNDEFINED;
  const char *text = context ? JS_ToCString(context, error) : NULL;
  say(text ? text : "out of memory");
  say("\n");
  board_reset();
}

_Noreturn void abort(void) { give_up(NULL); }
_Noreturn void _exit(int status) { give_up(NULL); }

int main(void) {
  board_init();
  stack_paint();
  flash_init();
  heap_init(__heap_start, __heap_end);
  JSRuntime *runtime = JS_NewRuntime2(&allocator, NULL);
  if (!runtime) give_up(NULL);
  JS_SetMaxStackSize(runtime, stack_size() - STACK_RESERVE);
  JSValue script;
  JSContext *context = engine_boot(runtime, bundle, bundle_size, &script);
  if (!context) give_up(NULL);
  bindings_add(context);
  JSValue global = JS_GetGlobalObject(context), host = JS_GetPropertyStr(context, global, "host");
  JSValue result = JS_EvalFunction(context, script);
  if (JS_IsException(result)) give_up(context);
  JSValue step = JS_GetPropertyStr(context, host, "step");
  /* The engine's own rule lets the heap grow by half before it looks for garbage in cycles. */
  JS_SetGCThreshold(runtime, SIZE_MAX);
  JS_RunGC(runtime);
  size_t settled = heap_used();
  for (;;) {
    result = JS_Call(context, step, host, 0, NULL);
    if (JS_IsException(result)) give_up(context);
    if (heap_used() > settled + GARBAGE_BYTES) {
      JS_RunGC(runtime);
      settled = heap_used();
    }
    /* False: nothing was to be done. */
    if (!JS_ToBool(context, result)) board_wait();
  }
}
