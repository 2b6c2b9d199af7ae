// A load of exactly known operations: a program without libc, so that no system call happens that its command
// line did not ask for.
//
//     load NAME=COUNT[:ARG]...
//
// Operations run in the order of the words. What each one adds to which counter is the table in
// `tests/src/load.rs`; a line changed here is changed there too. Preparations use only system calls that no
// counter counts: memfd_create and dup instead of open, mknod for files to unlink, lseek to go back.
// Every result is checked: an operation that did not do what the table says ends the program with status
// 100 + position of its word. At the end the program calls exit_group(0).
//
// x86-64 only. The *32 operations enter the kernel through int 0x80, as 32-bit programs do.

#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <asm/unistd_64.h>

#define BUFFER_BYTES (1 << 20)
#define THREADS_MAX 64
#define STACK_BYTES 16384

#define O_RDWR 2
#define O_CREAT 0100
#define O_TMPFILE 020200000
#define O_PATH 010000000
#define AT_FDCWD (-100)
#define AT_REMOVEDIR 0x200
#define SIGKILL 9
#define SIGCHLD 17
#define SIGSTOP 19
#define PR_SET_NAME 15
#define RLIMIT_NPROC 6
#define NOBODY 65534
#define S_IFREG 0100000
#define AF_UNIX 1
#define SOCK_STREAM 1
#define THREAD_FLAGS                                                                                       \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | \
	 CLONE_CHILD_CLEARTID)

// Numbers of the 32-bit table (arch/x86/entry/syscalls/syscall_32.tbl).
#define NR32_FORK 2
#define NR32_READ 3
#define NR32_WRITE 4
#define NR32_OPEN 5
#define NR32_CLOSE 6
#define NR32_UNLINK 10
#define NR32_CLONE 120

struct iovec {
	void *base;
	unsigned long length;
};

static char buffer[BUFFER_BYTES];
static char stacks[THREADS_MAX][STACK_BYTES] __attribute__((aligned(16)));
static volatile int thread_ids[THREADS_MAX];
static int in_fd;      // memfd of BUFFER_BYTES zeros, for reads
static int out_fd;     // memfd, for writes
static int word_index; // of the operation that runs, for the exit status
static char **self_argv;
static char **self_env;

// The compiler may call these for structs, with or without libc.
void *memset(void *to, int byte, unsigned long length)
{
	for (volatile char *p = to; length--; p++)
		*p = (char)byte;
	return to;
}

void *memcpy(void *to, const void *from, unsigned long length)
{
	volatile char *p = to;
	for (const char *q = from; length--; p++, q++)
		*p = *q;
	return to;
}

static long sys(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define SYS6(n, a, b, c, d, e, f) sys(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define SYS5(n, a, b, c, d, e) SYS6(n, a, b, c, d, e, 0)
#define SYS4(n, a, b, c, d) SYS6(n, a, b, c, d, 0, 0)
#define SYS3(n, a, b, c) SYS6(n, a, b, c, 0, 0, 0)
#define SYS2(n, a, b) SYS6(n, a, b, 0, 0, 0, 0)
#define SYS1(n, a) SYS6(n, a, 0, 0, 0, 0, 0)

// A system call of the 32-bit table. Pointers must lie below 4 GiB, as all static data here does.
static long sys32(long number, long a, long b, long c)
{
	long result;
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(0L), "D"(0L)
			 : "r8", "r9", "r10", "r11", "memory");
	return (int)result;
}

static void __attribute__((noreturn)) end(int status)
{
	for (;;)
		SYS1(__NR_exit_group, status);
}

static void check(int holds)
{
	if (!holds)
		end(100 + word_index);
}

static long checked(long result)
{
	check(result >= 0);
	return result;
}

static void failed_with(long result, int error)
{
	check(result == -error);
}

static void rewind_fd(int fd)
{
	checked(SYS3(__NR_lseek, fd, 0, 0));
}

// ---- files -----------------------------------------------------------------------------------------------

static const char FILE_NAME[] = "f", VICTIM[] = "victim", DIRECTORY[] = "d", MISSING[] = "missing/file";

static void close_fd(long fd)
{
	check(SYS1(__NR_close, checked(fd)) == 0);
}

static void op_open(long arg) { (void)arg; close_fd(SYS3(__NR_open, FILE_NAME, O_RDWR | O_CREAT, 0600)); }
static void op_openat(long arg) { (void)arg; close_fd(SYS4(__NR_openat, AT_FDCWD, FILE_NAME, O_RDWR | O_CREAT, 0600)); }
static void op_creat(long arg) { (void)arg; close_fd(SYS2(__NR_creat, FILE_NAME, 0600)); }
static void op_open_leak(long arg) { (void)arg; checked(SYS3(__NR_open, FILE_NAME, O_RDWR | O_CREAT, 0600)); }
static void op_open_fail(long arg) { (void)arg; failed_with(SYS3(__NR_open, MISSING, O_RDWR, 0), 2); }
static void op_openat_fail(long arg) { (void)arg; failed_with(SYS4(__NR_openat, AT_FDCWD, MISSING, O_RDWR, 0), 2); }
static void op_creat_fail(long arg) { (void)arg; failed_with(SYS2(__NR_creat, MISSING, 0600), 2); }

static long openat2(const char *path, long size)
{
	struct open_how how = { .flags = O_RDWR | O_CREAT, .mode = 0600 };
	return SYS4(__NR_openat2, AT_FDCWD, path, &how, size);
}

static void op_openat2(long arg) { (void)arg; close_fd(openat2(FILE_NAME, sizeof(struct open_how))); }
static void op_openat2_fail(long arg) { (void)arg; failed_with(openat2(MISSING, sizeof(struct open_how)), 2); }
// Refused before any path is looked at.
static void op_openat2_badsize(long arg) { (void)arg; failed_with(openat2(FILE_NAME, 1), 22); }

static void op_close(long arg) { (void)arg; close_fd(SYS1(__NR_dup, in_fd)); }
static void op_close_fail(long arg) { (void)arg; failed_with(SYS1(__NR_close, -1), 9); }
static void op_close_range_fail(long arg) { (void)arg; failed_with(SYS3(__NR_close_range, 5, 1, 0), 22); }

static void op_close_range(long arg)
{
	(void)arg;
	long fd = checked(SYS1(__NR_dup, in_fd));
	check(SYS3(__NR_close_range, fd, fd, 0) == 0);
}

static void op_openat2_path(long arg)
{
	(void)arg;
	struct open_how how = { .flags = O_PATH };
	close_fd(SYS4(__NR_openat2, AT_FDCWD, ".", &how, sizeof(how)));
}

static void op_open_tmpfile(long arg) { (void)arg; close_fd(SYS3(__NR_open, ".", O_RDWR | O_TMPFILE, 0600)); }

// One more than the kernel takes.
static void op_open_long(long arg)
{
	(void)arg;
	memset(buffer, 'x', 4096);
	failed_with(SYS3(__NR_open, buffer, O_RDWR, 0), 36);
	memset(buffer, 0, 4096);
}

static void make_victim(void)
{
	check(SYS3(__NR_mknod, VICTIM, S_IFREG | 0600, 0) == 0);
}

static void op_unlink(long arg) { (void)arg; make_victim(); check(SYS1(__NR_unlink, VICTIM) == 0); }
static void op_unlinkat(long arg) { (void)arg; make_victim(); check(SYS3(__NR_unlinkat, AT_FDCWD, VICTIM, 0) == 0); }
static void op_unlink_fail(long arg) { (void)arg; failed_with(SYS1(__NR_unlink, MISSING), 2); }
static void op_unlinkat_fail(long arg) { (void)arg; failed_with(SYS3(__NR_unlinkat, AT_FDCWD, MISSING, 0), 2); }
static void op_unlink_isdir(long arg) { (void)arg; failed_with(SYS1(__NR_unlink, "."), 21); }

static void op_rmdir_at(long arg)
{
	(void)arg;
	check(SYS2(__NR_mkdir, DIRECTORY, 0700) == 0);
	check(SYS3(__NR_unlinkat, AT_FDCWD, DIRECTORY, AT_REMOVEDIR) == 0);
}

static void op_rmdir(long arg)
{
	(void)arg;
	check(SYS2(__NR_mkdir, DIRECTORY, 0700) == 0);
	check(SYS1(__NR_rmdir, DIRECTORY) == 0);
}

// ---- reads and writes ------------------------------------------------------------------------------------

// Two pieces of `bytes` in all, so that a count of pieces cannot pass for a count of bytes.
static struct iovec *pieces(long bytes)
{
	static struct iovec two[2];
	two[0] = (struct iovec){ buffer, bytes / 3 };
	two[1] = (struct iovec){ buffer + bytes / 3, bytes - bytes / 3 };
	return two;
}

static void op_read(long bytes) { rewind_fd(in_fd); check(SYS3(__NR_read, in_fd, buffer, bytes) == bytes); }
static void op_pread(long bytes) { check(SYS4(__NR_pread64, in_fd, buffer, bytes, 0) == bytes); }
static void op_readv(long bytes) { rewind_fd(in_fd); check(SYS3(__NR_readv, in_fd, pieces(bytes), 2) == bytes); }
static void op_preadv(long bytes) { check(SYS5(__NR_preadv, in_fd, pieces(bytes), 2, 0, 0) == bytes); }
static void op_preadv2(long bytes) { check(SYS6(__NR_preadv2, in_fd, pieces(bytes), 2, 0, 0, 0) == bytes); }
static void op_read0(long arg) { (void)arg; check(SYS4(__NR_pread64, in_fd, buffer, 8, BUFFER_BYTES) == 0); }
static void op_read_fail(long arg) { (void)arg; failed_with(SYS3(__NR_read, -1, buffer, 8), 9); }
static void op_readv_fail(long arg) { (void)arg; failed_with(SYS3(__NR_readv, -1, pieces(8), 2), 9); }
static void op_read_fault(long arg) { (void)arg; rewind_fd(in_fd); failed_with(SYS3(__NR_read, in_fd, 16, 8), 14); }

// Asks for 64 bytes more than there are: the result counts, not the request.
static void op_read_short(long bytes)
{
	check(SYS4(__NR_pread64, in_fd, buffer, bytes + 64, BUFFER_BYTES - bytes) == bytes);
}

static void op_read_isdir(long arg)
{
	(void)arg;
	long fd = checked(SYS3(__NR_open, ".", 0, 0));
	failed_with(SYS3(__NR_read, fd, buffer, 8), 21);
	close_fd(fd);
}

static void op_write(long bytes) { rewind_fd(out_fd); check(SYS3(__NR_write, out_fd, buffer, bytes) == bytes); }
static void op_pwrite(long bytes) { check(SYS4(__NR_pwrite64, out_fd, buffer, bytes, 0) == bytes); }
static void op_writev(long bytes) { rewind_fd(out_fd); check(SYS3(__NR_writev, out_fd, pieces(bytes), 2) == bytes); }
static void op_pwritev(long bytes) { check(SYS5(__NR_pwritev, out_fd, pieces(bytes), 2, 0, 0) == bytes); }
static void op_pwritev2(long bytes) { check(SYS6(__NR_pwritev2, out_fd, pieces(bytes), 2, 0, 0, 0) == bytes); }
static void op_write_fail(long arg) { (void)arg; failed_with(SYS3(__NR_write, -1, buffer, 8), 9); }
static void op_writev_fail(long arg) { (void)arg; failed_with(SYS3(__NR_writev, -1, pieces(8), 2), 9); }
static void op_write_fault(long arg) { (void)arg; rewind_fd(out_fd); failed_with(SYS3(__NR_write, out_fd, 16, 8), 14); }

// A page, and behind it nothing.
static char *last_page(void)
{
	static char *page;
	if (!page) {
		page = (char *)checked(SYS6(__NR_mmap, 0, 8192, 3, 0x22 /* private, anonymous */, -1, 0));
		check(SYS2(__NR_munmap, page + 4096, 4096) == 0);
	}
	return page;
}

// Fails behind `bytes`: what was moved before is the result.
static void op_read_partial(long bytes)
{
	rewind_fd(in_fd);
	check(SYS3(__NR_read, in_fd, last_page() + 4096 - bytes, bytes + 100) == bytes);
}

// A whole page: 5.10 writes nothing of one that cannot be read to its end.
static void op_write_partial(long bytes)
{
	rewind_fd(out_fd);
	check(SYS3(__NR_write, out_fd, last_page() + 4096 - bytes, bytes + 100) == bytes);
}

static void op_pread_negative(long arg) { (void)arg; failed_with(SYS4(__NR_pread64, in_fd, buffer, 8, -5), 22); }
static void op_pwrite_negative(long arg) { (void)arg; failed_with(SYS4(__NR_pwrite64, out_fd, buffer, 8, -5), 22); }

// The most pieces that there may be, and one more.
#define PIECES 1024
static struct iovec many[PIECES + 1];

static struct iovec *many_pieces(long bytes)
{
	for (int i = 0; i <= PIECES; i++)
		many[i] = (struct iovec){ buffer, bytes };
	return many;
}

static void op_readv_many(long bytes)
{
	rewind_fd(in_fd);
	check(SYS3(__NR_readv, in_fd, many_pieces(bytes), PIECES) == PIECES * bytes);
}

static void op_writev_many(long bytes)
{
	rewind_fd(out_fd);
	check(SYS3(__NR_writev, out_fd, many_pieces(bytes), PIECES) == PIECES * bytes);
}

static void op_readv_too_many(long arg) { (void)arg; failed_with(SYS3(__NR_readv, in_fd, many_pieces(1), PIECES + 1), 22); }

static void op_preadv2_flags(long arg) { (void)arg; failed_with(SYS6(__NR_preadv2, in_fd, pieces(8), 2, 0, 0, 0x40000000), 95); }
static void op_pwritev2_append(long bytes) { check(SYS6(__NR_pwritev2, out_fd, pieces(bytes), 2, 0, 0, 0x10 /* RWF_APPEND */) == bytes); check(SYS2(__NR_ftruncate, out_fd, 0) == 0); }

struct action {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	unsigned long mask;
};

void return_from_signal(void);
__asm__("return_from_signal:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n");

static int alarm_fd;
static long alarm_bytes;

static void write_at_alarm(int signal)
{
	(void)signal;
	check(SYS3(__NR_write, alarm_fd, buffer, alarm_bytes) == alarm_bytes);
}

// A signal interrupts the read, which the kernel begins anew: two returns, of which the first is an error.
static void op_read_restarted(long bytes)
{
	static int ends[2];
	struct action on_alarm = { write_at_alarm, 0x14000000 /* SA_RESTART | SA_RESTORER */, return_from_signal, 0 };
	long once[4] = { 0, 0, 0, 20000 };
	if (!ends[1])
		check(SYS2(__NR_pipe2, ends, 0) == 0);
	alarm_fd = ends[1];
	alarm_bytes = bytes;
	check(SYS4(__NR_rt_sigaction, 14, &on_alarm, 0, 8) == 0);
	check(SYS3(__NR_setitimer, 0, once, 0) == 0);
	check(SYS3(__NR_read, ends[0], buffer, bytes) == bytes);
}

// Opened once per pair of ends and kept: closing would count.
static void op_pipe_rw(long bytes)
{
	static int ends[2];
	if (!ends[1])
		check(SYS2(__NR_pipe2, ends, 0) == 0);
	check(SYS3(__NR_write, ends[1], buffer, bytes) == bytes);
	check(SYS3(__NR_read, ends[0], buffer, bytes) == bytes);
}

static int *socket_pair(void)
{
	static int ends[2];
	if (!ends[1])
		check(SYS4(__NR_socketpair, AF_UNIX, SOCK_STREAM, 0, ends) == 0);
	return ends;
}

static void op_socket_rw(long bytes)
{
	check(SYS3(__NR_write, socket_pair()[1], buffer, bytes) == bytes);
	check(SYS3(__NR_read, socket_pair()[0], buffer, bytes) == bytes);
}

static void op_socket_send(long bytes)
{
	check(SYS6(__NR_sendto, socket_pair()[1], buffer, bytes, 0, 0, 0) == bytes);
	check(SYS6(__NR_recvfrom, socket_pair()[0], buffer, bytes, 0, 0, 0) == bytes);
}

static void op_sendfile(long bytes)
{
	rewind_fd(in_fd);
	rewind_fd(out_fd);
	check(SYS4(__NR_sendfile, out_fd, in_fd, 0, bytes) == bytes);
}

static void op_copy_file_range(long bytes)
{
	rewind_fd(in_fd);
	rewind_fd(out_fd);
	check(SYS6(__NR_copy_file_range, in_fd, 0, out_fd, 0, bytes, 0) == bytes);
}

static void op_splice(long bytes)
{
	static int ends[2];
	if (!ends[1])
		check(SYS2(__NR_pipe2, ends, 0) == 0);
	rewind_fd(in_fd);
	rewind_fd(out_fd);
	check(SYS6(__NR_splice, in_fd, 0, ends[1], 0, bytes, 0) == bytes);
	check(SYS6(__NR_splice, ends[0], 0, out_fd, 0, bytes, 0) == bytes);
}

// ---- processes and threads -------------------------------------------------------------------------------

static void reap(long pid)
{
	int status = -1;
	check(SYS4(__NR_wait4, pid, &status, 0, 0) == pid);
	check(status == 0 || status == SIGKILL);
}

static void kill_self(int signal)
{
	SYS2(__NR_kill, SYS1(__NR_getpid, 0), signal);
}

static long plain_clone(long flags)
{
	return SYS5(__NR_clone, flags, 0, 0, 0, 0);
}

static long plain_clone3(long flags, long exit_signal)
{
	struct clone_args args = { .flags = flags, .exit_signal = exit_signal };
	return SYS2(__NR_clone3, &args, sizeof(args));
}

// In the parent waits for the child; the child ends at once.
static void fork_and_reap(long pid)
{
	if (checked(pid) == 0)
		end(0);
	reap(pid);
}

static void op_fork(long arg) { (void)arg; fork_and_reap(SYS1(__NR_fork, 0)); }
static void op_clone_fork(long arg) { (void)arg; fork_and_reap(plain_clone(SIGCHLD)); }
static void op_clone3_fork(long arg) { (void)arg; fork_and_reap(plain_clone3(0, SIGCHLD)); }

// The child borrows this stack, so it must not return from the function that called vfork.
static void op_vfork(long arg)
{
	(void)arg;
	long pid;
	__asm__ volatile("syscall\n"
			 "test %%rax, %%rax\n"
			 "jnz 1f\n"
			 "mov %[exit_group], %%eax\n"
			 "xor %%edi, %%edi\n"
			 "syscall\n"
			 "1:\n"
			 : "=a"(pid)
			 : "a"((long)__NR_vfork), [exit_group] "i"(__NR_exit_group)
			 : "rcx", "rdi", "r11", "memory");
	reap(checked(pid));
}

// Children of a parent that ignores SIGCHLD are released by the kernel as they end.
static void op_fork_autoreap(long arg)
{
	(void)arg;
	struct {
		long handler;
		unsigned long flags;
		long restorer;
		unsigned long mask;
	} ignore = { .handler = 1 }, original;
	check(SYS4(__NR_rt_sigaction, SIGCHLD, &ignore, &original, 8) == 0);
	if (checked(SYS1(__NR_fork, 0)) == 0)
		end(0);
	failed_with(SYS4(__NR_wait4, -1, 0, 0, 0), 10); // ECHILD once the last child is gone
	check(SYS4(__NR_rt_sigaction, SIGCHLD, &original, 0, 8) == 0);
}

static void swarm(long members, long reads, int die)
{
	for (long i = 0; i < members; i++) {
		if (checked(SYS1(__NR_fork, 0)) != 0)
			continue;
		for (long n = 0; n < reads; n++)
			op_pread(7);
		if (die)
			kill_self(SIGKILL);
		end(0);
	}
	for (long i = 0; i < members; i++) {
		int status = -1;
		checked(SYS4(__NR_wait4, -1, &status, 0, 0));
		check(status == (die ? SIGKILL : 0));
	}
}

// Children that work after this process is gone: each sleeps first. Nobody of ours reaps them.
static void op_orphan(long milliseconds)
{
	long time[2] = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
	if (checked(SYS1(__NR_fork, 0)) != 0)
		return;
	check(SYS2(__NR_nanosleep, time, 0) == 0);
	op_pread(7);
	end(0);
}

struct thread {
	long reads;
	int index;
	int renamed;      // takes another comm than its process before it works
	int late;         // waits before it works
	int races;        // closes `raced_fd`
	char **exec_next; // words to go on with in a new image, or null
};

static void exec_next(const char *path, char **words);

static struct thread threads[THREADS_MAX];
static int raced_fd = -1;

static void __attribute__((noreturn, used)) thread_main(struct thread *self)
{
	if (self->renamed)
		check(SYS2(__NR_prctl, PR_SET_NAME, "ebpft_thread") == 0);
	long wait[2] = { 0, 30000000 };
	if (self->late)
		SYS2(__NR_nanosleep, wait, 0);
	if (self->races)
		SYS1(__NR_close, raced_fd);
	for (long n = 0; n < self->reads; n++)
		op_pread(7);
	if (self->exec_next)
		exec_next(self_argv[0], self->exec_next);
	for (;;)
		SYS1(__NR_exit, 0);
}

// clone or clone3 with a new stack: only the parent comes back from here.
static long clone_thread(long number, long a, long b, long c, long d, struct thread *thread)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 0;
	register struct thread *r12 __asm__("r12") = thread;
	long result;
	__asm__ volatile("syscall\n"
			 "test %%rax, %%rax\n"
			 "jnz 1f\n"
			 "xor %%ebp, %%ebp\n"
			 "mov %%r12, %%rdi\n"
			 "call thread_main\n"
			 "1:\n"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r12)
			 : "rcx", "r11", "memory");
	return result;
}

static void start_thread(int index, long reads, int use_clone3)
{
	char *stack = stacks[index];
	long id = (long)&thread_ids[index];
	threads[index].reads = reads;
	threads[index].index = index;
	if (!use_clone3) {
		checked(clone_thread(__NR_clone, THREAD_FLAGS, (long)stack + STACK_BYTES, id, id, &threads[index]));
		return;
	}
	struct clone_args args = { .flags = THREAD_FLAGS,
				   .child_tid = id,
				   .parent_tid = id,
				   .stack = (unsigned long)stack,
				   .stack_size = STACK_BYTES };
	checked(clone_thread(__NR_clone3, (long)&args, sizeof(args), 0, 0, &threads[index]));
}

// The kernel clears the id and wakes us when the thread has left its stack for good.
static void join_thread(int index)
{
	for (int id; (id = thread_ids[index]) != 0;)
		SYS4(__NR_futex, &thread_ids[index], 0 /* FUTEX_WAIT */, id, 0);
}

// A thread's name is its own; its process keeps the leader's.
static void op_thread_renamed(long reads)
{
	threads[0].renamed = 1;
	start_thread(0, reads, 0);
	join_thread(0);
	threads[0].renamed = 0;
}

static void op_thread(long reads) { start_thread(0, reads, 0); join_thread(0); }
static void op_clone3_thread(long reads) { start_thread(0, reads, 1); join_thread(0); }

static void thread_swarm(long members, long reads)
{
	check(members <= THREADS_MAX);
	for (long i = 0; i < members; i++)
		start_thread((int)i, reads, i & 1);
	for (long i = 0; i < members; i++)
		join_thread((int)i);
}

// A child's child that is a child of ours: charged to the child, which made it.
static void op_clone_parent(long arg)
{
	(void)arg;
	long child = checked(SYS1(__NR_fork, 0));
	if (child == 0) {
		if (checked(plain_clone(CLONE_PARENT | SIGCHLD)) == 0)
			end(0);
		end(0);
	}
	reap(child);
	check(SYS4(__NR_wait4, -1, 0, 0, 0) > 0);
}

// The first thread of a process ends before another, which works on.
static void op_leader_first(long reads)
{
	long child = checked(SYS1(__NR_fork, 0));
	if (child == 0) {
		threads[0].late = 1;
		start_thread(0, reads, 0);
		for (;;)
			SYS1(__NR_exit, 0);
	}
	reap(child);
}

// A child that borrows everything until it executes this program anew, with nothing to do.
static void op_vfork_exec(long arg)
{
	(void)arg;
	static char *words[2];
	long pid;
	words[0] = self_argv[0];
	__asm__ volatile("syscall\n"
			 "test %%rax, %%rax\n"
			 "jnz 1f\n"
			 "mov %[execve], %%eax\n"
			 "mov (%%rsi), %%rdi\n"
			 "syscall\n"
			 "ud2\n"
			 "1:\n"
			 : "=a"(pid)
			 : "a"((long)__NR_vfork), [execve] "i"(__NR_execve), "S"(words), "d"(self_env)
			 : "rcx", "rdi", "r11", "memory");
	reap(checked(pid));
}

// clone3 into the cgroup of a descriptor that is none (EBADF), or on a kernel without that (5.7) EINVAL.
static void op_clone3_cgroup_fail(long arg)
{
	(void)arg;
	struct clone_args args = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = 999 };
	failed_with(SYS2(__NR_clone3, &args, sizeof(args)), 9);
}

// The first process of a namespace of its own, and its child: ids that mean something else there.
static void op_pid_namespace(long reads)
{
	long child = checked(plain_clone(0x20000000 /* CLONE_NEWPID */ | SIGCHLD));
	if (child == 0) {
		check(SYS1(__NR_getpid, 0) == 1);
		swarm(1, reads, 0);
		end(0);
	}
	reap(child);
}

// Several threads close one descriptor: one of them succeeds.
static void op_close_race(long members)
{
	check(members <= THREADS_MAX);
	raced_fd = (int)checked(SYS1(__NR_dup, in_fd));
	for (long i = 0; i < members; i++) {
		threads[i].races = 1;
		start_thread((int)i, 0, 0);
	}
	for (long i = 0; i < members; i++) {
		join_thread((int)i);
		threads[i].races = 0;
	}
	raced_fd = -1;
}

// Lets seccomp answer a system call, which then never begins; for ever, so only in a child. Returns the descriptor of who is asked, if `flags` want it.
static long refuse(long number, unsigned answer, long flags)
{
	struct { unsigned short code; unsigned char jt, jf; unsigned k; } filter[] = {
		{ 0x20, 0, 0, 0 },              // load the number
		{ 0x15, 0, 1, (unsigned)number },
		{ 0x06, 0, 0, answer },
		{ 0x06, 0, 0, 0x7fff0000 },     // allow
	};
	struct { unsigned short length; void *filter; } program = { 4, filter };
	check(SYS5(__NR_prctl, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0) == 0);
	return checked(SYS3(__NR_seccomp, 1, flags, &program));
}

static void op_read_refused(long arg)
{
	(void)arg;
	long child = checked(SYS1(__NR_fork, 0));
	if (child == 0) {
		refuse(__NR_pread64, 0x00050000 | 1 /* EPERM */, 0);
		failed_with(SYS4(__NR_pread64, in_fd, buffer, 8, 0), 1);
		end(0);
	}
	reap(child);
}

// seccomp asks this process what the child's read returned: more than any read does.
static void op_read_forged(long arg)
{
	(void)arg;
	static volatile long *listener;
	struct { unsigned long id; unsigned pid, flags; char data[64]; } question = { 0 };
	struct { unsigned long id; long value; int error; unsigned flags; } answer = { 0 };
	long time[2] = { 0, 1000000 };
	if (!listener)
		listener = (long *)checked(SYS6(__NR_mmap, 0, 4096, 3, 0x21 /* shared, anonymous */, -1, 0));
	*listener = 0;
	long child = checked(plain_clone(CLONE_FILES | SIGCHLD));
	if (child == 0) {
		*listener = refuse(__NR_pread64, 0x7fc00000, 8 /* a listener */);
		check(SYS4(__NR_pread64, in_fd, buffer, 8, 0) == 1L << 62);
		end(0);
	}
	while (!*listener)
		SYS2(__NR_nanosleep, time, 0);
	check(SYS3(__NR_ioctl, *listener, 0xc0502100, &question) == 0);
	answer.id = question.id;
	answer.value = 1L << 62;
	check(SYS3(__NR_ioctl, *listener, 0xc0182101, &answer) == 0);
	reap(child);
}

// The kernel refuses CLONE_SIGHAND without CLONE_VM, and CLONE_THREAD without CLONE_SIGHAND (EINVAL).
static void op_fork_fail(long arg) { (void)arg; failed_with(plain_clone(CLONE_SIGHAND | SIGCHLD), 22); }
static void op_clone3_fork_fail(long arg) { (void)arg; failed_with(plain_clone3(CLONE_SIGHAND, SIGCHLD), 22); }
static void op_thread_fail(long arg) { (void)arg; failed_with(plain_clone(CLONE_THREAD), 22); }
static void op_clone3_thread_fail(long arg) { (void)arg; failed_with(plain_clone3(CLONE_THREAD, 0), 22); }

// From here on this process is nobody and may have no further task.
static void become_limited(void)
{
	static int done;
	unsigned long none[2] = { 0, 0 };
	if (done++)
		return;
	check(SYS2(__NR_setrlimit, RLIMIT_NPROC, none) == 0);
	check(SYS3(__NR_setresuid, NOBODY, NOBODY, NOBODY) == 0);
}

static void op_fork_eagain(long arg) { (void)arg; become_limited(); failed_with(SYS1(__NR_fork, 0), 11); }

static void op_vfork_eagain(long arg) { (void)arg; become_limited(); failed_with(SYS1(__NR_vfork, 0), 11); }

static void op_thread_eagain(long arg)
{
	(void)arg;
	become_limited();
	failed_with(plain_clone(THREAD_FLAGS & ~(CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)), 11);
}

// ---- 32-bit entries --------------------------------------------------------------------------------------

static char file_name_32[] = "f", missing_32[] = "missing/file";

static void op_open32(long arg)
{
	(void)arg;
	long fd = checked(sys32(NR32_OPEN, (long)file_name_32, O_RDWR | O_CREAT, 0600));
	check(sys32(NR32_CLOSE, fd, 0, 0) == 0);
}

static void op_read32(long bytes) { rewind_fd(in_fd); check(sys32(NR32_READ, in_fd, (long)buffer, bytes) == bytes); }
static void op_write32(long bytes) { rewind_fd(out_fd); check(sys32(NR32_WRITE, out_fd, (long)buffer, bytes) == bytes); }
static void op_read_fail32(long arg) { (void)arg; failed_with(sys32(NR32_READ, -1, (long)buffer, 8), 9); }
static void op_unlink_fail32(long arg) { (void)arg; failed_with(sys32(NR32_UNLINK, (long)missing_32, 0, 0), 2); }
static void op_fork32(long arg) { (void)arg; fork_and_reap(sys32(NR32_FORK, 0, 0, 0)); }
static void op_fork_fail32(long arg) { (void)arg; failed_with(sys32(NR32_CLONE, CLONE_SIGHAND | SIGCHLD, 0, 0), 22); }
static void op_thread_fail32(long arg) { (void)arg; failed_with(sys32(NR32_CLONE, CLONE_THREAD, 0, 0), 22); }

// ---- the command line ------------------------------------------------------------------------------------

struct operation {
	const char *name;
	void (*once)(long arg);
};

#define OP(name) { #name, op_##name }
static const struct operation operations[] = {
	OP(open), OP(openat), OP(openat2), OP(creat), OP(open_leak), OP(open_fail), OP(openat_fail),
	OP(openat2_fail), OP(openat2_badsize), OP(creat_fail), OP(close), OP(close_fail), OP(close_range),
	OP(close_range_fail), OP(unlink), OP(unlinkat), OP(unlink_fail), OP(unlinkat_fail), OP(unlink_isdir),
	OP(rmdir_at), OP(rmdir), OP(read), OP(pread), OP(readv), OP(preadv), OP(preadv2), OP(read0),
	OP(read_short), OP(read_fail), OP(readv_fail), OP(read_fault), OP(read_isdir), OP(write), OP(pwrite),
	OP(writev), OP(pwritev), OP(pwritev2), OP(write_fail), OP(writev_fail), OP(write_fault), OP(pipe_rw),
	OP(socket_rw), OP(socket_send), OP(sendfile), OP(copy_file_range), OP(splice), OP(fork), OP(vfork),
	OP(clone_fork), OP(clone3_fork), OP(fork_autoreap), OP(thread), OP(clone3_thread), OP(thread_renamed),
	OP(orphan), OP(fork_fail),
	OP(clone3_fork_fail), OP(thread_fail), OP(clone3_thread_fail), OP(fork_eagain), OP(vfork_eagain),
	OP(thread_eagain), OP(open32), OP(read32), OP(write32), OP(read_fail32), OP(unlink_fail32), OP(fork32),
	OP(fork_fail32), OP(thread_fail32), OP(openat2_path), OP(open_tmpfile), OP(open_long), OP(read_partial),
	OP(write_partial), OP(pread_negative), OP(pwrite_negative), OP(readv_many), OP(writev_many),
	OP(readv_too_many), OP(preadv2_flags), OP(pwritev2_append), OP(read_restarted), OP(clone_parent),
	OP(leader_first), OP(vfork_exec), OP(clone3_cgroup_fail), OP(pid_namespace), OP(close_race),
	OP(read_refused), OP(read_forged),
};
#undef OP

// The text after `name=` when `word` is that operation, or null.
static const char *argument_of(const char *word, const char *name)
{
	for (; *name; name++, word++)
		if (*word != *name)
			return 0;
	return *word == '=' ? word + 1 : 0;
}

// Reads a decimal number and leaves `*text` behind it.
static long number(const char **text)
{
	long value = 0;
	for (; **text >= '0' && **text <= '9'; ++*text)
		value = value * 10 + (**text - '0');
	return value;
}

// Goes on with the next word in a new image, under another path if one is given.
static void exec_next(const char *path, char **words)
{
	words[0] = (char *)path;
	checked(SYS3(__NR_execve, path, words, self_env));
}

// What is not a plain repetition. Returns 0 when `word` is none of these.
static int special(char **words)
{
	const char *text;
	if ((text = argument_of(words[0], "stop"))) {
		kill_self(SIGSTOP);
	} else if ((text = argument_of(words[0], "die"))) {
		kill_self(SIGKILL);
	} else if ((text = argument_of(words[0], "sleep_ms"))) {
		long milliseconds = number(&text);
		long time[2] = { milliseconds / 1000, milliseconds % 1000 * 1000000 };
		check(SYS2(__NR_nanosleep, time, 0) == 0);
	} else if ((text = argument_of(words[0], "exec"))) {
		number(&text);
		exec_next(*text == ':' ? text + 1 : self_argv[0], words);
	} else if ((text = argument_of(words[0], "thread_exec"))) {
		// The thread takes over the process id; this leader ends inside the thread's execve.
		threads[0].exec_next = words;
		start_thread(0, number(&text), 0);
		for (;;)
			join_thread(0);
	} else {
		void (*start)(long, long, int) = 0;
		int die = 0;
		if ((text = argument_of(words[0], "swarm")))
			start = swarm;
		else if ((text = argument_of(words[0], "swarm_die")))
			start = swarm, die = 1;
		else if (!(text = argument_of(words[0], "thread_swarm")))
			return 0;
		long members = number(&text);
		long reads = *text == ':' ? (text++, number(&text)) : 0;
		if (start)
			start(members, reads, die);
		else
			thread_swarm(members, reads);
	}
	return 1;
}

static void run(char **words)
{
	if (special(words))
		return;
	for (unsigned long i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
		const char *text = argument_of(words[0], operations[i].name);
		if (!text)
			continue;
		long count = number(&text);
		long arg = *text == ':' ? (text++, number(&text)) : 0;
		check(*text == 0 && arg < BUFFER_BYTES);
		while (count--)
			operations[i].once(arg);
		return;
	}
	end(99); // no such operation
}

static void __attribute__((noreturn, used)) start(long *stack)
{
	long argc = stack[0];
	self_argv = (char **)(stack + 1);
	self_env = self_argv + argc + 1;
	in_fd = (int)checked(SYS2(__NR_memfd_create, "in", 0));
	check(SYS2(__NR_ftruncate, in_fd, BUFFER_BYTES) == 0);
	out_fd = (int)checked(SYS2(__NR_memfd_create, "out", 0));
	for (word_index = 1; word_index < argc; word_index++)
		run(self_argv + word_index);
	end(0);
}

__asm__(".globl _start\n"
	"_start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call start\n");
