#include "bindings.h"

#include "board.h"
#include "engine.h"
#include "flash.h"
#include "heap.h"
#include "serial.h"
#include "sha256.h"
#include "stack.h"

#define ARGUMENTS JSContext *context, JSValueConst this_value, int argc, JSValueConst *argv

static JSValue failed(JSContext *context, const char *what) { return JS_ThrowTypeError(context, "%s", what); }

/* An offset is a non-negative number below 4 GiB. */
static int offset_of(JSContext *context, JSValueConst value, uint32_t *offset) {
  int64_t number;
  if (JS_ToInt64(context, &number, value)) return -1;
  if (number < 0 || number > UINT32_MAX) {
    failed(context, "flash offset");
    return -1;
  }
  *offset = (uint32_t)number;
  return 0;
}

static JSValue host_flash_read(ARGUMENTS) {
  uint32_t offset, length;
  uint8_t *into = engine_bytes(context, argv[1], &length);
  if (!into || offset_of(context, argv[0], &offset)) return JS_EXCEPTION;
  return flash_read(offset, into, length) ? failed(context, "flash read") : JS_UNDEFINED;
}

static JSValue host_flash_erase(ARGUMENTS) {
  uint32_t offset;
  if (offset_of(context, argv[0], &offset)) return JS_EXCEPTION;
  return flash_erase(offset) ? failed(context, "flash erase") : JS_UNDEFINED;
}

static JSValue host_flash_program(ARGUMENTS) {
  uint32_t offset, length;
  uint8_t *bytes = engine_bytes(context, argv[1], &length);
  if (!bytes || offset_of(context, argv[0], &offset)) return JS_EXCEPTION;
  return flash_program(offset, bytes, length) ? failed(context, "flash program") : JS_UNDEFINED;
}

static JSValue host_serial_read(ARGUMENTS) {
  uint32_t length;
  uint8_t *into = engine_bytes(context, argv[0], &length);
  return into ? JS_NewInt32(context, (int32_t)serial_read(into, length)) : JS_EXCEPTION;
}

static JSValue host_serial_write(ARGUMENTS) {
  uint32_t length;
  uint8_t *bytes = engine_bytes(context, argv[0], &length);
  if (!bytes) return JS_EXCEPTION;
  board_serial_write(bytes, length);
  return JS_UNDEFINED;
}

static JSValue host_flash_bytes(JSContext *context, JSValueConst this_value) { return JS_NewInt64(context, flash_size()); }

static JSValue host_clock(ARGUMENTS) { return JS_NewFloat64(context, board_clock()); }

static JSValue host_reset(ARGUMENTS) { board_reset(); }

static JSValue host_sha256_reset(ARGUMENTS) {
  sha256_reset();
  return JS_UNDEFINED;
}

static JSValue host_sha256_update(ARGUMENTS) {
  uint32_t length;
  uint8_t *bytes = engine_bytes(context, argv[0], &length);
  if (!bytes) return JS_EXCEPTION;
  sha256_update(bytes, length);
  return JS_UNDEFINED;
}

static JSValue host_sha256_digest(ARGUMENTS) {
  uint32_t length;
  uint8_t *into = engine_bytes(context, argv[0], &length);
  if (!into) return JS_EXCEPTION;
  if (length != 32) return failed(context, "digest length");
  sha256_digest(into);
  return JS_UNDEFINED;
}

/* Bytes: 0 heap in use, 1 its peak, 2 the stack's peak, 3 serial bytes lost. */
static JSValue host_usage(ARGUMENTS) {
  int32_t which;
  if (JS_ToInt32(context, &which, argv[0])) return JS_EXCEPTION;
  const size_t figures[] = {heap_used(), heap_peak(), stack_peak(), serial_lost()};
  return which < 0 || which > 3 ? failed(context, "usage") : JS_NewInt32(context, (int32_t)figures[which]);
}

static JSValue host_collect_garbage(ARGUMENTS) {
  JS_RunGC(JS_GetRuntime(context));
  return JS_UNDEFINED;
}

static const JSCFunctionListEntry functions[] = {
    JS_CFUNC_DEF("collectGarbage", 0, host_collect_garbage),
    JS_CFUNC_DEF("flashRead", 2, host_flash_read),
    JS_CFUNC_DEF("flashErase", 1, host_flash_erase),
    JS_CFUNC_DEF("flashProgram", 2, host_flash_program),
    JS_CFUNC_DEF("serialRead", 1, host_serial_read),
    JS_CFUNC_DEF("serialWrite", 1, host_serial_write),
    JS_CFUNC_DEF("clock", 0, host_clock),
    JS_CFUNC_DEF("reset", 0, host_reset),
    JS_CFUNC_DEF("sha256Reset", 0, host_sha256_reset),
    JS_CFUNC_DEF("sha256Update", 1, host_sha256_update),
    JS_CFUNC_DEF("sha256Digest", 1, host_sha256_digest),
    JS_CFUNC_DEF("usage", 1, host_usage),
    JS_CGETSET_DEF("flashBytes", host_flash_bytes, NULL),
    JS_PROP_INT32_DEF("eraseBytes", FLASH_ERASE_BYTES, 0),
};

void bindings_add(JSContext *context) {
  JSValue global = JS_GetGlobalObject(context), host = JS_NewObject(context);
  JS_SetPropertyFunctionList(context, host, functions, sizeof functions / sizeof *functions);
  JS_SetPropertyStr(context, host, "deviceClass", JS_NewString(context, board_class));
  JS_SetPropertyStr(context, global, "host", host);
  JS_FreeValue(context, global);
}
