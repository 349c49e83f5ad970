/* Goes on where the build stopped, with the program evaluated: calls its `host.start`, and what that gives for ever. */
#include <stdint.h>
#include <string.h>

#include "bindings.h"
#include "board.h"
#include "engine.h"
#include "flash.h"
#include "heap.h"
#include "stack.h"

/* As the build left them, in RAM. */
extern char frozen_runtime[], frozen_context[];
extern char __heap_start[], __heap_end[];

/* The engine checks its depth only where it calls; C below it needs this much. */
#define STACK_RESERVE 1024u
/* Garbage in cycles is looked for when the heap has grown by this much. */
#define GARBAGE_BYTES 2048u

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
  JSRuntime *runtime = (JSRuntime *)frozen_runtime;
  JSContext *context = (JSContext *)frozen_context;
  JS_UpdateStackTop(runtime);
  JS_SetMaxStackSize(runtime, stack_size() - STACK_RESERVE);
  JSValue global = JS_GetGlobalObject(context), host = JS_GetPropertyStr(context, global, "host");
  JSValue start = JS_GetPropertyStr(context, host, "start");
  JSValue step = JS_Call(context, start, host, 0, NULL), result;
  if (JS_IsException(step)) give_up(context);
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
