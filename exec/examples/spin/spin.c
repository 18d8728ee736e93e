//go:build ignore

/* spin never ends by itself: it shows that fuel, deadline and cancellation do. With input that begins with
 * 'm' it takes all the memory it can get first, with 'r' it recurses for ever, with 'o' it writes for ever. */
#include "p3.h"

static volatile unsigned turns;

__attribute__((noinline)) static unsigned deep(unsigned n) {
	volatile char frame[64];
	frame[n % 64] = (char)n;
	if (turns) /* it never is, but the compiler cannot know */
		return n;
	return deep(n + 1) + (unsigned)frame[n % 64];
}

int main(void) {
	size_t len;
	const char *how = p3_input(&len);
	if (how && *how == 'm')
		for (volatile char *p; (p = malloc(1 << 20));)
			*p = 1;
	if (how && *how == 'r')
		turns = deep(0);
	while (how && *how == 'o')
		(void)!p3_output("all work and no play makes jack a dull boy\n", 43);
	for (;;)
		turns++;
}
