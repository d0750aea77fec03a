// Package peer finds the programs that other people wrote and that our tests take as judges.
package peer

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"testing"
	"time"
)

// Need returns the path of a program of Debian's, looked for in the system's folders rather than in PATH: a
// Python or Perl installed elsewhere does not see Debian's modules. Where the program is missing the test
// is skipped, under CI=true it fails; `make peers` installs them all.
func Need(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	Missing(t, name+" is not installed (make peers)")
	return ""
}

// Start starts a daemon, which is killed at the test's end. The channel is closed when it ends.
func Start(t testing.TB, daemon *exec.Cmd) (ended <-chan struct{}) {
	t.Helper()
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		daemon.Wait()
		close(waited)
	}()
	t.Cleanup(func() {
		daemon.Process.Kill()
		<-waited
	})
	return waited
}

// NeedAnywhere is Need for a program that may come from elsewhere than Debian.
func NeedAnywhere(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, name+" is not installed (make peers)")
	}
	return path
}

// NeedRoot ends a test that cannot run as an ordinary user, as Need does for a missing program.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "this test starts daemons that want to be started by root")
	}
}

// Account is an account of nobody else's, which tests run postmend as where it judges accounts.
// tests/peers.sh makes it.
const Account = "postmend-test"

// Mailbox is an account that programs run as which deliver to mailboxes: setup refuses Account while there is
// a daemon of its own.
const Mailbox = "postmend-box"

// NeedAccount ends a test that cannot run without Account and Mailbox.
func NeedAccount(t testing.TB) {
	t.Helper()
	for _, name := range []string{Account, Mailbox} {
		if _, err := user.Lookup(name); err != nil {
			Missing(t, "there is no account "+name+" (make peers)")
		}
	}
}

// Main runs a package's tests on a machine without a Postfix of its own, as far as Postfix's programs and
// ours see: what is configured in /etc/postfix must not matter. A test that wants one names it by
// MAIL_CONFIG.
func Main(m *testing.M) {
	empty, err := os.MkdirTemp("", "no-postfix")
	if err != nil {
		panic(err)
	}
	os.Setenv("MAIL_CONFIG", empty)
	status := m.Run()
	os.Remove(empty)
	os.Exit(status)
}

// Missing skips the test for the given reason, or fails it under CI=true: there, no test passes by not
// running.
func Missing(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// FreePort gives a TCP port of loopback that is the test's until it ends. It is not one of those that the
// kernel hands out by itself, and the UDP port of the same number keeps other tests off, in whatever
// process they run.
func FreePort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		claim, err := net.ListenPacket("udp", address)
		if err != nil {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			claim.Close()
			continue
		}
		listener.Close()
		t.Cleanup(func() { claim.Close() })
		_, port, _ := net.SplitHostPort(address)
		return port
	}
	t.Fatal("no free port")
	return ""
}

// Long ends a test in `make race`, which is short: it does the same for many inputs one after the other, or
// waits for other programs, and the race detector finds nothing there that it does not find in others.
func Long(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
}

// Age makes the main.cf in a folder look old: all programs of Postfix wait up to two seconds with one that
// was just written, since it may still be in the making.
func Age(t testing.TB, dir string) {
	t.Helper()
	past := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(dir, "main.cf"), past, past); err != nil {
		t.Fatal(err)
	}
}
