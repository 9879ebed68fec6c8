/* Loaded into a replica before its C library: makes syncs slow or lets them fail, shifts the wall clock, and refuses
 * writes as a full disk does, as a file that the suite writes says. What it did is counted in the same file, so that a
 * fault that never reached the program is seen. Without the file it does nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* As shim.rs has it: eight bytes each, of this machine's order. */
struct control {
  /* Written by the suite. */
  _Atomic int64_t sync_delay_us;
  _Atomic int64_t syncs_to_fail;
  _Atomic int64_t clock_offset_us;
  _Atomic int64_t disk_is_full;
  /* Written here. */
  _Atomic int64_t syncs_delayed;
  _Atomic int64_t syncs_failed;
  _Atomic int64_t syncs_after_failure;
  _Atomic int64_t clock_reads_shifted;
};

static struct control *control;
static int (*next_fsync)(int);
static int (*next_fdatasync)(int);
static int (*next_clock_gettime)(clockid_t, struct timespec *);
static ssize_t (*next_pwrite)(int, const void *, size_t, off64_t);

__attribute__((constructor)) static void begin(void) {
  next_fsync = dlsym(RTLD_NEXT, "fsync");
  next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  next_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  next_pwrite = dlsym(RTLD_NEXT, "pwrite64");
  const char *path = getenv("CARREL_CHAOS_CONTROL");
  int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (mapped != MAP_FAILED) control = mapped;
}

/* Files of which a sync has failed in this process: more than a handful means that it goes on when it must not. */
#define FAILED_MAX 64
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { dev_t device; ino_t inode; } failed[FAILED_MAX];
static int failed_count;

/* Whether a sync of the file has failed before; from now on it has, if this one does. */
static int has_failed(int file, int fails_now) {
  struct stat stat;
  if (fstat(file, &stat) != 0) return 0;
  pthread_mutex_lock(&lock);
  int found = 0;
  for (int i = 0; i < failed_count; i++) found |= failed[i].device == stat.st_dev && failed[i].inode == stat.st_ino;
  if (!found && fails_now && failed_count < FAILED_MAX) {
    failed[failed_count].device = stat.st_dev;
    failed[failed_count++].inode = stat.st_ino;
  }
  pthread_mutex_unlock(&lock);
  return found;
}

static int fails_now(void) {
  int64_t left = atomic_load(&control->syncs_to_fail);
  while (left > 0)
    if (atomic_compare_exchange_weak(&control->syncs_to_fail, &left, left - 1)) return 1;
  return 0;
}

static int sync_through(int file, int (*next)(int)) {
  if (!control) return next(file);
  int fails = fails_now();
  if (has_failed(file, fails)) atomic_fetch_add(&control->syncs_after_failure, 1);
  int64_t delay_us = atomic_load(&control->sync_delay_us);
  if (delay_us > 0) {
    struct timespec delay = {delay_us / 1000000, delay_us % 1000000 * 1000};
    atomic_fetch_add(&control->syncs_delayed, 1);
    nanosleep(&delay, NULL);
  }
  if (fails) {
    atomic_fetch_add(&control->syncs_failed, 1);
    errno = EIO;
    return -1;
  }
  return next(file);
}

int fsync(int file) { return sync_through(file, next_fsync); }
int fdatasync(int file) { return sync_through(file, next_fdatasync); }

int clock_gettime(clockid_t clock, struct timespec *time) {
  /* Others may ask before this library has begun. */
  int result = next_clock_gettime ? next_clock_gettime(clock, time) : (int)syscall(SYS_clock_gettime, clock, time);
  if (result != 0 || !control || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  int64_t offset_us = atomic_load(&control->clock_offset_us);
  if (offset_us != 0) {
    int64_t now_us = (int64_t)time->tv_sec * 1000000 + time->tv_nsec / 1000 + offset_us;
    time->tv_sec = now_us / 1000000;
    time->tv_nsec = now_us % 1000000 * 1000;
    atomic_fetch_add(&control->clock_reads_shifted, 1);
  }
  return 0;
}

/* The service writes its data by position, and nothing else. */
ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
  struct stat stat;
  /* What lies within the file has its place on the disk already. */
  if (control && atomic_load(&control->disk_is_full) && fstat(file, &stat) == 0 &&
      (int64_t)(offset + length) > (int64_t)stat.st_blocks * 512) {
    errno = ENOSPC;
    return -1;
  }
  return next_pwrite(file, bytes, length, offset);
}
ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) { return pwrite64(file, bytes, length, offset); }
