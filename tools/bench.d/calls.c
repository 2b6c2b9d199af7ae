// Prints what one system call costs, in ticks of the TSC, which under `tools/vm --icount` are the guest's instructions.
//
// Each line: operation, ticks per call. 20,000 calls five times, and the median of the five; the rest are warm-up and timer ticks.
// The line `calibration` is a loop of CALIBRATION instructions: it tells whether ticks really are instructions.
//
// In: /dev/zero and /dev/null.
// Static, and system calls are made here and not by libc, so that nothing but the call itself is timed.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { CALLS = 20000, PASSES = 5 };

#define CALIBRATION 2000000

static char byte;
static int zero_fd;
static int null_fd;

static inline long call(long number, long first, long second, long third)
{
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third)
			 : "rcx", "r11", "memory");
	return result;
}

static inline unsigned long ticks(void)
{
	unsigned int low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (unsigned long)high << 32 | low;
}

// A call that ends otherwise than it should has another price.
static inline void expect(long result, long wanted)
{
	if (result != wanted)
		exit(2);
}

static inline void read_byte(void) { expect(call(SYS_read, zero_fd, (long)&byte, 1), 1); }
static inline void write_byte(void) { expect(call(SYS_write, null_fd, (long)&byte, 1), 1); }
static inline void failing_read(void) { expect(call(SYS_read, -1, (long)&byte, 1), -EBADF); }

static inline void open_and_close(void)
{
	expect(call(SYS_close, call(SYS_openat, AT_FDCWD, (long)"/dev/null", O_RDONLY), 0, 0), 0);
}

// A file below what is no directory: the look-up of a missing file would make a directory entry each time, whose price varies.
static inline void failing_open(void) { expect(call(SYS_openat, AT_FDCWD, (long)"/dev/null/file", O_RDONLY), -ENOTDIR); }

// A system call that no module counts, to show who pays for hooks that every call runs through.
static inline void not_counted(void) { call(SYS_getppid, 0, 0, 0); }

static int smaller(const void *left, const void *right)
{
	unsigned long a = *(const unsigned long *)left, b = *(const unsigned long *)right;
	return (a > b) - (a < b);
}

static void print_median(const char *name, unsigned long *passes, double divisor)
{
	qsort(passes, PASSES, sizeof(*passes), smaller);
	printf("%s %.1f\n", name, passes[PASSES / 2] / divisor);
}

#define MEASURE(operation)                                              \
	do {                                                            \
		unsigned long passes[PASSES];                           \
		for (int n = 0; n < CALLS / 10; n++)                    \
			operation();                                    \
		for (int pass = 0; pass < PASSES; pass++) {             \
			unsigned long start = ticks();                  \
			for (int n = 0; n < CALLS; n++)                 \
				operation();                            \
			passes[pass] = ticks() - start;                 \
		}                                                       \
		print_median(#operation, passes, CALLS);                \
	} while (0)

static void calibrate(void)
{
	unsigned long passes[PASSES];
	for (int pass = 0; pass < PASSES; pass++) {
		unsigned long start = ticks(), left = CALIBRATION / 2;
		__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(left)); // two instructions each time round
		passes[pass] = ticks() - start;
	}
	print_median("calibration", passes, 1);
}

int main(void)
{
	zero_fd = open("/dev/zero", O_RDONLY);
	null_fd = open("/dev/null", O_WRONLY);
	if (zero_fd < 0 || null_fd < 0)
		return 1;
	calibrate();
	MEASURE(read_byte);
	MEASURE(write_byte);
	MEASURE(open_and_close);
	MEASURE(failing_read);
	MEASURE(failing_open);
	MEASURE(not_counted);
	return 0;
}
