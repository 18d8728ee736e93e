package wasm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// shutIn puts the walls up around this process, from the outermost to the innermost. A wall
// that this system does not have is reported and left out; the others stand.
func shutIn(s *setup) (walls []Protection) {
	if s.Native {
		startThreads(spareThreads) // the filter lets it start none until it is another program
	}
	add := func(name string, err error) { walls = append(walls, held(name, err)) }

	none := errors.New("the system does not let us make user namespaces, or p3 was built with cgo")
	if s.Spaces {
		none = nil
	}
	add("namespaces (user, mount, network, PID, IPC, UTS)", none)
	if s.Spaces {
		add("own root without host files", jail(s))
	} else {
		add("own root without host files", none)
	}
	if s.Nobody {
		add("own user", becomeNobody())
	}
	add("resource limits", limitResources(s))
	add("no new privileges", onAllThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0))
	add("no capabilities", dropCapabilities())
	add("Landlock", restrictFiles(s))
	add("seccomp", filterCalls(s))
	return walls
}

// onAllThreads makes a system call on every thread of this process, as some of its attributes
// belong to threads.
func onAllThreads(call, a, b, c uintptr) error {
	if _, _, e := psx.Syscall3(call, a, b, c); e != 0 {
		return e
	}
	return nil
}

// folder is the one folder of the host that a worker sees.
func (s *setup) folder() (path *string, readOnly bool) {
	if s.Build != "" {
		return &s.Build, false
	}
	return &s.Modules, true
}

// jail makes an empty memory file system the root of this process, with the worker's one
// folder of the cache in it.
func jail(s *setup) error {
	folder, readOnly := s.folder()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if *folder != "" {
		if err := os.Chdir(*folder); err != nil { // holds on to it when the mount below hides it
			return err
		}
	}
	const root = "/tmp"
	if err := unix.Mount("p3", root, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=64k,mode=0755"); err != nil {
		return fmt.Errorf("mount an empty root: %w", err)
	}
	if s.Compile {
		if err := bindTools(root, s.Nobody); err != nil {
			return err
		}
	}
	if *folder != "" {
		const inside = root + "/cache"
		if err := os.Mkdir(inside, 0o700); err != nil {
			return err
		}
		if err := unix.Mount(".", inside, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind the cache: %w", err)
		}
		if readOnly {
			if err := remountReadOnly(inside); err != nil {
				return fmt.Errorf("bind the cache read-only: %w", err)
			}
		}
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("drop the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if *folder != "" {
		*folder = "/cache"
	}
	return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// remountReadOnly keeps the flags a mount has: in a user namespace they are locked.
func remountReadOnly(path string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return err
	}
	const locked = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME
	flags := uintptr(st.Flags)&locked | unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY
	return unix.Mount("", path, "", flags, "")
}

// limitResources bounds what a worker can take from the machine, whatever runs in it.
func limitResources(s *setup) error {
	const (
		overhead = 1 << 30 // the worker itself, and its output
		building = 3 << 30 // a program of 64 MiB being compiled; no guest runs then
	)
	limits := map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_NOFILE: 512,
		unix.RLIMIT_DATA:   uint64(s.Memory) + overhead,
	}
	switch {
	case s.Compile:
		nativeBuildLimits(s, limits)
	case s.Build != "":
		limits[unix.RLIMIT_DATA] = building
		limits[unix.RLIMIT_FSIZE] = 1 << 30
		limits[unix.RLIMIT_CPU] = uint64(s.CPU)
	case s.Native: // its memory is a file of fixed size, which does not count; this is for stack and tables
		limits[unix.RLIMIT_DATA] = overhead
		limits[unix.RLIMIT_FSIZE] = 0
	case !s.Streams:
		limits[unix.RLIMIT_FSIZE] = 0
	}
	for what, most := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(what, &now); err != nil {
			return err
		}
		most = min(most, now.Max)
		if err := unix.Setrlimit(what, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return err
		}
	}
	return nil
}

// dropCapabilities gives up all capabilities, on every thread: those of its user namespace, or,
// run as root without one, those of the machine.
func dropCapabilities() error {
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if err := onAllThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); err != nil &&
			!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) { // unknown here, or we had none
			return err
		}
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	err := onAllThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&none[0])), 0)
	runtime.KeepAlive(&head)
	runtime.KeepAlive(&none)
	return err
}

// restrictFiles lets the worker use its one folder and no other file, and no TCP.
func restrictFiles(s *setup) error {
	abi, err := llsys.LandlockGetABIVersion()
	if err != nil || abi < 1 {
		return errors.New("not in this kernel: it came with Linux 5.13 and must be enabled")
	}
	folder, readOnly := s.folder()
	var rules []landlock.Rule
	switch {
	case s.Compile:
		rules = append(rules, landlock.RODirs(toolFolders()...), landlock.RWDirs(workFolder))
	case *folder == "":
	case readOnly:
		rules = append(rules, landlock.RODirs(*folder))
	default:
		rules = append(rules, landlock.RWDirs(*folder))
	}
	return landlock.V6.BestEffort().Restrict(rules...)
}

// filterCalls leaves the system calls that Go's runtime and the worker's own work need. There
// is none to start a program, to make a process or a socket, to trace, or to mount.
func filterCalls(s *setup) error {
	names := []string{
		"read", "write", "readv", "writev", "pread64", "close", "fstat", "newfstatat", "lseek", "openat", "fcntl",
		"recvmsg", "sendmsg", "recvfrom", "sendto", "shutdown", "getsockopt",
		"mmap", "munmap", "mprotect", "madvise", "mincore", "brk",
		"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "tgkill", "restart_syscall",
		"futex", "nanosleep", "clock_nanosleep", "clock_gettime", "gettimeofday", "sched_yield", "sched_getaffinity",
		"epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd2", "pipe2", "ppoll",
		"getpid", "gettid", "getrandom", "uname", "exit", "exit_group", "set_robust_list", "rseq", "membarrier",
	}
	if s.Build != "" {
		names = append(names, "mkdirat", "renameat", "renameat2", "unlinkat", "fsync", "ftruncate", "fchmod", "getdents64")
	}
	only := func(name string, arg uint32, op seccomp.Operation, value uint64) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: seccomp.ArgumentConditions{{Argument: arg, Operation: op, Value: value}}}
	}
	conditions := []seccomp.NameWithConditions{only("prctl", 0, seccomp.Equal, unix.PR_SET_VMA)}
	groups := []seccomp.SyscallGroup{{Action: seccomp.ActionAllow}}
	switch {
	case s.Native:
		names = nativeCalls
		conditions = append(conditions,
			only("prctl", 0, seccomp.Equal, unix.PR_SET_SECCOMP), // to lock itself in further
			only("mmap", 3, seccomp.BitsNotSet, unix.MAP_ANON),   // no memory that the limits do not count
			only("mmap", 3, seccomp.BitsNotSet, unix.MAP_SHARED))
	case s.Compile:
		names = append(names, compilerCalls...)
		conditions = append(conditions, only("clone", 0, seccomp.BitsNotSet, unix.CLONE_NEWUSER))
		// Whoever is refused clone3 for not being there falls back to clone.
		groups = append(groups, seccomp.SyscallGroup{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}})
	default:
		conditions = append(conditions, only("clone", 0, seccomp.BitsSet, unix.CLONE_THREAD))
	}
	known, err := knownCalls(names)
	if err != nil {
		return err
	}
	groups[0].Names, groups[0].NamesWithCondtions = known, conditions
	policy := seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: groups}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: policy})
}

// yield makes a started worker step back for everybody else: idle scheduling and nice 19 for
// each of its threads, and the lowest weight for its session's autogroup, without which the
// other two count for nothing against other sessions. group is the workers' cgroup, "" for none, and
// grouped says why it is not in one. A worker in the foreground stays as it is.
func yield(pid int, foreground bool, group string, grouped error) []Protection {
	if foreground {
		return nil
	}
	autogroup := setAutogroup(pid)
	return []Protection{
		held("idle scheduling", eachThread(pid, func(tid int) error {
			return unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: 19}, 0)
		})),
		held("nice 19", eachThread(pid, func(tid int) error { return unix.Setpriority(unix.PRIO_PROCESS, tid, 19) })),
		held("autogroup 19", autogroup),
		held("cgroup of the workers", grouped),
		held("little weight against other sessions", lowWeight(pid, group, autogroup)),
	}
}

// eachThread calls f for every thread, twice over: threads inherit from the one that makes
// them, so what appears during the first round was made by a thread not yet reached.
func eachThread(pid int, f func(tid int) error) error {
	for range 2 {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
		tasks, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := f(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

func setAutogroup(pid int) error {
	on, err := os.ReadFile("/proc/sys/kernel/sched_autogroup_enabled")
	if err != nil || strings.TrimSpace(string(on)) != "1" {
		return nil // without autogroups nice counts by itself
	}
	err = os.WriteFile(filepath.Join("/proc", strconv.Itoa(pid), "autogroup"), []byte("19"), 0)
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("%w: the system allows one change in 100 ms", err)
	}
	return err
}

// knownCalls leaves out names that this machine's architecture does not have.
func knownCalls(names []string) (known []string, err error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, ok := info.SyscallNames[name]; ok {
			known = append(known, name)
		}
	}
	return known, nil
}
