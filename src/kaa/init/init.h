/* What the parts of kaa-init share. */
#ifndef KAA_INIT_H
#define KAA_INIT_H

#include "batch.h"
#include "sys.h"

#define EXIT_MALFORMED 70 /* a batch that makes no sense */
#define EXIT_SYSTEM 71    /* a system call that kaa-init itself needs failed */
#define EXIT_STOPPED 72   /* an op failed when there was nobody to reply to */

#define REPLY_MAX (64 << 10) /* bytes that one reply may carry */
#define REPLY_FDS 32

#define PAGE 4096       /* the size of the progress file */
#define PAGE_WORDS 4064

enum phase { STARTING, SET_UP, CREATED, GO, EXECUTING };

/* The page shared with Python. */
struct progress {
    u32 phase;
    u32 op;
    s32 err;
    s32 listener;
    s32 pid;
    u32 taken; /* Python's: it has the listener */
    u32 said;  /* bytes in `words` */
    u8 words[PAGE_WORDS];
};

_Static_assert(sizeof(struct progress) <= PAGE, "the progress file");

struct init {
    int command;  /* the command socket */
    bool silent;  /* wait_start is over: nothing is sent any more */
    volatile struct progress *progress;
    struct batch batch;
    s64 slots[SLOTS];
    u32 emitted; /* bytes in `reply` */
    u32 fd_count;
    int fds[REPLY_FDS]; /* own duplicates, closed when the reply is sent */
    u8 reply[REPLY_MAX];
};

extern struct init init;

_Noreturn void die(int status);

/* Sends {index or -1, errno or 0}, what was emitted and the descriptors; forgets both. */
void send_reply(s32 op, s32 err);
void forget_reply(void);

/* Does [address, address + length) lie within the data of the batch? */
bool in_data(u64 address, u64 length);
/* The string at the address, or a null pointer if it does not end within the data. */
const char *string_at(u64 address);
/* Adds to the reply (once nothing is sent any more: to the progress file): 0 or -E2BIG. */
long emit_bytes(const void *bytes, u64 length);
/* Adds a duplicate of the descriptor to the reply: 0 or an error. */
long send_descriptor(int fd);

/* Opens like openat2, close-on-exec, again and again while others rename or mount (EAGAIN). */
long open_how(int directory, const char *path, u64 flags, u64 mode, u64 resolve);

/* Runs a special op; `a` are its six arguments, `op` is its index in the table. */
long run_special(unsigned op, const u64 *a);
long op_resolve(const u64 *a);
long op_copy_up(const u64 *a);
long op_home(const u64 *a);
long op_spawn(const u64 *a);
long op_wait_start(const u64 *a);

#endif
