// Prints what one system call costs, in ticks of the TSC, which under `tools/vm --icount` are the guest's instructions.
//
// Each line: operation, ticks per call. 20,000 calls five times, and the median of the five; the rest are warm-up and timer ticks.
// The line `calibration` is a loop of CALIBRATION instructions: it tells whether ticks really are instructions.
//
// In: /dev/zero, /dev/null, and a loopback interface that is up.
// Static, and system calls are made here and not by libc, so that nothing but the call itself is timed.

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { CALLS = 20000, PASSES = 5 };

#define CALIBRATION 2000000

static char byte;
static int zero_fd;
static int null_fd;
static int client_fd; // connected to server_fd
static int server_fd;

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

// recvfrom and sendto without an address have six arguments.
static inline long call6(long number, long first, long second, long third)
{
	register long flags __asm__("r10") = MSG_DONTWAIT, address __asm__("r8") = 0, length __asm__("r9") = 0;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(first), "S"(second), "d"(third), "r"(flags), "r"(address), "r"(length)
			 : "rcx", "r11", "memory");
	return result;
}

// Two events, and the datagram's way through the loopback interface.
static inline void send_and_receive_datagram(void)
{
	expect(call6(SYS_sendto, client_fd, (long)&byte, 1), 1);
	expect(call6(SYS_recvfrom, server_fd, (long)&byte, 1), 1);
}

static inline void failing_receive(void) { expect(call6(SYS_recvfrom, server_fd, (long)&byte, 1), -EAGAIN); }

static int open_sockets(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(4242) };
	server_fd = socket(AF_INET, SOCK_DGRAM, 0);
	client_fd = socket(AF_INET, SOCK_DGRAM, 0);
	return bind(server_fd, (struct sockaddr *)&address, sizeof(address)) ||
	       connect(client_fd, (struct sockaddr *)&address, sizeof(address));
}

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
	if (zero_fd < 0 || null_fd < 0 || open_sockets())
		return 1;
	calibrate();
	MEASURE(read_byte);
	MEASURE(write_byte);
	MEASURE(open_and_close);
	MEASURE(failing_read);
	MEASURE(failing_open);
	MEASURE(send_and_receive_datagram);
	MEASURE(failing_receive);
	MEASURE(not_counted);
	return 0;
}
