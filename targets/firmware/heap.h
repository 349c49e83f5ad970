/* The JavaScript engine's heap: two-level segregated fit (Masmano et al., "TLSF", 2004), 4-byte units, one word of overhead. */
#pragma once
#include <stddef.h>

void heap_init(void *start, void *end);
void *heap_alloc(size_t size);
void heap_free(void *pointer);
void *heap_resize(void *pointer, size_t size);
size_t heap_usable(const void *pointer);
/* Bytes in use, overhead included, at most since the start or the last heap_restart_peak; and now. */
size_t heap_peak(void);
size_t heap_used(void);
