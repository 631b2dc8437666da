/* Exchanges two names again and again until it is killed: FIRST SECOND MICROSECONDS-BETWEEN */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    useconds_t pause = strtoul(argv[3], NULL, 10);
    for (;;) {
        if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE)) {
            perror("renameat2");
            return 1;
        }
        if (pause)
            usleep(pause);
    }
}
