/* A disk that fails to sync: while the file named by CARREL_FAILING_SYNC is there, fdatasync of a file whose name ends
 * with .wal returns EIO, and each time a byte is written to that file, so that a test can count. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *marker = getenv("CARREL_FAILING_SYNC");
    if (marker) {
        char link[64], name[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, name, sizeof name);
        if (length > 4 && memcmp(name + length - 4, ".wal", 4) == 0) {
            int count = open(marker, O_WRONLY | O_APPEND);
            if (count >= 0) {
                ssize_t ignored = write(count, "x", 1);
                (void)ignored;
                close(count);
                errno = EIO;
                return -1;
            }
        }
    }
    return real(fd);
}
