// The smallest command: what remains is the cost of running anything at all.
void _start(void) {}
