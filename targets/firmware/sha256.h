/* SHA-256 (FIPS 180-4), incremental. A board with a hash engine puts its own file in this one's place. */
#pragma once
#include <stdint.h>

void sha256_reset(void);
void sha256_update(const uint8_t *bytes, uint32_t length);
/* 32 bytes. */
void sha256_digest(uint8_t *into);
