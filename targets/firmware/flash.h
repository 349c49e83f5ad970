/* SPI NOR flash by the commands every part has: read, page program, 4 KiB erase. All return 0, or -1 for a range outside the part. */
#pragma once
#include <stdint.h>

#define FLASH_ERASE_BYTES 4096u
#define FLASH_PAGE_BYTES 256u

/* Asks the part for its size. */
void flash_init(void);
uint32_t flash_size(void);
int flash_read(uint32_t offset, uint8_t *into, uint32_t length);
int flash_erase(uint32_t offset);
int flash_program(uint32_t offset, const uint8_t *bytes, uint32_t length);
