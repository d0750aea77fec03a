/* Asks look-up tables as the processes of Postfix do, each on a connection of its own, and prints how long an answer takes.
 *
 *   tables CONNECTIONS QUERIES PERIOD [NAME KEYS COMMAND]...
 *
 * Commands speak tcp_table(5); they are given to sh -c with a socket as standard input, output and error, as spawn(8) does, once for
 * each connection. KEYS is a file with a key in each line, of which each has to be found. Each connection is a process that asks for keys
 * at random, all at the same time, QUERIES times, once in each PERIOD of milliseconds; if PERIOD is 0, as soon as it has an answer.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST = 512 };

static double first; /* what the first table costs */
static char **keys;
static long known;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void read_keys(const char *name)
{
    static char line[LONGEST];
    long room = 0;
    FILE *file = fopen(name, "r");

    if (!file)
        die(name);
    for (known = 0; fgets(line, sizeof(line), file); known++) {
        if (known == room && !(keys = realloc(keys, (room = 2 * room + 1024) * sizeof(*keys))))
            die("realloc");
        keys[known] = strdup(line);
    }
    fclose(file);
    if (known == 0)
        die(name);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double ask(int table, const char *key)
{
    char text[LONGEST + 8], answer[4096];
    int length = snprintf(text, sizeof(text), "get %s", key);
    ssize_t filled = 0;
    double since = now();

    if (write(table, text, length) != length)
        die("write");
    do {
        ssize_t n = read(table, answer + filled, sizeof(answer) - filled);
        if (n <= 0)
            die("read");
        filled += n;
    } while (answer[filled - 1] != '\n');
    if (strncmp(answer, "200 ", 4) != 0) {
        fprintf(stderr, "%.*s for %s", (int) filled, answer, key);
        exit(1);
    }
    return now() - since;
}

static pid_t start(const char *command, int *table)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(here);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), served;
    pid_t pid;

    *table = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *) &here, length) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *) &here, &length) < 0 || connect(*table, (struct sockaddr *) &here, length) < 0 ||
        (served = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0)
        die("connection");
    close(listener);
    if ((pid = fork()) == 0) {
        for (int fd = 0; fd < 3; fd++)
            dup2(served, fd);
        execl("/bin/sh", "sh", "-c", command, (char *) NULL);
        _exit(127);
    }
    close(served);
    return pid;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;
    return (x > y) - (x < y);
}

static void wait_until(double moment)
{
    struct timespec t = {.tv_sec = moment, .tv_nsec = (moment - (long) moment) * 1e9};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) != 0)
        ;
}

static void measure(const char *name, const char *command, int connections, int queries, double period)
{
    double *times = mmap(NULL, sizeof(double) * connections * queries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t tables[connections], clients[connections];
    int ready[2], go[2], status;
    struct rusage usage;
    double cpu = 0;
    double *start_at = mmap(NULL, sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double since, took;
    char byte = 0;

    if (times == MAP_FAILED || start_at == MAP_FAILED || pipe2(ready, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
        die("start");
    fflush(stdout);
    for (int i = 0; i < connections; i++) {
        int table;
        tables[i] = start(command, &table);
        if ((clients[i] = fork()) == 0) {
            srandom(i + 1);
            close(go[1]);
            ask(table, keys[random() % known]);
            if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 0)
                die("ready");
            for (int n = 0; n < queries; n++) {
                if (period > 0)
                    wait_until(*start_at + n * period);
                times[i * queries + n] = ask(table, keys[random() % known]);
            }
            _exit(0);
        }
        close(table);
    }
    for (int i = 0; i < connections; i++)
        if (read(ready[0], &byte, 1) != 1)
            die("ready");
    *start_at = 0.01 + (since = now());
    close(go[1]);
    for (int i = 0; i < connections; i++)
        if (waitpid(clients[i], &status, 0) < 0 || status != 0)
            exit(1);
    took = now() - since;
    for (int i = 0; i < connections; i++) {
        if (wait4(tables[i], NULL, 0, &usage) < 0)
            die("wait4");
        cpu += usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
    int all = connections * queries;
    qsort(times, all, sizeof(double), ascending);
    if (first == 0)
        first = cpu;
    printf("  %-34s %10.3f %10.3f %12.0f %12.1f %7.2fx\n", name, times[all / 2] * 1e3, times[all - all / 100 - 1] * 1e3,
           all / took, cpu / all * 1e6,
           cpu / first);
    munmap(times, sizeof(double) * all);
    close(ready[0]);
    close(ready[1]);
    close(go[0]);
}

int main(int argc, char **argv)
{
    int connections = argc > 2 ? atoi(argv[1]) : 0, queries = argc > 2 ? atoi(argv[2]) : 0;

    if (connections < 1 || queries < 1 || argc < 4 || argc % 3 != 1) {
        fprintf(stderr, "usage: tables CONNECTIONS QUERIES PERIOD [NAME KEYS COMMAND]...\n");
        return 64;
    }
    printf("  %-34s %10s %10s %12s %12s %8s\n", "", "median ms", "99 % ms", "answers/s", "CPU us each", "CPU");
    for (int i = 4; i < argc; i += 3) {
        read_keys(argv[i + 1]);
        measure(argv[i], argv[i + 2], connections, queries, atof(argv[3]) / 1e3);
    }
    return 0;
}
