/* Runs two commands in turn with the same standard input, and prints the medians of what one process of each costs.
 *
 *   measure RUNS INPUT NAME_A COMMAND_A NAME_B COMMAND_B
 *
 * Commands are given to sh -c, which replaces itself by them. A launcher in C, because the peak memory that the kernel reports for a
 * process includes that of whoever started it.
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
    static double samples[2][FIGURES][1000];
    double median[2][FIGURES];
    int runs = argc == 7 ? atoi(argv[1]) : 0;

    if (runs < 1 || runs > 1000) {
        fprintf(stderr, "usage: measure RUNS INPUT NAME_A COMMAND_A NAME_B COMMAND_B\n");
        return 64;
    }
    for (int n = -1; n < runs; n++)             /* the first turn only warms up */
        for (int which = 0; which < 2; which++) {
            double figures[FIGURES];
            run(argv[2], argv[4 + 2 * which], figures);
            for (int i = 0; i < FIGURES; i++)
                samples[which][i][n < 0 ? 0 : n] = figures[i];
        }
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < FIGURES; i++) {
            qsort(samples[which][i], runs, sizeof(double), ascending);
            median[which][i] = samples[which][i][runs / 2];
        }
    printf("  %-28s %10s %10s %10s\n", "median of one process", "CPU ms", "wall ms", "peak MB");
    for (int which = 0; which < 2; which++)
        printf("  %-28s %10.2f %10.2f %10.1f\n", argv[3 + 2 * which], median[which][CPU] * 1e3, median[which][WALL] * 1e3, median[which][MEMORY]);
    printf("  %-28s %10.2f %10.2f %10.2f\n", "ratio", median[1][CPU] / median[0][CPU], median[1][WALL] / median[0][WALL],
           median[1][MEMORY] / median[0][MEMORY]);
    return 0;
}
