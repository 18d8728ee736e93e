package wasm

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the walls of shutin_linux.go let through for the second tier: a compiler in a throwaway
// sandbox, and the program that it made.

// workFolder is where the compiler works: a memory file system of its own.
const workFolder = "/work"

// workSize bounds what the compiler can write, in all.
const workSize = "size=384m,nr_inodes=1000,mode=0700"

// toolFolders are the folders of the host that a compiler needs, as far as they are there.
func toolFolders() (dirs []string) {
	for _, dir := range []string{"/usr", "/bin", "/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// bindTools makes the compiler's folders below root, read-only, and an empty one to work in.
func bindTools(root string, asNobody bool) error {
	for _, dir := range toolFolders() {
		to := filepath.Join(root, dir)
		if link, err := os.Readlink(dir); err == nil { // /lib is usr/lib where /usr is merged
			if err := os.Symlink(link, to); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
		if err := remountReadOnly(to); err != nil {
			return fmt.Errorf("bind %s read-only: %w", dir, err)
		}
	}
	work := filepath.Join(root, workFolder)
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	options := workSize
	if asNobody {
		options += fmt.Sprintf(",uid=%d,gid=0", nobodyInside)
	}
	if err := unix.Mount("p3", work, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount a folder to compile in: %w", err)
	}
	return nil
}

// becomeNobody gives up being root. The system then forgets to end us with our node, so it is asked again.
func becomeNobody() error {
	if err := onAllThreads(unix.SYS_SETRESUID, nobodyInside, nobodyInside, nobodyInside); err != nil {
		return err
	}
	return onAllThreads(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0)
}

// nativeBuildLimits are those of each process of a compiler.
func nativeBuildLimits(s *setup, limits map[int]uint64) {
	limits[unix.RLIMIT_DATA] = 2 << 30
	limits[unix.RLIMIT_FSIZE] = 256 << 20
	limits[unix.RLIMIT_CPU] = uint64(s.CPU)
	limits[unix.RLIMIT_NPROC] = 64 // threads count
	limits[unix.RLIMIT_NOFILE] = 64
}

// compilerCalls are what a compiler needs besides what a worker does.
var compilerCalls = []string{
	"execve", "vfork", "wait4", "waitid", "pidfd_open", "pidfd_send_signal", "dup", "dup2", "dup3", "pipe", "fchdir", "chdir", "getcwd",
	"open", "stat", "lstat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "unlink", "unlinkat", "rename", "renameat", "renameat2",
	"chmod", "fchmod", "fchmodat", "umask", "ftruncate", "getdents64", "mkdirat", "mremap", "sysinfo", "getrusage", "prlimit64", "getrlimit", "setrlimit",
	"getuid", "geteuid", "getgid", "getegid", "getppid", "times", "time", "arch_prctl", "set_tid_address", "pwrite64", "fadvise64", "ioctl",
}

// nativeCalls are what Go needs to start a program of ours, and that needs to start; the
// program itself leaves itself fewer.
var nativeCalls = []string{
	"execve", "read", "write", "close", "fstat", "newfstatat", "fcntl",
	"munmap", "mprotect", "mremap", "madvise", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill",
	"futex", "nanosleep", "clock_gettime", "sched_yield", "epoll_pwait", "epoll_wait", "epoll_ctl", "recvmsg", "recvfrom",
	"getpid", "gettid", "getrandom", "readlinkat", "exit", "exit_group",
}

// spareThreads are more than Go needs between the filter and execve, also when a call is slow on a busy machine.
const spareThreads = 8

// startThreads has the runtime start n threads now. It keeps them, and takes one of them when it needs another.
func startThreads(n int) {
	var started, ended sync.WaitGroup
	started.Add(n)
	for range n {
		ended.Go(func() {
			runtime.LockOSThread() // so that each has its own
			defer runtime.UnlockOSThread()
			started.Done()
			started.Wait()
		})
	}
	ended.Wait()
}

// become turns this process into the native program once the node has seen to its priority.
func (c *worker) become() error {
	if err := complete(c.walls); err != nil {
		return err
	}
	var next toWorker
	if err := readFrame(c.r, &next, maxToWorker); err != nil {
		return err
	}
	path := filepath.Join(c.setup.Modules, nativeFile)
	return fmt.Errorf("start %s: %w", path, syscall.Exec(path, []string{"p3-native"}, nil))
}
