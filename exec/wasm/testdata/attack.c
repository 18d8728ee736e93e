// Tries, in the place of a native program, what its walls are to prevent: as a compiler that was
// taken over could have made it. Says "name errno" of each attempt on its socket; 0 is success.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void said(const char *name, long result) {
	char line[100];
	int n = snprintf(line, sizeof line, "%s %d\n", name, result < 0 ? errno : 0);
	(void)!write(3, line, n);
}

static void *const failed = MAP_FAILED;

static long map(size_t size, int prot, int flags) {
	void *p = mmap(NULL, size, prot, flags, -1, 0);
	if (p == failed) return -1;
	munmap(p, size);
	return 0;
}

int main(void) {
	said("control", write(3, "", 0)); // must work
	said("read-passwd", open("/etc/passwd", O_RDONLY));
	said("read-self", open("/cache/native", O_RDONLY));
	said("read-proc", open("/proc/version", O_RDONLY));
	said("write-file", open("/p3-was-here", O_CREAT | O_WRONLY, 0600));
	said("write-cache", open("/cache/p3-was-here", O_CREAT | O_WRONLY, 0600));
	said("socket", socket(AF_INET, SOCK_STREAM, 0));
	said("unix-socket", socket(AF_UNIX, SOCK_STREAM, 0));
	char *shell[] = {"sh", NULL};
	said("shell", execve("/bin/sh", shell, NULL));
	said("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	said("thread", syscall(SYS_clone, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND, 0, 0, 0, 0));
	said("ptrace", ptrace(PTRACE_TRACEME, 0, 0, 0));
	said("kill", kill(1, 0));
	said("mount", mount("p3", "/", "tmpfs", 0, ""));
	said("unshare", unshare(CLONE_NEWUSER));
	said("memfd", memfd_create("x", 0));
	said("much-memory", map(3ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS));
	said("shared-memory", map(1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
	said("grow-the-memory-file", syscall(SYS_ftruncate, 4, 1ul << 40));
	said("write-past-the-memory-file", syscall(SYS_pwrite64, 4, "x", 1, 1ul << 30));
	said("keep-a-file", syscall(SYS_fcntl, 4, F_ADD_SEALS, 0));
	said("trace-others", syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
	said("bpf", syscall(SYS_bpf, 0, NULL, 0));
	said("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
	said("io_uring", syscall(SYS_io_uring_setup, 1, NULL));
	return 0;
}
