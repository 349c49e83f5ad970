/* Objects made when the firmware was built lie in flash, where no reference to them can be counted. Flash lies below RAM. */
#pragma once
#include <stdint.h>

#define IN_RAM(pointer) ((uintptr_t)(pointer) >= RAM_BASE)
#define REF_UP(count) (IN_RAM(&(count)) ? ++(count) : 2)
#define REF_DOWN(count) (IN_RAM(&(count)) ? --(count) : 1)
#define REF_VALUE(count) (IN_RAM(&(count)) ? (count) : 2)
