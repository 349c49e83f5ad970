/* How deep the stack ever was: its unused part is painted at the start. */
#pragma once
#include <stddef.h>

void stack_paint(void);
size_t stack_size(void);
size_t stack_peak(void);
