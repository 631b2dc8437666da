/* home: the home directory that a passwd(5) file, which is the image's, has for a user. */
#include "init.h"

#define FILE_MAX (1 << 20)
#define HOME_FIELD 5
#define UID_FIELD 2

/* One line as far as it has been read; it may be longer than any buffer. */
struct line {
    u32 field;
    u64 uid;
    bool is_number; /* so far, and not empty */
    u32 length;     /* of the home, also of what did not fit */
    char home[PATH_MAX];
};

static void begin_line(struct line *line)
{
    line->field = 0;
    line->uid = 0;
    line->is_number = false;
    line->length = 0;
}

static void read_uid(struct line *line, char c, bool first)
{
    bool digit = c >= '0' && c <= '9';
    line->is_number = digit && (first || line->is_number) && line->uid <= UINT32_MAX;
    line->uid = line->uid * 10 + (u64)(c - '0');
}

/* `at` is the position of the character in its field. */
static void read_character(struct line *line, char c, u32 at)
{
    if (line->field == UID_FIELD)
        read_uid(line, c, !at);
    if (line->field == HOME_FIELD) {
        if (line->length < sizeof line->home)
            line->home[line->length] = c;
        line->length++;
    }
}

/* Is this the user's line? */
static bool is_line_of(const struct line *line, u64 uid)
{
    return line->field >= HOME_FIELD && line->is_number && line->uid == uid;
}

static long store_home(struct line *line, u64 address, u64 room)
{
    if (!line->length)
        return -ENOENT;
    if (line->length >= room || line->length >= sizeof line->home)
        return -ENAMETOOLONG;
    line->home[line->length] = 0;
    memcpy((void *)address, line->home, line->length + 1);
    return 0;
}

static long is_regular(int fd)
{
    struct statx about;
    long r = SYS5(statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &about);
    if (is_error(r))
        return r;
    return (about.stx_mode & S_IFMT) == S_IFREG ? 0 : -EINVAL;
}

/* home(fd, uid, address, length) */
long op_home(const u64 *a)
{
    static struct line line;
    static char piece[4096];
    u32 at = 0;
    if (!in_data(a[2], a[3]))
        return -EFAULT;
    long r = is_regular((int)a[0]);
    if (is_error(r))
        return r;
    begin_line(&line);
    for (u64 offset = 0; offset < FILE_MAX;) {
        long n = SYS4(pread64, a[0], piece, sizeof piece, offset);
        if (n == -EINTR)
            continue;
        if (is_error(n))
            return n;
        if (!n)
            break;
        offset += (u64)n;
        for (long i = 0; i < n; i++) {
            if (piece[i] == '\n') {
                if (is_line_of(&line, a[1]))
                    return store_home(&line, a[2], a[3]);
                begin_line(&line);
                at = 0;
            } else if (piece[i] == ':') {
                line.field++;
                at = 0;
            } else {
                read_character(&line, piece[i], at++);
            }
        }
    }
    return is_line_of(&line, a[1]) ? store_home(&line, a[2], a[3]) : -ENOENT;
}
