/* Makes the system calls named in its arguments and prints what each returned.
 *
 *   probe [thread|catch] [i386:]NUMBER[,ARGUMENT]... ...
 *
 * "thread" makes them in a second thread; "catch" handles SIGSYS. The output is
 * one line a call: the raw result, "trapped N" for a SIGSYS about call N, and
 * "main lives" when the first thread is the last to speak.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int calls;
static char **call;

static void say(const char *what, long number)
{
	char line[64];
	int length = snprintf(line, sizeof line, "%s%ld\n", what, number);

	if (write(1, line, length) != length)
		_exit(3);
}

static void trapped(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	say("trapped ", info->si_syscall);
}

static long i386(long number, unsigned long a, unsigned long b, unsigned long c)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
}

static long native(long number, const unsigned long *a)
{
	long result;
	register unsigned long r10 __asm__("r10") = a[3];
	register unsigned long r8 __asm__("r8") = a[4];
	register unsigned long r9 __asm__("r9") = a[5];

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "memory", "rcx", "r11");
	return result;
}

static void *make_calls(void *unused)
{
	for (int i = 0; i < calls; i++) {
		unsigned long words[7] = { 0 };
		int old = strncmp(call[i], "i386:", 5) == 0;
		char *at = call[i] + (old ? 5 : 0);

		for (int n = 0; n < 7; n++) {
			words[n] = strtoul(at, &at, 0);
			if (*at++ != ',')
				break;
		}
		say("", old ? i386(words[0], words[1], words[2], words[3])
			    : native(words[0], words + 1));
	}
	return unused;
}

int main(int argc, char **argv)
{
	int thread = argc > 1 && strcmp(argv[1], "thread") == 0;
	int catch = argc > 1 && strcmp(argv[1], "catch") == 0;
	struct sigaction action = { .sa_sigaction = trapped, .sa_flags = SA_SIGINFO };
	pthread_t other;

	call = argv + 1 + (thread || catch);
	calls = argc - 1 - (thread || catch);
	if (catch)
		sigaction(SIGSYS, &action, NULL);
	if (!thread)
		return make_calls(NULL) != NULL;
	if (pthread_create(&other, NULL, make_calls, NULL) || pthread_join(other, NULL))
		return 2;
	return puts("main lives") < 0;
}
