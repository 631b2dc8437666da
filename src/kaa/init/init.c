/* kaa-init: receives programs of system calls and runs them. docs/protocol.md is the contract.
 *
 * It is started on the host, goes into the container's namespaces call by call, and its last
 * call is the execve of the container's process. It never runs anything of its own again
 * after joining: no library, no file, no allocation beyond the arena that holds a batch.
 */
#include "calls.h"
#include "init.h"

#define ARENA_UNIT (64u << 10) /* the largest page size of both architectures */

struct init init;

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call start\n"
        "    ud2\n");
#else
__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl start\n"
        "    brk #1\n");
#endif

_Noreturn void die(int status)
{
    SYS1(exit_group, status);
    SYS1(exit, status);
    /* The container's seccomp filter forbids both: a fault is the last way out. */
    for (;;)
        __builtin_trap();
}

/* ---- the command socket ------------------------------------------------------------- */

/* Reads exactly `size` bytes. False: end of file before the first of them. */
static bool receive(void *to, u32 size)
{
    u32 have = 0;
    while (have < size) {
        long n = SYS3(read, init.command, (u8 *)to + have, size - have);
        if (n == -EINTR)
            continue;
        if (n == -ECONNRESET) /* the runtime is gone, and had not read our last reply */
            n = 0;
        if (n < 0)
            die(EXIT_SYSTEM);
        if (n == 0 && have)
            die(EXIT_MALFORMED);
        if (n == 0)
            return false;
        have += (u32)n;
    }
    return true;
}

/* Room for a batch that ends exactly where an inaccessible page begins. */
static u8 *arena(u32 size)
{
    static u64 begin, room; /* of the writable part */
    if (size > room) {
        if (room && is_error(SYS2(munmap, begin - ARENA_UNIT, room + 2 * ARENA_UNIT)))
            die(EXIT_SYSTEM);
        room = ((u64)size + ARENA_UNIT - 1) & ~(u64)(ARENA_UNIT - 1);
        long at = SYS6(mmap, 0, room + 2 * ARENA_UNIT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
                       -1, 0);
        if (is_error(at))
            die(EXIT_SYSTEM);
        begin = (u64)at + ARENA_UNIT;
        if (is_error(SYS3(mprotect, begin, room, PROT_READ | PROT_WRITE)))
            die(EXIT_SYSTEM);
    }
    return (u8 *)(begin + room - size);
}

/* The next batch into init.batch. False at end of file. */
static bool read_batch(void)
{
    struct header header;
    if (!receive(&header, sizeof header))
        return false;
    if (!header_is_valid(&header))
        die(EXIT_MALFORMED);
    u8 *memory = arena(header.size);
    memcpy(memory, &header, sizeof header);
    if (header.size > sizeof header &&
        !receive(memory + sizeof header, header.size - sizeof header))
        die(EXIT_MALFORMED);
    if (!batch_parse(&init.batch, memory))
        die(EXIT_MALFORMED);
    batch_relocate(&init.batch);
    return true;
}

void forget_reply(void)
{
    for (u32 i = 0; i < init.fd_count; i++)
        SYS1(close, init.fds[i]);
    init.fd_count = 0;
    init.emitted = 0;
}

void send_reply(s32 op, s32 err)
{
    struct {
        u32 magic;
        u32 size;
        s32 op;
        s32 err;
        u32 fds;
        u32 reserved;
    } head = {MAGIC, sizeof head + init.emitted, op, err, init.fd_count, 0};
    struct {
        struct cmsghdr header;
        int fds[REPLY_FDS];
    } control = {{sizeof control.header + init.fd_count * sizeof(int), SOL_SOCKET, SCM_RIGHTS}, {0}};
    struct iovec parts[2] = {{&head, sizeof head}, {init.reply, init.emitted}};
    struct msghdr message = {.iov = parts, .iov_length = 2};

    if (init.fd_count) {
        memcpy(control.fds, init.fds, sizeof init.fds);
        message.control = &control;
        message.control_length = control.header.length;
    }
    while (parts[0].length || parts[1].length) {
        long n = SYS3(sendmsg, init.command, &message, MSG_NOSIGNAL);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            die(EXIT_SYSTEM);
        message.control = 0; /* the descriptors went with the first byte */
        message.control_length = 0;
        for (int i = 0; i < 2; i++) {
            u64 part = (u64)n < parts[i].length ? (u64)n : parts[i].length;
            parts[i].base = (u8 *)parts[i].base + part;
            parts[i].length -= part;
            n -= (long)part;
        }
    }
    forget_reply();
}

/* ---- what ops need ------------------------------------------------------------------ */

bool in_data(u64 address, u64 length)
{
    u64 offset = address - (u64)init.batch.data;
    return offset <= init.batch.data_size && length <= init.batch.data_size - offset;
}

const char *string_at(u64 address)
{
    if (!in_data(address, 1))
        return 0;
    const u8 *end = init.batch.data + init.batch.data_size;
    for (const u8 *s = (const u8 *)address; s < end; s++)
        if (!*s)
            return (const char *)address;
    return 0;
}

long emit_bytes(const void *bytes, u64 length)
{
    if (init.silent) {
        volatile struct progress *page = init.progress;
        for (u64 i = 0; i < length && page->said < PAGE_WORDS; i++)
            page->words[page->said++] = ((const u8 *)bytes)[i];
        return 0;
    }
    if (length > REPLY_MAX - init.emitted)
        return -E2BIG;
    memcpy(init.reply + init.emitted, bytes, length);
    init.emitted += (u32)length;
    return 0;
}

long send_descriptor(int fd)
{
    if (init.silent)
        return 0;
    if (init.fd_count == REPLY_FDS)
        return -EMFILE;
    /* A duplicate, because the program may close the slot in this very batch. Above the
     * command socket, because what is below belongs to the container's process. */
    long own = SYS3(fcntl, fd, F_DUPFD_CLOEXEC, init.command + 1);
    if (is_error(own))
        return own;
    init.fds[init.fd_count++] = (int)own;
    return 0;
}

/* ---- running a batch ---------------------------------------------------------------- */

static long run_call(const struct op *op)
{
    u64 a[6];
    for (int i = 0; i < 6; i++) {
        unsigned kind = op->kinds >> (2 * i) & 3;
        a[i] = kind == DATA   ? (u64)init.batch.data + op->args[i]
               : kind == SLOT ? (u64)init.slots[op->args[i]]
                              : op->args[i];
    }
    if (op->call & SPECIAL)
        return run_special(op->call & ~SPECIAL, a);

    long number = call_numbers[op->call];
    long result;
    do /* but close(2) has closed the descriptor even when it was interrupted */
        result = sys(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    while (result == -EINTR && number != __NR_close);
    return result;
}

/* Is the policy of the op meant for this error? */
static bool is_foreseen(const struct op *op, long error)
{
    bool every = true;
    for (int i = 0; i < 7; i++) {
        if (op->errnos[i] && op->errnos[i] == -error)
            return true;
        every &= !op->errnos[i];
    }
    return every;
}

static void stop(u32 op, long error)
{
    if (init.silent || init.progress->phase == EXECUTING) {
        /* The page before the socket: a filter may kill what sends. */
        init.progress->op = op;
        init.progress->err = (s32)-error;
    }
    if (init.silent)
        die(EXIT_STOPPED);
    send_reply((s32)op, (s32)-error);
}

static void run_batch(void)
{
    const struct batch *batch = &init.batch;
    for (u32 i = 0; i < batch->op_count; i++) {
        const struct op *op = &batch->ops[i];
        init.progress->op = i;
        long result = run_call(op);
        if (op->store != NO_SLOT)
            init.slots[op->store] = result;
        if (is_error(result)) {
            if (op->policy == STOP || !is_foreseen(op, result)) {
                stop(i, result);
                return;
            }
            if (op->policy == SKIP)
                i += op->skip;
        } else if (op->call == (SPECIAL + SPECIAL_jump)) {
            i += op->skip;
        } else if (op->call == (SPECIAL + SPECIAL_fork)) {
            return; /* this is the child; the parent half has replied */
        }
    }
    if (init.silent)
        die(0);
    send_reply(-1, 0);
}

/* ---- start -------------------------------------------------------------------------- */

/* The descriptor number in argv[1], or -1. */
static int descriptor_argument(const u64 *stack)
{
    if (stack[0] != 2)
        return -1;
    int value = 0;
    const char *s = (const char *)stack[2];
    if (!*s)
        return -1;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || value > 99999)
            return -1;
        value = value * 10 + (*s - '0');
    }
    return value;
}

/* The signals of whoever started kaa-init are not the container's. */
static void reset_signals(void)
{
    u64 none = 0;
    for (int i = 1; i <= SIGNALS; i++)
        set_signal(i, SIG_DFL, 0, 0); /* fails for SIGKILL and SIGSTOP, rightly */
    SYS4(rt_sigprocmask, SIG_SETMASK, &none, 0, sizeof none);
}

/* Maps the progress file, whose descriptor is then not needed: nobody who looks into this
 * process later can take it and truncate the file under Python's eyes. */
static void open_progress(int fd)
{
    long at = SYS6(mmap, 0, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (is_error(at))
        die(EXIT_SYSTEM);
    init.progress = (volatile struct progress *)at;
    init.progress->pid = (s32)SYS0(getpid);
    SYS1(close, fd);
}

__attribute__((used)) _Noreturn void start(const u64 *stack)
{
    SYS2(prctl, PR_SET_DUMPABLE, 0);
    SYS2(prctl, PR_SET_NAME, "kaa-init");
    init.command = descriptor_argument(stack);
    if (init.command < 0)
        die(EXIT_MALFORMED);
    if (is_error(SYS3(close_range, init.command + 2, ~0u, 0)) ||
        is_error(SYS3(fcntl, init.command, F_SETFD, FD_CLOEXEC)))
        die(EXIT_SYSTEM);
    reset_signals();
    open_progress(init.command + 1);
    for (int i = 0; i < SLOTS; i++)
        init.slots[i] = -1;
    while (read_batch())
        run_batch();
    die(0);
}
