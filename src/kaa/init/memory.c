/* What a compiler expects to find even where there is no library. The empty assembly keeps
 * it from recognising a loop and replacing it by a call of the function it is in. */
#include "sys.h"

#define NOT_AN_IDIOM() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
    u8 *t = to;
    const u8 *f = from;
    while (n--) {
        *t++ = *f++;
        NOT_AN_IDIOM();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t n)
{
    u8 *t = to;
    const u8 *f = from;
    if (t <= f)
        return memcpy(to, from, n);
    while (n--) {
        t[n] = f[n];
        NOT_AN_IDIOM();
    }
    return to;
}

void *memset(void *to, int byte, size_t n)
{
    u8 *t = to;
    while (n--) {
        *t++ = (u8)byte;
        NOT_AN_IDIOM();
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a;
    const u8 *y = b;
    for (; n--; x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n]) {
        n++;
        NOT_AN_IDIOM();
    }
    return n;
}
