/* The kernel as kaa-init sees it: types, structs and system calls without a C library. */
#ifndef KAA_SYS_H
#define KAA_SYS_H

#include <asm/errno.h>
#include <asm/unistd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/stat.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#ifndef PATH_MAX
#define PATH_MAX 4096
#endif
#ifndef NAME_MAX
#define NAME_MAX 255
#endif

/* A raw call. Errors come back as -4095..-1, as the kernel gives them. */
static inline long sys(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
#if defined(__x86_64__)
    long result;
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    register u64 r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register u64 x0 __asm__("x0") = a;
    register u64 x1 __asm__("x1") = b;
    register u64 x2 __asm__("x2") = c;
    register u64 x3 __asm__("x3") = d;
    register u64 x4 __asm__("x4") = e;
    register u64 x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return (long)x0;
#else
#error "kaa-init knows x86_64 and aarch64 only"
#endif
}

#define A(x) ((u64)(x))
#define SYS0(name) sys(__NR_##name, 0, 0, 0, 0, 0, 0)
#define SYS1(name, a) sys(__NR_##name, A(a), 0, 0, 0, 0, 0)
#define SYS2(name, a, b) sys(__NR_##name, A(a), A(b), 0, 0, 0, 0)
#define SYS3(name, a, b, c) sys(__NR_##name, A(a), A(b), A(c), 0, 0, 0)
#define SYS4(name, a, b, c, d) sys(__NR_##name, A(a), A(b), A(c), A(d), 0, 0)
#define SYS5(name, a, b, c, d, e) sys(__NR_##name, A(a), A(b), A(c), A(d), A(e), 0)
#define SYS6(name, a, b, c, d, e, f) sys(__NR_##name, A(a), A(b), A(c), A(d), A(e), A(f))

static inline bool is_error(long result)
{
    return result < 0 && result >= -4095;
}

/* clone(2) without a new stack: fork, but with flags. Only the arguments after the third
 * differ in order between the architectures, and none of them is used. */
static inline long clone_process(u64 flags, int *pidfd)
{
    return SYS3(clone, flags, 0, pidfd);
}

#define CLONE_PIDFD 0x00001000
#define CLONE_PARENT 0x00008000
#define CLONE_NAMESPACES 0x7e020000 /* mount, cgroup, uts, ipc, user, pid, network */

#define PROT_NONE 0
#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 0x20

#define SEEK_SET 0
#define SEEK_DATA 3
#define SEEK_HOLE 4

#define X_OK 1

#define AF_UNIX 1
#define SOCK_DGRAM 2
#define SOCK_CLOEXEC O_CLOEXEC
#define SOL_SOCKET 1
#define SO_PEERCRED 17
#define SCM_RIGHTS 1
#define MSG_NOSIGNAL 0x4000

struct iovec {
    void *base;
    u64 length;
};

struct msghdr {
    void *name;
    s32 name_length;
    struct iovec *iov;
    u64 iov_length;
    void *control;
    u64 control_length;
    u32 flags;
};

struct cmsghdr {
    u64 length;
    s32 level;
    s32 type;
};

struct ucred {
    s32 pid;
    u32 uid;
    u32 gid;
};

#define POLLIN 0x1
#define POLLOUT 0x4
#define POLLERR 0x8
#define POLLHUP 0x10
#define POLLNVAL 0x20
#define POLLRDHUP 0x2000

struct pollfd {
    s32 fd;
    int16_t events;
    int16_t revents;
};

struct timespec {
    s64 seconds;
    s64 nanoseconds;
};

#define CLOCK_MONOTONIC 1

#define SIGHUP 1
#define SIGINT 2
#define SIGQUIT 3
#define SIGKILL 9
#define SIGUSR1 10
#define SIGUSR2 12
#define SIGPIPE 13
#define SIGALRM 14
#define SIGTERM 15
#define SIGCHLD 17
#define SIGNALS 64
#define SIG_SETMASK 2
#define SA_RESTORER 0x04000000

/* The kernel's struct sigaction; its layout is the same on both architectures. */
struct signal_action {
    void (*handler)(int);
    u64 flags;
    void (*restorer)(void);
    u64 mask;
};

#define SIG_DFL ((void (*)(int))0)
#define SIG_IGN ((void (*)(int))1)

static inline long set_signal(int number, void (*handler)(int), u64 flags, void (*restorer)(void))
{
    struct signal_action action = {handler, flags, restorer, 0};
    return SYS4(rt_sigaction, number, &action, 0, sizeof action.mask);
}

struct dirent64 {
    u64 inode;
    s64 offset;
    u16 length;
    u8 type;
    char name[];
};

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#endif
