/* What a board gives the port: a port to another microcontroller is one file in boards/ that defines these. */
#pragma once
#include <stdint.h>

/* The class of device that patches are made for. */
extern const char board_class[];

/* Clocks, pins, vectors, UART with its receive interrupt, SPI. Called once, before anything else. */
void board_init(void);

/* Milliseconds since board_init, with a fraction where the clock has one. */
double board_clock(void);

/* Sends all of it, waiting as long as it takes. */
void board_serial_write(const uint8_t *bytes, uint32_t length);

/* One transfer on the flash chip's bus: chip select low, `out` sent, `in` received, chip select high. */
void board_spi_transfer(const uint8_t *out, uint32_t out_length, uint8_t *in, uint32_t in_length);
/* The same, with a second run of bytes sent behind the first: a command and its data. */
void board_spi_send(const uint8_t *command, uint32_t command_length, const uint8_t *data, uint32_t length);

/* Sleeps until an interrupt, a clock tick at the latest. */
void board_wait(void);

/* Something cannot be gone on with: starts the program anew, or stops where a debugger finds it. */
_Noreturn void board_reset(void);
