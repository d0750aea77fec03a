/* The floor of a look-up table: answers each line on standard input at once, and looks nothing up. */
#include <unistd.h>

int main(void)
{
    char line[4096];
    ssize_t n;

    while ((n = read(0, line, sizeof(line))) > 0)
        if (line[n - 1] == '\n' && write(1, "200 alice@sender.example\n", 25) != 25)
            return 1;
    return n < 0;
}
