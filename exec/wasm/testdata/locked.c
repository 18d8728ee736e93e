// Tries one thing behind the last lock of native/runner.c, by the number of its argument; exits
// with 42 when that goes unpunished.
#define main runner
#include "runner.c"
#undef main
#include <fcntl.h>
#include <sys/socket.h>

void Z_m_init_module(void) {}
void Z_mZ__start(Z_m_instance_t *instance) { (void)instance; }

int main(int argc, char **argv) {
	char b[1] = {0};
	int what = argc > 1 ? atoi(argv[1]) : 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return 1;
	lock();
	switch (what) {
	case 0: /* what it may */
		(void)!write(SOCKET, b, 1);
		free(malloc(1 << 20));
		break;
	case 1: open("/", O_RDONLY); break;
	case 2: socket(AF_INET, SOCK_STREAM, 0); break;
	case 3: syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); break;
	case 4: execve("/bin/true", argv, NULL); break;
	case 5: (void)!write(2, b, 1); break;
	case 6: (void)!read(0, b, 1); break;
	case 7: mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
	case 8: mprotect(P3_MEMORY, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC); break;
	case 9: mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0); break;
	case 10: kill(1, 0); break;
	case 11: syscall(SYS_fcntl, SOCKET, F_DUPFD, 0); break;
	case 12: syscall(0x40000000 + SYS_write, SOCKET, b, 1); break; /* by the x32 ABI */
	case 13: prctl(PR_SET_SECCOMP, 0, 0); break;
	default: return 2;
	}
	_exit(42);
}
