#include "sha256.h"

#include <string.h>

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t state[8];
static uint8_t block[64];
static uint64_t total;

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

static void compress(const uint8_t *in) {
  uint32_t w[16], v[8];
  memcpy(v, state, sizeof v);
  for (int i = 0; i < 64; i++) {
    uint32_t word;
    if (i < 16) {
      memcpy(&word, in + 4 * i, 4);
      word = __builtin_bswap32(word);
    } else {
      const uint32_t a = w[(i + 1) & 15], b = w[(i + 14) & 15];
      word = w[i & 15] + w[(i + 9) & 15] + (ROTATE(a, 7) ^ ROTATE(a, 18) ^ (a >> 3)) + (ROTATE(b, 17) ^ ROTATE(b, 19) ^ (b >> 10));
    }
    w[i & 15] = word;
    const uint32_t e = v[4], a = v[0];
    const uint32_t t1 = v[7] + (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + ((e & v[5]) ^ (~e & v[6])) + K[i] + word;
    const uint32_t t2 = (ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
    memmove(v + 1, v, 7 * sizeof *v);
    v[4] += t1;
    v[0] = t1 + t2;
  }
  for (int i = 0; i < 8; i++) state[i] += v[i];
}

void sha256_reset(void) {
  static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  memcpy(state, initial, sizeof state);
  total = 0;
}

void sha256_update(const uint8_t *bytes, uint32_t length) {
  while (length > 0) {
    const uint32_t filled = total % 64, take = length < 64 - filled ? length : 64 - filled;
    memcpy(block + filled, bytes, take);
    total += take;
    bytes += take;
    length -= take;
    if (total % 64 == 0) compress(block);
  }
}

void sha256_digest(uint8_t *into) {
  const uint64_t bits = total * 8;
  static const uint8_t padding[64] = {0x80};
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  sha256_update(padding, 1 + (119 - total % 64) % 64);
  sha256_update(length, 8);
  for (int i = 0; i < 32; i++) into[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
