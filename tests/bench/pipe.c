/* The floor of this shape of filter: what a program costs that only passes stdin to an SMTP listener.
 *
 *   pipe PORT SENDER RECIPIENT < message
 *
 * LF line ends become CRLF, dots are stuffed, replies are awaited one by one. It does nothing else.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int sock;

static void fail(const char *stage)
{
    printf("4.3.0 %s\n", stage);
    exit(75);
}

static void send_all(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(sock, data, length);
        if (n <= 0)
            fail("write");
        data += n;
        length -= n;
    }
}

/* expect reads one reply, of one or more lines, that has to start with the given digit. */
static void expect(char digit)
{
    static char buffer[8192];
    static size_t filled;

    for (;;) {
        char *end = memchr(buffer, '\n', filled);
        if (end != NULL) {
            int last = buffer[3] != '-';
            if (buffer[0] != digit)
                fail("reply");
            filled -= end + 1 - buffer;
            memmove(buffer, end + 1, filled);
            if (last)
                return;
            continue;
        }
        ssize_t n = read(sock, buffer + filled, sizeof(buffer) - filled);
        if (n <= 0)
            fail("read");
        filled += n;
    }
}

static void command(const char *line, char digit)
{
    send_all(line, strlen(line));
    expect(digit);
}

int main(int argc, char **argv)
{
    static char in[65536], out[3 * sizeof(in)];
    char line[1024];
    struct sockaddr_in address = {.sin_family = AF_INET};
    int on = 1, at_start = 1;
    ssize_t n;

    if (argc != 4)
        return 64;
    address.sin_port = htons(atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sock = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(sock, (struct sockaddr *) &address, sizeof(address)) < 0)
        fail("connect");
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    expect('2');
    command("EHLO localhost\r\n", '2');
    snprintf(line, sizeof(line), "MAIL FROM:<%s>\r\n", argv[2]);
    command(line, '2');
    snprintf(line, sizeof(line), "RCPT TO:<%s>\r\n", argv[3]);
    command(line, '2');
    command("DATA\r\n", '3');
    while ((n = read(0, in, sizeof(in))) > 0) {
        size_t filled = 0;
        for (ssize_t i = 0; i < n; i++) {
            if (at_start && in[i] == '.')
                out[filled++] = '.';
            if (in[i] == '\n')
                out[filled++] = '\r';
            out[filled++] = in[i];
            at_start = in[i] == '\n';
        }
        send_all(out, filled);
    }
    command(at_start ? ".\r\n" : "\r\n.\r\n", '2');
    command("QUIT\r\n", '2');
    printf("2.0.0 queued\n");
    return 0;
}
