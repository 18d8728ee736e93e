/* p3.h: what a C program needs as one unit of a job (WASI preview 1).
 *
 * A unit reads its input from stdin, writes its result to stdout, its files to /out and reads
 * shared files from /data. All of it works with plain C; these helpers only make it short.
 * Compile with: clang --target=wasm32-wasi --sysroot=/usr -O2 -msimd128 -mbulk-memory
 */
#ifndef P3_H
#define P3_H

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* p3_input reads all of stdin. The caller frees it; a zero byte follows the *len bytes.
 * NULL when memory or the read fails. */
static inline char *p3_input(size_t *len) {
	size_t have = 0, room = 4096;
	char *buf = malloc(room + 1);
	while (buf) {
		ssize_t n = read(0, buf + have, room - have);
		if (n <= 0) {
			if (n < 0) {
				free(buf);
				return NULL;
			}
			buf[have] = 0;
			*len = have;
			return buf;
		}
		have += (size_t)n;
		if (have == room) {
			char *more = realloc(buf, 2 * room + 1);
			if (!more)
				free(buf);
			buf = more;
			room *= 2;
		}
	}
	return NULL;
}

/* p3_output writes len bytes of the result. It returns 0, or -1 when the output limit is reached. */
static inline int p3_output(const void *data, size_t len) {
	const char *p = data;
	while (len > 0) {
		ssize_t n = write(1, p, len);
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

#endif
