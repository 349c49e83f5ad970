#include "stack.h"

#include <stdint.h>

extern char __heap_end[], __stack[];

#define PAINT 0x7e57ac5eu

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
