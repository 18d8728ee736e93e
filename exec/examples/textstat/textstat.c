//go:build ignore

/* textstat counts what is in a text: its bytes, lines, words, longest line and commonest letters, and its
 * SHA-256 (FIPS 180-4), so that one glance tells whether two copies are the same.
 *
 * stdin:  the text, any bytes
 * stdout: one line, "bytes=… lines=… words=… longest=… letters=e:12.1%,t:9.0%,… sha256=…"
 */
#include <stdint.h>
#include <string.h>

#include "p3.h"

static const uint32_t K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void block(const uint8_t *p) {
	uint32_t w[64], s[8];
	for (int i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
		       (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(s, state, sizeof s);
	for (int i = 0; i < 64; i++) {
		uint32_t t1 = s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + K[i] + w[i];
		uint32_t t2 = (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
		memmove(s + 1, s, 7 * sizeof *s);
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		state[i] += s[i];
}

static void sha256(const uint8_t *p, size_t len) {
	uint8_t last[128] = {0};
	size_t rest = len % 64, tail = rest < 56 ? 64 : 128;
	for (size_t i = 0; i + 64 <= len; i += 64)
		block(p + i);
	memcpy(last, p + len - rest, rest);
	last[rest] = 0x80;
	for (int i = 0; i < 8; i++)
		last[tail - 1 - i] = (uint8_t)((uint64_t)len * 8 >> 8 * i);
	for (size_t i = 0; i < tail; i += 64)
		block(last + i);
}

static char out[512], *at = out;

static void text(const char *s) {
	while (*s)
		*at++ = *s++;
}

static void number(size_t n) {
	if (n >= 10)
		number(n / 10);
	*at++ = (char)('0' + n % 10);
}

int main(void) {
	size_t len, lines = 0, words = 0, longest = 0, line = 0, letters[26] = {0}, all = 0;
	const uint8_t *in = (const uint8_t *)p3_input(&len);
	if (!in)
		return 1;
	int inside = 0;
	for (size_t i = 0; i < len; i++) {
		uint8_t c = in[i], low = c | 32;
		int space = c == ' ' || (c >= '\t' && c <= '\r');
		words += !space && !inside;
		inside = !space;
		if (c == '\n') {
			lines++;
			line = 0;
		} else if (++line > longest)
			longest = line;
		if (low >= 'a' && low <= 'z') {
			letters[low - 'a']++;
			all++;
		}
	}
	text("bytes="), number(len), text(" lines="), number(lines), text(" words="), number(words);
	text(" longest="), number(longest), text(" letters=");
	for (int k = 0; k < 5; k++) { /* the five commonest, in tenths of a percent */
		int best = 0;
		for (int i = 1; i < 26; i++)
			if (letters[i] > letters[best])
				best = i;
		if (!letters[best])
			break;
		size_t share = (size_t)((letters[best] * 1000ull + all / 2) / all);
		if (k)
			*at++ = ',';
		*at++ = (char)('a' + best), *at++ = ':';
		number(share / 10), *at++ = '.', number(share % 10), *at++ = '%';
		letters[best] = 0;
	}
	text(" sha256=");
	sha256(in, len);
	for (int i = 0; i < 64; i++)
		*at++ = "0123456789abcdef"[state[i / 8] >> (28 - i % 8 * 4) & 15];
	*at++ = '\n';
	return p3_output(out, (size_t)(at - out)) < 0;
}
