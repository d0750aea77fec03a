/* Runs commands in turn with the same standard input, and prints what one process of each costs.
 *
 *   measure RUNS INPUT [NAME COMMAND]...
 *
 * Commands are given to sh -c, which replaces itself by them. A launcher in C, because the peak memory that the kernel reports for a
 * process includes that of whoever started it. The first turn of several only warms up.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CPU, WALL, MEMORY, FIGURES };
enum { MOST_COMMANDS = 16, MOST_RUNS = 1000 };

static double samples[MOST_COMMANDS][FIGURES][MOST_RUNS];

static double seconds(struct timeval t) { return t.tv_sec + t.tv_usec / 1e6; }

static int ascending(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static void run(const char *input, const char *command, double figures[FIGURES])
{
    struct timespec before, after;
    struct rusage usage;
    int status;
    pid_t pid;

    clock_gettime(CLOCK_MONOTONIC, &before);
    if ((pid = fork()) == 0) {
        int in = open(input, O_RDONLY), out = open("/dev/null", O_WRONLY);
        if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0)
            _exit(126);
        execl("/bin/sh", "sh", "-c", command, (char *) NULL);
        _exit(127);
    }
    if (wait4(pid, &status, 0, &usage) != pid || status != 0) {
        fprintf(stderr, "%s: ended with status %#x\n", command, status);
        exit(1);
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    figures[CPU] = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    figures[WALL] = after.tv_sec - before.tv_sec + (after.tv_nsec - before.tv_nsec) / 1e9;
    figures[MEMORY] = usage.ru_maxrss / 1024.0;
}

int main(int argc, char **argv)
{
    int runs = argc > 4 ? atoi(argv[1]) : 0, commands = (argc - 3) / 2;

    if (runs < 1 || runs > MOST_RUNS || argc % 2 == 0 || commands > MOST_COMMANDS) {
        fprintf(stderr, "usage: measure RUNS INPUT [NAME COMMAND]...\n");
        return 64;
    }
    for (int n = runs > 1 ? -1 : 0; n < runs; n++)
        for (int which = 0; which < commands; which++) {
            double figures[FIGURES];
            run(argv[2], argv[4 + 2 * which], figures);
            for (int i = 0; i < FIGURES; i++)
                samples[which][i][n < 0 ? 0 : n] = figures[i];
        }
    printf("  %-34s %12s %10s %10s %10s %8s\n", "one process, medians", "least CPU ms", "CPU ms", "wall ms", "peak MB", "CPU");
    double first = 0;
    for (int which = 0; which < commands; which++) {
        double median[FIGURES];
        for (int i = 0; i < FIGURES; i++) {
            qsort(samples[which][i], runs, sizeof(double), ascending);
            median[i] = samples[which][i][runs / 2];
        }
        if (which == 0)
            first = median[CPU];
        printf("  %-34s %12.2f %10.2f %10.2f %10.1f %7.2fx\n", argv[3 + 2 * which], samples[which][CPU][0] * 1e3, median[CPU] * 1e3,
               median[WALL] * 1e3, median[MEMORY], median[CPU] / first);
    }
    return 0;
}
