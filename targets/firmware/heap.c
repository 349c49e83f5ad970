#include "heap.h"

#include <stdint.h>
#include <string.h>

/* `size` counts the whole block in bytes, a multiple of 4; its low bits say whether this block and the one before it are free. A free
 * block keeps its list links in its payload and its size in its last word, where the block behind finds it. */
typedef struct Block {
  uint32_t size;
  struct Block *next, *previous;
} Block;
#define FREE 1u
#define PREVIOUS_FREE 2u
#define SIZE(b) ((b)->size & ~3u)
#define BEHIND(b) ((Block *)((char *)(b) + SIZE(b)))
#define PAYLOAD(b) ((void *)((char *)(b) + 4))
#define BLOCK(p) ((Block *)((char *)(p) - 4))
#define SMALLEST 16u

/* 8 classes to each power of two, from 2^4 to 2^20. */
#define LEVELS 17
static Block *lists[LEVELS][8];
static uint8_t second[LEVELS];
static uint32_t first;
static size_t used, peak;

static void class_of(uint32_t size, unsigned *level, unsigned *part) {
  const unsigned top = 31u - (unsigned)__builtin_clz(size);
  *level = top - 4;
  *part = (size >> (top - 3)) & 7;
}

static void insert(Block *block, uint32_t size) {
  unsigned level, part;
  class_of(size, &level, &part);
  block->size = size | FREE | (block->size & PREVIOUS_FREE);
  *(uint32_t *)((char *)block + size - 4) = size;
  BEHIND(block)->size |= PREVIOUS_FREE;
  block->previous = NULL;
  block->next = lists[level][part];
  if (block->next) block->next->previous = block;
  lists[level][part] = block;
  second[level] |= (uint8_t)(1u << part);
  first |= 1u << level;
}

static void unlink_block(Block *block) {
  unsigned level, part;
  class_of(SIZE(block), &level, &part);
  if (block->next) block->next->previous = block->previous;
  if (block->previous) {
    block->previous->next = block->next;
  } else if (!(lists[level][part] = block->next) && !(second[level] &= (uint8_t)~(1u << part))) {
    first &= ~(1u << level);
  }
  block->size &= ~FREE;
  BEHIND(block)->size &= ~PREVIOUS_FREE;
}

static Block *find(uint32_t size) {
  unsigned level, part;
  class_of(size, &level, &part);
  /* The own class may hold a block that is large enough: worth a look where memory is short. */
  for (Block *block = lists[level][part]; block; block = block->next)
    if (SIZE(block) >= size) return block;
  uint32_t parts = part == 7 ? 0 : second[level] & (0xfeu << part);
  if (!parts) {
    const uint32_t levels = first & (~1u << level);
    if (!levels) return NULL;
    level = (unsigned)__builtin_ctz(levels);
    parts = second[level];
  }
  return lists[level][__builtin_ctz(parts)];
}

static uint32_t block_size(size_t size) {
  const uint32_t whole = (uint32_t)((size + 4 + 3) & ~(size_t)3);
  return whole < SMALLEST ? SMALLEST : whole;
}

/* Cuts a block in use down to `size` bytes; what is left over joins the free block behind it. */
static void trim(Block *block, uint32_t size) {
  uint32_t rest = SIZE(block) - size;
  Block *behind = BEHIND(block);
  if (rest < SMALLEST && !(rest > 0 && behind->size & FREE)) return;
  if (behind->size & FREE) {
    rest += SIZE(behind);
    unlink_block(behind);
  }
  block->size -= SIZE(block) - size;
  Block *left = BEHIND(block);
  left->size = 0;
  insert(left, rest);
}

static void account(int32_t change) {
  used += (size_t)change;
  if (used > peak) peak = used;
}

void heap_init(void *start, void *end) {
  Block *block = start;
  const uint32_t size = (uint32_t)((char *)end - (char *)start) & ~3u;
  /* A block in use, without payload, ends the heap. */
  block->size = size - 4;
  BEHIND(block)->size = 4;
  insert(block, size - 4);
}

void *heap_alloc(size_t size) {
  if (size == 0 || size > 1u << 20) return NULL;
  const uint32_t wanted = block_size(size);
  Block *block = find(wanted);
  if (!block) return NULL;
  unlink_block(block);
  trim(block, wanted);
  account((int32_t)SIZE(block));
  return PAYLOAD(block);
}

void heap_free(void *pointer) {
  if (!pointer) return;
  Block *block = BLOCK(pointer);
  uint32_t size = SIZE(block);
  account(-(int32_t)size);
  if (BEHIND(block)->size & FREE) {
    size += SIZE(BEHIND(block));
    unlink_block(BEHIND(block));
  }
  if (block->size & PREVIOUS_FREE) {
    block = (Block *)((char *)block - ((uint32_t *)block)[-1]);
    size += SIZE(block);
    unlink_block(block);
  }
  insert(block, size);
}

void *heap_resize(void *pointer, size_t size) {
  if (!pointer) return heap_alloc(size);
  if (size == 0) {
    heap_free(pointer);
    return NULL;
  }
  Block *block = BLOCK(pointer), *behind = BEHIND(block);
  const uint32_t old = SIZE(block), wanted = block_size(size);
  if (wanted > old && behind->size & FREE && old + SIZE(behind) >= wanted) {
    block->size += SIZE(behind);
    unlink_block(behind);
  }
  if (SIZE(block) >= wanted) {
    trim(block, wanted);
    account((int32_t)SIZE(block) - (int32_t)old);
    return pointer;
  }
  void *moved = heap_alloc(size);
  if (!moved) return NULL;
  memcpy(moved, pointer, old - 4);
  heap_free(pointer);
  return moved;
}

size_t heap_usable(const void *pointer) { return pointer ? SIZE(BLOCK(pointer)) - 4 : 0; }
size_t heap_peak(void) { return peak; }
size_t heap_used(void) { return used; }
