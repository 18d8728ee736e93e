// One program for many tests: the first argument says what it does.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int copy(const char *from, const char *to) {
	FILE *in = fopen(from, "rb");
	if (!in) { perror(from); return 1; }
	FILE *out = fopen(to, "wb");
	if (!out) { perror(to); return 1; }
	char buf[4096];
	size_t n;
	while ((n = fread(buf, 1, sizeof buf, in)) > 0) fwrite(buf, 1, n, out);
	fclose(in);
	return fclose(out) != 0;
}

static void list(const char *dir) {
	DIR *d = opendir(dir);
	if (!d) { perror(dir); return; }
	struct dirent *e;
	while ((e = readdir(d))) {
		char path[1024];
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (stat(path, &st)) { perror(path); continue; }
		printf("%s %d %lld %lld\n", path, S_ISDIR(st.st_mode), (long long)st.st_size, (long long)st.st_mtime);
	}
	closedir(d);
}

static volatile int sink;
static char *volatile keep;
__attribute__((noinline)) static int deep(int n) { volatile char pad[64]; pad[0] = n; return deep(n + 1) + pad[0]; }

static void try_open(const char *path, int flags) {
	int fd = open(path, flags, 0644);
	printf("%s: %s\n", path, fd < 0 ? strerror(errno) : "opened");
	if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
	const char *what = argc > 1 ? argv[1] : "";
	if (!strcmp(what, "echo")) {
		for (int i = 0; i < argc; i++) printf("%s\n", argv[i]);
		const char *v = getenv("COLOUR");
		printf("COLOUR=%s\n", v ? v : "(unset)");
	} else if (!strcmp(what, "cat")) {
		char buf[1000];
		size_t n;
		while ((n = fread(buf, 1, sizeof buf, stdin)) > 0) fwrite(buf, 1, n, stdout);
	} else if (!strcmp(what, "copy")) {
		mkdir("/out/sub", 0777);
		return copy("/in/a.txt", "/out/sub/a.txt") | copy("/data/deep/er/b.bin", "/out/b.bin") | copy("/in/a.txt", "out/c.txt");
	} else if (!strcmp(what, "ls")) {
		for (int i = 2; i < argc; i++) list(argv[i]);
	} else if (!strcmp(what, "exit")) {
		return atoi(argv[2]);
	} else if (!strcmp(what, "trap")) {
		__builtin_trap();
	} else if (!strcmp(what, "loop")) {
		for (;;) sink++;
	} else if (!strcmp(what, "work")) {
		for (long i = atol(argv[2]); i > 0; i--) sink += i;
	} else if (!strcmp(what, "bomb")) {
		size_t total = 0;
		for (char *p; (p = malloc(1 << 20)); total++) keep = memset(p, 1, 1 << 20);
		printf("%zu MiB\n", total);
	} else if (!strcmp(what, "flood")) {
		for (;;) puts("the same line over and over");
	} else if (!strcmp(what, "floodfile")) {
		FILE *f = fopen("/out/big", "wb");
		char buf[65536] = {0};
		for (;;) fwrite(buf, 1, sizeof buf, f);
	} else if (!strcmp(what, "unlinked")) {
		char buf[65536] = {0};
		for (int i = 0; i < 100; i++) {
			int fd = open("/tmp/x", O_CREAT | O_RDWR, 0644);
			for (int k = 0; k < 4; k++) write(fd, buf, sizeof buf);
			unlink("/tmp/x");
		}
	} else if (!strcmp(what, "many")) {
		for (int i = 0; ; i++) {
			char name[32];
			snprintf(name, sizeof name, "/out/%d", i);
			close(open(name, O_CREAT | O_RDWR, 0644));
		}
	} else if (!strcmp(what, "deep")) {
		return deep(0);
	} else if (!strcmp(what, "escape")) {
		try_open("/etc/passwd", O_RDONLY);
		try_open("../etc/passwd", O_RDONLY);
		try_open("/in/../../etc/passwd", O_RDONLY);
		try_open("/proc/self/environ", O_RDONLY);
		printf("symlink: %s\n", symlink("/etc", "/out/etc") ? strerror(errno) : "made");
		try_open("/out/etc/passwd", O_RDONLY);
		printf("link: %s\n", link("/in/a.txt", "/out/a") ? strerror(errno) : "made");
		printf("rename: %s\n", rename("/in/a.txt", "/out/a") ? strerror(errno) : "moved");
		try_open("/in/a.txt", O_RDWR);
		try_open("/in/new", O_CREAT | O_RDWR);
		try_open("/new", O_CREAT | O_RDWR);
		try_open("/out/a:b", O_CREAT | O_RDWR);
		try_open("/out/a\\b", O_CREAT | O_RDWR);
		try_open("/in/a.txt", O_RDONLY);
	} else if (!strcmp(what, "clock")) {
		struct timespec a, b;
		clock_gettime(CLOCK_REALTIME, &a);
		struct timespec nap = {3600, 5};
		nanosleep(&nap, 0);
		clock_gettime(CLOCK_REALTIME, &b);
		printf("%lld %lld.%09ld\n", (long long)(b.tv_sec - a.tv_sec), (long long)a.tv_sec, a.tv_nsec);
	} else if (!strcmp(what, "random")) {
		unsigned char r[16];
		getentropy(r, sizeof r);
		for (int i = 0; i < 16; i++) printf("%02x", r[i]);
		printf("\n");
	} else if (!strcmp(what, "files")) {
		FILE *f = fopen("/out/f", "w+");
		fputs("hello world", f);
		fseek(f, 6, SEEK_SET);
		char w[6] = {0};
		fread(w, 1, 5, f);
		fseek(f, 0, SEEK_SET);
		fputs("J", f);
		fclose(f);
		f = fopen("/out/f", "a");
		fputs("!", f);
		fclose(f);
		printf("%s\n", w);
		printf("%d %d %d\n", mkdir("/out/d", 0777), mkdir("/out/d/e", 0777), rmdir("/out/d"));
		printf("%d %d\n", rename("/out/f", "/out/d/e/g"), rename("/out/d", "/out/d/e/d"));
		printf("%d %d\n", truncate("/out/d/e/g", 5), unlink("/out/nothing"));
		printf("%d\n", rmdir("/out/d/e"));
		f = fopen("/tmp/t", "w");
		fputs("gone", f);
		fclose(f);
		list("/tmp");
		char cwd[64];
		printf("%s\n", getcwd(cwd, sizeof cwd));
	} else if (!strcmp(what, "tty")) {
		printf("%d%d%d %ld\n", isatty(0), isatty(1), isatty(2), (long)lseek(1, 0, SEEK_CUR));
		for (int i = 0; i < 50; i++) printf("line %d\n", i);
	} else {
		return 2;
	}
	return 0;
}
