/* Runs a program that wasm2c turned into C, for a P3 worker at the other end of a socket.
 *
 * Started shut in, with descriptor 3 the socket and descriptor 4 the memory file, whose size
 * is the memory limit. It maps the file where linear memory lies, gives up all system calls
 * but those for its socket and its memory, and then runs units: everything that the program
 * imports is asked of the worker, which sees the same memory. A unit ends by a message, or by
 * the worker closing the socket. One program, one thread.
 *
 * Built with -DP3_DEPTH=<depth limit>, together with m.c and with stubs.h, which has one
 * function an import. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "m.h"

enum { SOCKET = 3, MEMORY = 4 };

/* Messages; the Go side is native.go. */
enum { REFUEL = 0x100, EXIT, READY, DONE, TRAP, FAULT };
enum { FAULT_MEMORY = 1, FAULT_STACK, FAULT_CRASH };

struct ask {
	uint32_t what; /* number of a host function, or one of the above */
	uint32_t pages;
	uint64_t fuel;
	uint64_t arg[9];
};

struct answer {
	uint32_t stop; /* the unit ends here */
	uint32_t result;
	uint64_t fuel;
};

#define PAGE (64ull << 10)
#define RESERVED (8ull << 30) /* a 32-bit address and a 32-bit offset */
#define STACK (256ull << 20)  /* for depth limit x the largest frames; touched as needed */
#define GUARD (64ull << 20)   /* below it; more than any frame */

static Z_m_instance_t instance;
static jmp_buf unit;
static uint64_t limit; /* bytes of memory */
static uint8_t *stack_guard;
static bool running; /* the instance is whole: _start has been called */
static wasm_rt_memory_t *memory;
static void **tables[128]; /* what the unit's tables hold */
static uint32_t table_count;

static void say(const char *why) {
	(void)!write(2, why, strlen(why));
	_exit(1);
}

static void ask(const struct ask *a) {
	if (write(SOCKET, a, sizeof *a) != sizeof *a) _exit(0); /* the worker is gone */
}

static struct answer hear(void) {
	struct answer b;
	size_t n = 0;
	while (n < sizeof b) {
		ssize_t got = read(SOCKET, (char *)&b + n, sizeof b - n);
		if (got <= 0) _exit(0);
		n += got;
	}
	return b;
}

static void tell(uint32_t what, uint64_t a, uint64_t b) {
	struct ask m = {.what = what, .fuel = instance.w2c_p3_fuel, .arg = {a, b, running}};
	ask(&m);
}

/* host asks the worker for what a program imports. */
static uint32_t host(uint32_t what, int n, ...) {
	struct ask m = {.what = what, .fuel = instance.w2c_p3_fuel};
	struct answer b;
	va_list args;
	va_start(args, n);
	for (int i = 0; i < n; i++) m.arg[i] = va_arg(args, uint64_t);
	va_end(args);
	m.pages = memory ? memory->pages : 0;
	ask(&m);
	b = hear();
	if (b.stop) _longjmp(unit, 1);
	instance.w2c_p3_fuel = b.fuel;
	return b.result;
}

u64 Z_p3Z_refuel(struct Z_p3_instance_t *p, u64 left) {
	(void)p;
	host(REFUEL, 1, (uint64_t)left);
	return instance.w2c_p3_fuel;
}

#include "stubs.h"

/* The runtime. */

bool wasm_rt_is_initialized(void) { return true; }

void wasm_rt_trap(wasm_rt_trap_t kind) {
	tell(TRAP, kind, instance.w2c_p3_depth);
	_longjmp(unit, 1);
}

static void fault(uint32_t what) {
	tell(FAULT, what, 0);
	_exit(1);
}

/* Function types by their signature, in a hash table: a hostile module has many. Numbers stay
 * the same from unit to unit. */
static struct type {
	uint64_t hash;
	uint32_t params, results;
	uint8_t *of;
} *types;
static uint32_t type_count, type_room;

uint32_t wasm_rt_register_func_type(uint32_t params, uint32_t results, ...) {
	uint8_t of[2048];
	uint64_t hash = 14695981039346656037ull ^ params;
	va_list args;
	if (params + results > sizeof of) say("a function type is too large\n");
	va_start(args, results);
	for (uint32_t i = 0; i < params + results; i++) {
		of[i] = (uint8_t)va_arg(args, wasm_rt_type_t);
		hash = (hash ^ (of[i] + 1)) * 1099511628211ull;
	}
	va_end(args);
	if (2 * type_count >= type_room) {
		uint32_t room = type_room ? 2 * type_room : 64;
		struct type *all = calloc(room, sizeof *all);
		if (!all) say("no memory for types\n");
		for (uint32_t i = 0; i < type_room; i++) {
			if (!types[i].of) continue;
			uint32_t at = types[i].hash & (room - 1);
			while (all[at].of) at = (at + 1) & (room - 1);
			all[at] = types[i];
		}
		free(types);
		types = all;
		type_room = room;
	}
	uint32_t at = hash & (type_room - 1);
	for (; types[at].of; at = (at + 1) & (type_room - 1)) {
		struct type *t = &types[at];
		if (t->hash == hash && t->params == params && t->results == results && !memcmp(t->of + 4, of, params + results)) {
			uint32_t n;
			memcpy(&n, t->of, 4);
			return n;
		}
	}
	uint8_t *copy = malloc(4 + params + results);
	if (!copy) say("no memory for types\n");
	uint32_t n = ++type_count;
	memcpy(copy, &n, 4);
	memcpy(copy + 4, of, params + results);
	types[at] = (struct type){hash, params, results, copy};
	return n;
}

/* usable lets the program touch memory up to a size. That the host is short of memory must not
 * show as a failed memory.grow, which other hosts would not see. */
static void usable(uint64_t from, uint64_t to) {
	if (to > from && mprotect(P3_MEMORY + from, to - from, PROT_READ | PROT_WRITE)) fault(FAULT_MEMORY);
}

void wasm_rt_allocate_memory(wasm_rt_memory_t *m, uint32_t pages, uint32_t max) {
	if (pages > max || max * PAGE > limit) fault(FAULT_MEMORY);
	usable(0, pages * PAGE);
	*m = (wasm_rt_memory_t){P3_MEMORY, pages, max, pages * PAGE};
	memory = m;
}

uint32_t wasm_rt_grow_memory(wasm_rt_memory_t *m, uint32_t delta) {
	uint32_t old = m->pages;
	if (delta > m->max_pages - old) return -1;
	usable(old * PAGE, (old + (uint64_t)delta) * PAGE);
	m->pages += delta;
	m->size = m->pages * PAGE;
	return old;
}

void wasm_rt_free_memory(wasm_rt_memory_t *m) { (void)m; }

#define TABLE(kind)                                                                                                     \
	void wasm_rt_allocate_##kind##_table(wasm_rt_##kind##_table_t *t, uint32_t n, uint32_t max) {                   \
		t->data = calloc(n ? n : 1, sizeof *t->data);                                                           \
		if (!t->data || table_count == sizeof tables / sizeof *tables) fault(FAULT_MEMORY);                     \
		t->size = n;                                                                                            \
		t->max_size = max;                                                                                      \
		tables[table_count++] = (void **)&t->data;                                                              \
	}                                                                                                               \
	void wasm_rt_free_##kind##_table(wasm_rt_##kind##_table_t *t) { (void)t; }                                      \
	uint32_t wasm_rt_grow_##kind##_table(wasm_rt_##kind##_table_t *t, uint32_t delta, wasm_rt_##kind##_t init) {    \
		uint32_t old = t->size;                                                                                 \
		if (delta > t->max_size - old) return -1;                                                               \
		if (delta == 0) return old;                                                                             \
		void *data = realloc(t->data, (old + (size_t)delta) * sizeof *t->data);                                 \
		if (!data) fault(FAULT_MEMORY);                                                                         \
		t->data = data;                                                                                         \
		t->size += delta;                                                                                       \
		for (uint32_t i = old; i < t->size; i++) t->data[i] = init;                                             \
		return old;                                                                                             \
	}

TABLE(funcref)
TABLE(externref)

/* trapped hears of faults: in linear memory they are traps of the program. */
static void trapped(int sig, siginfo_t *info, void *context) {
	uint8_t *at = info->si_addr;
	(void)context;
	if (sig == SIGSEGV && at >= P3_MEMORY && at < P3_MEMORY + RESERVED + PAGE) wasm_rt_trap(WASM_RT_TRAP_OOB);
	if (sig == SIGBUS) fault(FAULT_MEMORY); /* the system has no page to give */
	if (at >= stack_guard && at < stack_guard + GUARD) fault(FAULT_STACK);
	fault(FAULT_CRASH);
}

/* lock leaves the system calls that this file makes from here on. */
static void lock(void) {
#define RULE(code, jt, jf, k) {(code), (jt), (jf), (k)}
#define LOAD(field) RULE(BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(struct seccomp_data, field)) /* the low half */
#define RETURN(what) RULE(BPF_RET | BPF_K, 0, 0, (what))
#define IS(value, yes, no) RULE(BPF_JMP | BPF_JEQ | BPF_K, (yes), (no), (value))
#define HAS(bits, yes, no) RULE(BPF_JMP | BPF_JSET | BPF_K, (yes), (no), (bits))
#define ALLOW RETURN(SECCOMP_RET_ALLOW)
#define KILL RETURN(SECCOMP_RET_KILL_PROCESS)
	struct sock_filter rules[] = {
		LOAD(arch), IS(AUDIT_ARCH_X86_64, 1, 0), KILL,
		LOAD(nr),
		IS(__NR_munmap, 0, 1), ALLOW,
		IS(__NR_mremap, 0, 1), ALLOW,
		IS(__NR_brk, 0, 1), ALLOW,
		IS(__NR_exit, 0, 1), ALLOW,
		IS(__NR_exit_group, 0, 1), ALLOW,
		IS(__NR_read, 1, 0), IS(__NR_write, 0, 4), /* the socket only */
		LOAD(args[0]), IS(SOCKET, 0, 1), ALLOW, KILL,
		IS(__NR_mprotect, 3, 0), IS(__NR_mmap, 0, 5), /* memory of its own, and no code */
		LOAD(args[3]), HAS(MAP_SHARED, 3, 0),
		LOAD(args[2]), HAS(PROT_EXEC, 1, 0), ALLOW, KILL,
	};
	struct sock_fprog program = {sizeof rules / sizeof *rules, rules};
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) say("seccomp\n");
}

/* run runs units until the worker closes the socket. */
static void run(void) {
	lock();
	Z_m_init_module();
	for (;;) {
		while (table_count > 0) free(*tables[--table_count]);
		memset((void *)&instance, 0, sizeof instance);
		memory = NULL;
		running = false;
		/* The worker has made the memory zero; none of it may be touched before it is granted. */
		if (limit && mprotect(P3_MEMORY, limit, PROT_NONE)) fault(FAULT_CRASH);
		tell(READY, 0, 0);
		if (hear().stop) _exit(0);
		if (_setjmp(unit)) continue;
		P3_INSTANTIATE;
		running = true;
		instance.w2c_p3_depth = P3_DEPTH;
		Z_mZ__start(&instance);
		tell(DONE, 0, 0);
	}
}

int main(void) {
	struct stat st;
	static uint8_t signal_stack[64 << 10];
	stack_t alt = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
	struct sigaction act = {.sa_sigaction = trapped, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	ucontext_t here, there;

	close(0);
	close(1);
	if (fstat(MEMORY, &st)) say("stat of the memory file\n");
	limit = st.st_size;
	if (limit > RESERVED / 2) say("the memory file is too large\n");
	const int reserve = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	if (mmap(P3_MEMORY, RESERVED + PAGE, PROT_NONE, reserve | MAP_FIXED_NOREPLACE, -1, 0) != P3_MEMORY) say("reserve memory\n");
	if (limit && mmap(P3_MEMORY, limit, PROT_NONE, MAP_SHARED | MAP_FIXED, MEMORY, 0) != P3_MEMORY) say("map memory\n");
	close(MEMORY);
	stack_guard = mmap(NULL, GUARD + STACK, PROT_NONE, reserve, -1, 0);
	if (stack_guard == MAP_FAILED || mprotect(stack_guard + GUARD, STACK, PROT_READ | PROT_WRITE)) say("reserve a stack\n");
	if (sigaltstack(&alt, NULL)) say("signal stack\n");
	const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		if (sigaction(signals[i], &act, NULL)) say("signal handler\n");
	getcontext(&there);
	there.uc_stack.ss_sp = stack_guard + GUARD;
	there.uc_stack.ss_size = STACK;
	there.uc_link = &here;
	makecontext(&there, run, 0);
	swapcontext(&here, &there);
	return 1;
}
