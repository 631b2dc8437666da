/*
 * The `kaa` command: finds kaa's boot file and a Python for it, and becomes
 *
 *     python3.X -IS .../kaa/_boot.py ARGS...
 *
 * It is a program of its own because the alternatives cost more than a
 * container does: pip's wrapper script doubles the start-up time, and a shell
 * script cannot find its own package. Freestanding: no libc, no allocation.
 *
 * KAA_BOOT and KAA_PYTHON fix the two paths: an editable install does that with
 * the first, a distribution may with both (launcher.py).
 */

#include "sys.h"

#define R_OK 4

#ifndef KAA_BOOT
#define KAA_BOOT ""
#endif
#ifndef KAA_PYTHON
#define KAA_PYTHON ""
#endif

enum {
    OLDEST = 11, /* the first Python 3.X that kaa runs on */
    NEWEST = 30, /* where to begin looking; with a later one Python finds kaa itself */
    ANY = 0,     /* a minor version that is not known, or does not matter */
};

static bool accessible(const char *path, int mode)
{
    return SYS3(faccessat, AT_FDCWD, path, mode) == 0;
}

/* A path in the making. One that would be longer than PATH_MAX is "", which is no file. */
struct path {
    size_t length;
    bool too_long;
    char text[PATH_MAX];
};

static void add(struct path *p, const char *s, size_t n)
{
    p->too_long = p->too_long || p->length + n >= PATH_MAX;
    if (p->too_long)
        p->length = n = 0;
    memcpy(p->text + p->length, s, n);
    p->length += n;
    p->text[p->length] = 0;
}

static void add_string(struct path *p, const char *s)
{
    add(p, s, strlen(s));
}

static void add_number(struct path *p, long number)
{
    if (number >= 10)
        add_number(p, number / 10);
    add(p, &"0123456789"[number % 10], 1);
}

/* "python3.X", or "python3" */
static void add_python(struct path *p, int minor)
{
    add_string(p, "python3");
    if (minor != ANY) {
        add_string(p, ".");
        add_number(p, minor);
    }
}

static void start_path(struct path *p, const char *directory, size_t n)
{
    p->length = 0;
    p->too_long = false;
    add(p, directory, n);
}

/* What the link says, or "". */
static void read_link(struct path *p, const char *link)
{
    long n = SYS4(readlinkat, AT_FDCWD, link, p->text, PATH_MAX - 1);

    p->length = n > 0 ? (size_t)n : 0;
    p->too_long = false;
    p->text[p->length] = 0;
}

/* How much of the path is the directory, its slash included. */
static size_t directory_length(const char *path, size_t n)
{
    while (n && path[n - 1] != '/')
        n--;
    return n;
}

/* The X of a file that is called python3.X; ANY if it is called something else. */
static int minor_of(const char *name)
{
    int minor = 0;

    for (const char *s = "python3."; *s; s++, name++)
        if (*name != *s)
            return ANY;
    for (; *name >= '0' && *name <= '9' && minor < 100; name++)
        minor = 10 * minor + *name - '0';
    return minor;
}

/*
 * Can this be kaa's interpreter? It must be a program: pyenv's "python3" is a
 * script, and which Python that starts, if any, depends on where one is. And
 * it must not be too old, as far as the name of the file behind the links tells.
 */
static bool suits(const char *python)
{
    struct path link, real;
    char magic[4] = {0};
    int minor;
    long fd;

    if (!accessible(python, X_OK))
        return false;
    fd = SYS4(openat, AT_FDCWD, python, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    SYS3(read, fd, magic, sizeof(magic));
    start_path(&link, "/proc/self/fd/", 14);
    add_number(&link, fd);
    read_link(&real, link.text);
    SYS1(close, fd);
    if (memcmp(magic, "\177ELF", sizeof(magic)))
        return false;
    minor = minor_of(real.text + directory_length(real.text, real.length));
    return minor == ANY || minor >= OLDEST;
}

static bool python_in(struct path *p, const char *directory, size_t n, int minor)
{
    start_path(p, directory, n);
    if (n && directory[n - 1] != '/')
        add_string(p, "/");
    add_python(p, minor);
    return suits(p->text);
}

/* In the system's directories, then in those of $PATH that are absolute. */
static bool python_on_path(struct path *p, const char *search, int minor)
{
    if (python_in(p, "/usr/bin/", 9, minor) || python_in(p, "/usr/local/bin/", 15, minor))
        return true;
    while (*search) {
        size_t n = 0;

        while (search[n] && search[n] != ':')
            n++;
        if (*search == '/' && python_in(p, search, n, minor))
            return true;
        search += n + (search[n] == ':');
    }
    return false;
}

/* An interpreter for the code of a Python 3.`minor`: beside kaa, else the system's. */
static bool find_python(struct path *p, const struct path *bin, const struct path *prefix,
                        const char *search, int minor)
{
    if (minor != ANY) {
        if (python_in(p, bin->text, bin->length, minor))
            return true;
        start_path(p, prefix->text, prefix->length);
        add_string(p, "pyvenv.cfg");
        /* Outside of a virtual environment python3 may be another 3.X than the code's. */
        if (!accessible(p->text, R_OK) && python_on_path(p, search, minor))
            return true;
    }
    if (python_in(p, bin->text, bin->length, ANY) || python_on_path(p, search, ANY))
        return true;
    for (minor = NEWEST; minor >= OLDEST; minor--)
        if (python_on_path(p, search, minor))
            return true;
    return false;
}

static bool boot_in(struct path *p, const struct path *prefix, const char *lib, int minor,
                    const char *packages)
{
    start_path(p, prefix->text, prefix->length);
    add_string(p, lib);
    add_python(p, minor);
    add_string(p, packages);
    add_string(p, "kaa/_boot.py");
    return accessible(p->text, R_OK);
}

static bool boot_for(struct path *p, const struct path *prefix, int minor)
{
    return boot_in(p, prefix, "lib/", minor, "/site-packages/") ||
           boot_in(p, prefix, "lib/", minor, "/dist-packages/") ||
           boot_in(p, prefix, "lib64/", minor, "/site-packages/") ||
           boot_in(p, prefix, "lib64/", minor, "/dist-packages/");
}

/*
 * Where pip, and distributions, put kaa's package for a command in PREFIX/bin.
 * Leaves the Python it was installed for in `minor`. Without any, `p` is "".
 */
static void find_boot(struct path *p, const struct path *prefix, int *minor)
{
    for (*minor = NEWEST; *minor >= OLDEST; --*minor)
        if (boot_for(p, prefix, *minor))
            return;
    *minor = ANY;
    if (boot_for(p, prefix, ANY)) /* Debian's /usr/lib/python3/dist-packages */
        return;
    start_path(p, prefix->text, prefix->length); /* pip install --target */
    add_string(p, "kaa/_boot.py");
    if (!accessible(p->text, R_OK))
        start_path(p, "", 0);
}

static const char *path_variable(char **environ)
{
    for (; *environ; environ++) {
        const char *s = *environ;

        if (s[0] == 'P' && s[1] == 'A' && s[2] == 'T' && s[3] == 'H' && s[4] == '=')
            return s + 5;
    }
    return "";
}

__attribute__((noreturn)) static void die(const char *message)
{
    SYS3(write, 2, message, strlen(message));
    for (;;)
        SYS1(exit_group, 1);
}

static void become_python(const char *python, const char *boot, char **argv, long argc,
                          char **environ)
{
    const char *arguments[argc + 5];
    long n = 0;

    /* The full path: Python finds its own library, and pyvenv.cfg, from argv[0]. */
    arguments[n++] = python;
    if (*boot) {
        arguments[n++] = "-IS";
        arguments[n++] = boot;
    } else {
        arguments[n++] = "-I";
        arguments[n++] = "-m";
        arguments[n++] = "kaa";
    }
    for (long i = 1; i < argc; i++)
        arguments[n++] = argv[i];
    arguments[n] = 0;
    SYS3(execve, python, arguments, environ);
}

/* The kernel leaves argc, argv and the environment on the stack, and nowhere to return to. */
#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start: xor %ebp, %ebp\n"
        "        mov %rsp, %rdi\n"
        "        and $-16, %rsp\n"
        "        call start\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n"
        "_start: mov x29, #0\n"
        "        mov x30, #0\n"
        "        mov x0, sp\n"
        "        b start\n");
#endif

/* `stack`: argc, argv, NULL, environ, NULL. */
__attribute__((used, noreturn)) static void start(long *stack)
{
    long argc = *stack;
    char **argv = (char **)(stack + 1), **environ = argv + argc + 1;
    struct path bin, prefix, boot, python;
    int minor = ANY;

    read_link(&bin, "/proc/self/exe");
    if (bin.text[0] != '/') /* never look below the working directory instead */
        die("kaa: /proc/self/exe cannot be read; kaa needs /proc to be mounted\n");
    bin.length = directory_length(bin.text, bin.length);
    start_path(&prefix, bin.text, directory_length(bin.text, bin.length - 1));

    start_path(&boot, KAA_BOOT, sizeof(KAA_BOOT) - 1);
    if (!boot.length)
        find_boot(&boot, &prefix, &minor);
    start_path(&python, KAA_PYTHON, sizeof(KAA_PYTHON) - 1);
    if (!python.length && !find_python(&python, &bin, &prefix, path_variable(environ), minor))
        die("kaa: found no Python 3.11 or newer: not beside the kaa command, nor in"
            " /usr/bin, /usr/local/bin or $PATH\n");
    become_python(python.text, boot.text, argv, argc, environ);
    die("kaa: the Python interpreter found for kaa could not be executed\n");
}
