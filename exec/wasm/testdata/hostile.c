// What a guest may try against its host and its limits: the first argument says what.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "descriptors")) { // as many as there are, on a host file and on one of its own
		int n = 0, fd;
		while ((fd = open(n % 2 ? "/in/a" : "/tmp/b", n % 2 ? O_RDONLY : O_CREAT | O_RDWR, 0644)) >= 0) n++;
		printf("%d: %s\n", n, strerror(errno));
		for (fd = 4; fd < 4 + n; fd++) close(fd);
		printf("%d\n", open("/in/a", O_RDONLY));
	} else if (!strcmp(what, "fill")) { // one operator that takes a second
		size_t pages = 32000;
		if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1) return 1;
		memset((char *)((__builtin_wasm_memory_size(0) - pages) << 16), 1, pages << 16);
	} else if (!strcmp(what, "sizes")) { // claims of sizes that are not there
		char b[8];
		printf("%zd %s\n", write(1, (void *)0xfffffff0, 0xff), strerror(errno));
		printf("%zd %s\n", pread(3, b, 8, 0), strerror(errno));
		int fd = open("/tmp/x", O_CREAT | O_RDWR, 0644);
		printf("%lld\n", (long long)lseek(fd, 0x7fffffffffffffff, SEEK_SET));
		printf("%zd %s\n", write(fd, b, 8), strerror(errno));
	} else {
		return 2;
	}
	return 0;
}
