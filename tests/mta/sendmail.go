package mta

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postmend/tests/listen"
	"postmend/tests/peer"
)

// sendmailProxy hands a command line and a message to the test, and ends with the status that it answers.
const sendmailProxy = `#!/usr/bin/python3
import os, pwd, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("%s")
arguments = sys.argv[1:]
if "-f" not in arguments and not any(a.startswith("-f") for a in arguments):
    arguments = ["-f", pwd.getpwuid(os.geteuid()).pw_name + "@%s"] + arguments
s.sendall("\0".join(arguments).encode() + b"\n" + sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
sys.exit(int(s.recv(10) or b"75"))
`

// SendmailFor writes a sendmail command for programs that run as other users, and gives its path.
// Postfix's own lets them use a configuration only if the machine's /etc/postfix names it; so the test
// runs it for them. The sender that no option gives is the caller's name in the domain.
func SendmailFor(t testing.TB, dir, domain string) string {
	t.Helper()
	sendmail := peer.Need(t, "sendmail")
	peer.Need(t, "python3")
	socket, path := filepath.Join(dir, "sm.sock"), filepath.Join(dir, "sendmail")
	listener, err := net.Listen("unix", socket)
	if err == nil {
		err = os.Chmod(socket, 0o666)
	}
	if err == nil {
		err = os.WriteFile(path, fmt.Appendf(nil, sendmailProxy, socket, domain), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	listen.On(t, listener, func(conn net.Conn) {
		message := bufio.NewReader(conn)
		line, err := message.ReadString('\n')
		if err != nil {
			return
		}
		arguments := append([]string{"-C", dir},
			strings.Split(strings.TrimSuffix(line, "\n"), "\x00")...)
		cmd := exec.Command(sendmail, arguments...)
		cmd.Stdin = message
		err = cmd.Run()
		if _, exited := err.(*exec.ExitError); err == nil || exited {
			fmt.Fprint(conn, cmd.ProcessState.ExitCode())
		}
	})
	return path
}
