/* The receive ring between the UART's interrupt and the program. */
#pragma once
#include <stdint.h>

/* From the interrupt: takes one byte, or counts it as lost when the ring is full. */
void serial_received(uint8_t byte);
/* Takes up to `length` bytes that have arrived; 0 when there are none. */
uint32_t serial_read(uint8_t *into, uint32_t length);
/* Bytes lost to a full ring since the start. */
uint32_t serial_lost(void);
