/*
 * ASPEED AST1030 evaluation board, as QEMU 7.2 models it (-M ast1030-evb): Cortex-M4F, UART5, SPI NOR on the FMC's first chip
 * select. QEMU 7.2 has no hash engine on this board. Registers: QEMU hw/ssi/aspeed_smc.c, hw/char/serial.c, ARMv7-M ARM B3.
 */
#include "../board.h"
#include "../serial.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* UART5, a 16550 with registers four bytes apart. */
#define UART(n) REGISTER(0x7e784000u + 4u * (n))
enum { DATA = 0, INTERRUPTS = 1, FIFO = 2, LINE_STATUS = 5 };
#define UART_IRQ 8
#define DATA_READY 1u
#define TRANSMIT_EMPTY 0x20u

/* FMC: in user mode the window's bytes go straight to the chip. */
#define FMC_CONFIG REGISTER(0x7e620000u)
#define FMC_CONTROL REGISTER(0x7e620010u)
#define FMC_WINDOW (*(volatile uint8_t *)0x80000000u)
enum { USER_MODE = 3, DESELECTED = 4 };

#define SYSTICK_CONTROL REGISTER(0xe000e010u)
#define SYSTICK_RELOAD REGISTER(0xe000e014u)
#define SYSTICK_VALUE REGISTER(0xe000e018u)
#define NVIC_ENABLE REGISTER(0xe000e100u)
#define VECTORS REGISTER(0xe000ed08u)
#define RESET_CONTROL REGISTER(0xe000ed0cu)
#define MPU_CONTROL REGISTER(0xe000ed94u)
#define MPU_BASE REGISTER(0xe000ed9cu)
#define MPU_ATTRIBUTES REGISTER(0xe000eda0u)
#define TICKS_PER_MS 200000u

extern char __stack[];
extern void _start(void);

static volatile uint32_t milliseconds;

static void systick_handler(void) { milliseconds++; }

static void uart_handler(void) {
  while (UART(LINE_STATUS) & DATA_READY) serial_received((uint8_t)UART(DATA));
}

static void fault_handler(void) { board_reset(); }

__attribute__((aligned(256))) static void (*const vectors[16 + UART_IRQ + 1])(void) = {
    [0] = (void (*)(void))__stack, [1] = _start,        [2] = fault_handler,    [3] = fault_handler,
    [4] = fault_handler,           [5] = fault_handler, [6] = fault_handler,    [15] = systick_handler,
    [16 + UART_IRQ] = uart_handler,
};

const char board_class[] = "ast1030-evb";

/* This part runs from RAM; as on one with flash, a write to code or constants must not go unseen. 64 KiB sub-regions. */
static void protect_code(void) {
  MPU_BASE = 0x10;
  MPU_ATTRIBUTES = 6u << 24 | (0xff00u << (RAM_BASE >> 16) & 0xff00u) | 18u << 1 | 1u;
  MPU_CONTROL = 5;
}

void board_init(void) {
  protect_code();
  VECTORS = (uint32_t)vectors;
  SYSTICK_RELOAD = TICKS_PER_MS - 1;
  SYSTICK_VALUE = 0;
  SYSTICK_CONTROL = 7;
  UART(FIFO) = 1;
  UART(INTERRUPTS) = 1;
  NVIC_ENABLE = 1u << UART_IRQ;
  FMC_CONFIG |= 1u << 16;
  FMC_CONTROL = USER_MODE | DESELECTED;
}

double board_clock(void) {
  uint32_t before, ticks;
  do {
    before = milliseconds;
    ticks = SYSTICK_VALUE;
  } while (before != milliseconds);
  return before + (double)(TICKS_PER_MS - 1 - ticks) / TICKS_PER_MS;
}

void board_serial_write(const uint8_t *bytes, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) {
    while (!(UART(LINE_STATUS) & TRANSMIT_EMPTY)) {
    }
    UART(DATA) = bytes[i];
  }
}

static void send(const uint8_t *bytes, uint32_t length) {
  for (uint32_t i = 0; i < length; i++) FMC_WINDOW = bytes[i];
}

void board_spi_transfer(const uint8_t *out, uint32_t out_length, uint8_t *in, uint32_t in_length) {
  FMC_CONTROL = USER_MODE;
  send(out, out_length);
  for (uint32_t i = 0; i < in_length; i++) in[i] = FMC_WINDOW;
  FMC_CONTROL = USER_MODE | DESELECTED;
}

void board_spi_send(const uint8_t *command, uint32_t command_length, const uint8_t *data, uint32_t length) {
  FMC_CONTROL = USER_MODE;
  send(command, command_length);
  send(data, length);
  FMC_CONTROL = USER_MODE | DESELECTED;
}

void board_wait(void) { __asm volatile("wfi"); }

_Noreturn void board_reset(void) {
  RESET_CONTROL = 0x05fa0004u;
  for (;;) {
  }
}
