/*
 * A process of a few pages for cgroup tests. It says that it is there, then
 * obeys letters on its standard input and answers each with a byte:
 *   f  fork (the answer is the negated errno)
 *   o  open /dev/null   z  open /dev/zero   (the same)
 *   b  fork for ever, in all processes
 * End of file: exit 0.
 */
static long call(long number, long a, long b, long c, long d)
{
	long result;
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
#else
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	result = x0;
#endif
	return result;
}

#include <asm/unistd.h>

#define SIGCHLD 17
#define AT_FDCWD (-100)
#define O_RDWR 2

static long spawn(void)
{
	return call(__NR_clone, SIGCHLD, 0, 0, 0);
}

static void answer(long result)
{
	char byte = result < 0 ? (char)-result : 0;

	call(__NR_write, 1, (long)&byte, 1, 0);
}

void _start(void)
{
	char order;
	long pid;

	answer(0);
	while (call(__NR_read, 0, (long)&order, 1, 0) == 1) {
		if (order == 'b') {
			answer(0);
			for (;;)
				spawn();
		} else if (order == 'f') {
			pid = spawn();
			if (pid == 0)
				call(__NR_exit_group, 0, 0, 0, 0);
			answer(pid);
		} else {
			answer(call(__NR_openat, AT_FDCWD,
				    (long)(order == 'o' ? "/dev/null" : "/dev/zero"), O_RDWR, 0));
		}
	}
	call(__NR_exit_group, 0, 0, 0, 0);
	__builtin_unreachable();
}
