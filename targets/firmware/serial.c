#include "serial.h"

/* A power of two. A frame of the mcu profile in console framing with room to spare. */
#ifndef SERIAL_RING
#define SERIAL_RING 2048
#endif

static volatile uint8_t ring[SERIAL_RING];
static volatile uint32_t head, tail, lost;

void serial_received(uint8_t byte) {
  if (head - tail == SERIAL_RING) {
    lost++;
    return;
  }
  ring[head % SERIAL_RING] = byte;
  head++;
}

uint32_t serial_read(uint8_t *into, uint32_t length) {
  uint32_t count = 0;
  while (count < length && tail != head) {
    into[count++] = ring[tail % SERIAL_RING];
    tail++;
  }
  return count;
}

uint32_t serial_lost(void) { return lost; }
