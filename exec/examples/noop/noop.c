//go:build ignore

/* noop does nothing: it measures what a unit costs beyond its own work. It has no libc. */
void _start(void) {}
