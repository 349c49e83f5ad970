#include "flash.h"

#include "board.h"

enum { WRITE_STATUS = 0x01, PROGRAM = 0x02, READ = 0x03, STATUS = 0x05, WRITE_ENABLE = 0x06, ERASE_4K = 0x20, IDENTIFY = 0x9f };
#define BUSY 1u

static uint32_t size;

static void command(uint8_t code) { board_spi_send(&code, 1, 0, 0); }

static void wait_ready(void) {
  const uint8_t code = STATUS;
  uint8_t status;
  do board_spi_transfer(&code, 1, &status, 1);
  while (status & BUSY);
}

static void addressed(uint8_t *into, uint8_t code, uint32_t offset) {
  into[0] = code;
  into[1] = (uint8_t)(offset >> 16);
  into[2] = (uint8_t)(offset >> 8);
  into[3] = (uint8_t)offset;
}

static int outside(uint32_t offset, uint32_t length) { return length > size || offset > size - length; }

void flash_init(void) {
  const uint8_t code = IDENTIFY;
  uint8_t id[3];
  board_spi_transfer(&code, 1, id, sizeof id);
  /* JEDEC: the third byte is the size as a power of two; SST's older parts count from elsewhere. */
  size = id[0] == 0xbf && id[2] == 0x4a ? 4u << 20 : id[2] >= 16 && id[2] <= 24 ? 1u << id[2] : 0;
  /* Some parts wake up with every block protected. */
  const uint8_t unprotect[2] = {WRITE_STATUS, 0};
  command(WRITE_ENABLE);
  board_spi_send(unprotect, 1, unprotect + 1, 1);
  wait_ready();
}

uint32_t flash_size(void) { return size; }

int flash_read(uint32_t offset, uint8_t *into, uint32_t length) {
  uint8_t head[4];
  if (outside(offset, length)) return -1;
  addressed(head, READ, offset);
  board_spi_transfer(head, sizeof head, into, length);
  return 0;
}

int flash_erase(uint32_t offset) {
  uint8_t head[4];
  if (offset % FLASH_ERASE_BYTES || outside(offset, FLASH_ERASE_BYTES)) return -1;
  addressed(head, ERASE_4K, offset);
  command(WRITE_ENABLE);
  board_spi_send(head, sizeof head, 0, 0);
  wait_ready();
  return 0;
}

int flash_program(uint32_t offset, const uint8_t *bytes, uint32_t length) {
  uint8_t head[4];
  if (outside(offset, length)) return -1;
  while (length > 0) {
    /* A program that crosses a page end would wrap to its start. */
    uint32_t run = FLASH_PAGE_BYTES - offset % FLASH_PAGE_BYTES;
    if (run > length) run = length;
    addressed(head, PROGRAM, offset);
    command(WRITE_ENABLE);
    board_spi_send(head, sizeof head, bytes, run);
    wait_ready();
    offset += run;
    bytes += run;
    length -= run;
  }
  return 0;
}
