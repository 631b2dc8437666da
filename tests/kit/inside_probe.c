/*
 * Prints as JSON what a process in a container sees of itself and its world.
 *
 *   inside_probe             everything below
 *   inside_probe DIR...      only {"writable": [...]}: the files below each DIR
 *                            that open for writing (without creating or truncating)
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern char **environ;
static int items; /* printed so far in the innermost list or object */

static void text(const char *value)
{
    putchar('"');
    for (const unsigned char *c = (const unsigned char *)value; *c; c++)
        if (*c < 0x20 || *c >= 0x7f || *c == '"' || *c == '\\')
            printf("\\u%04x", *c);
        else
            putchar(*c);
    putchar('"');
}

static void comma(void)
{
    if (items++)
        printf(",\n");
}

static void key(const char *name)
{
    comma();
    text(name);
    putchar(':');
}

static void number(const char *name, long long value)
{
    key(name);
    printf("%lld", value);
}

/* The whole of a file as a string; null when it cannot be read. */
static void file(const char *name, const char *path)
{
    static char buffer[1 << 20];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = 0, more;

    key(name);
    if (fd < 0) {
        printf("null");
        return;
    }
    while ((more = read(fd, buffer + length, sizeof buffer - 1 - length)) > 0)
        length += more;
    buffer[length] = 0;
    text(buffer);
    close(fd);
}

static void descriptors(void)
{
    key("fds");
    printf("{");
    int outer = items;
    items = 0;
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], name[16], target[PATH_MAX] = "?";
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        snprintf(name, sizeof name, "%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length >= 0)
            target[length] = 0;
        key(name);
        text(target);
    }
    items = outer;
    printf("}");
}

static void limits(void)
{
    static const char *names[] = {
        "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
        "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
    };
    key("rlimits");
    printf("{");
    int outer = items;
    items = 0;
    for (int index = 0; index < 16; index++) {
        struct rlimit limit;
        getrlimit(index, &limit);
        key(names[index]);
        /* RLIM_INFINITY becomes -1 */
        printf("[%lld,%lld]", (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
    items = outer;
    printf("}");
}

static void groups(void)
{
    gid_t list[NGROUPS_MAX];
    int count = getgroups(NGROUPS_MAX, list);
    key("groups");
    printf("[");
    for (int index = 0; index < count; index++)
        printf("%s%u", index ? "," : "", list[index]);
    printf("]");
}

static void namespaces(void)
{
    static const char *names[] = {
        "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts",
    };
    key("namespaces");
    printf("{");
    int outer = items;
    items = 0;
    for (int index = 0; index < 8; index++) {
        char path[64];
        struct stat found;
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[index]);
        number(names[index], stat(path, &found) ? -1 : (long long)found.st_ino);
    }
    items = outer;
    printf("}");
}

static void environment(void)
{
    key("env");
    printf("[");
    for (int index = 0; environ[index]; index++) {
        if (index)
            putchar(',');
        text(environ[index]);
    }
    printf("]");
}

/* keyctl(2): type;uid;gid;permissions;name of the session keyring */
static void keyring(void)
{
    char found[256] = "";
    syscall(SYS_keyctl, 6 /* KEYCTL_DESCRIBE */, -3 /* the session's */, found, sizeof found - 1);
    key("keyring");
    text(found);
}

static void writable(const char *directory)
{
    DIR *list = opendir(directory);
    struct dirent *entry;
    while (list && (entry = readdir(list))) {
        char path[PATH_MAX];
        struct stat found;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (snprintf(path, sizeof path, "%s/%s", directory, entry->d_name) >= PATH_MAX)
            continue;
        if (lstat(path, &found))
            continue;
        if (S_ISDIR(found.st_mode)) {
            writable(path);
        } else if (S_ISREG(found.st_mode)) {
            int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
            if (fd >= 0) {
                comma();
                text(path);
                close(fd);
            }
        }
    }
    if (list)
        closedir(list);
}

int main(int argc, char **argv)
{
    char cwd[PATH_MAX] = "";
    mode_t mask = umask(0);

    if (argc > 1) {
        printf("{\"writable\":[");
        for (int index = 1; index < argc; index++)
            writable(argv[index]);
        printf("]}\n");
        return 0;
    }
    printf("{");
    descriptors();
    syscall(SYS_getcwd, cwd, sizeof cwd);
    key("cwd");
    text(cwd);
    number("umask", mask);
    number("pid", getpid());
    number("ppid", getppid());
    number("sid", getsid(0));
    number("pgid", getpgid(0));
    number("uid", getuid());
    number("euid", geteuid());
    number("gid", getgid());
    number("egid", getegid());
    number("personality", personality(0xffffffff));
    groups();
    keyring();
    limits();
    namespaces();
    environment();
    file("status", "/proc/self/status");
    file("uid_map", "/proc/self/uid_map");
    file("gid_map", "/proc/self/gid_map");
    file("setgroups", "/proc/self/setgroups");
    file("cgroup", "/proc/self/cgroup");
    file("mountinfo", "/proc/self/mountinfo");
    file("oom_score_adj", "/proc/self/oom_score_adj");
    printf("}\n");
    return 0;
}
