// Package tests runs postmend where it will run: between a real Postfix and real verifiers.
package tests

import (
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"postmend/dkim"
	"postmend/filter/authn/dnsserver"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// forwarder is the host under test: a Postfix with postmend as content filter, as docs/postfix.md sets it
// up. It is at home in example.org, whose mailboxes are the local sink; everything else leaves for the
// remote sink.
type forwarder struct {
	*mta.Instance
	t             testing.TB
	smtp          string // address of the smtpd in front of the filter
	listener      string // address of the re-injection listener
	config        string // path of postmend.toml
	program       string // path that master.cf starts
	dns           *dnsserver.Server
	local, remote *mta.Sink
}

const (
	srsSecret = "tops3cr3t"
	srsDomain = "srs.example.org"
)

// start builds postmend, and sets a forwarder up from the lines in docs/postfix.md.
func start(t testing.TB) *forwarder {
	t.Helper()
	return startChanged(t, func(*forwarder, *string, *string) {})
}

// startChanged changes the lines for main.cf and master.cf before Postfix starts.
func startChanged(t testing.TB, change func(f *forwarder, main, master *string)) *forwarder {
	t.Helper()
	return startTo(t, "", change)
}

// startTo is startChanged where postmend hands messages to a target; "" is the listener.
func startTo(t testing.TB, target string, change func(f *forwarder, main, master *string)) *forwarder {
	t.Helper()
	f := &forwarder{t: t, local: mta.StartSink(t), remote: mta.StartSink(t)}
	dir := mta.Folder(t)
	f.config = filepath.Join(dir, "postmend.toml")
	f.program = filepath.Join(dir, "postmend")
	f.smtp = net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	f.listener = net.JoinHostPort("127.0.0.1", peer.FreePort(t))
	if target == "" {
		target = "smtp://" + f.listener
	}
	build(t, f.program)
	var err error
	if f.dns, err = dnsserver.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.dns.Close() })
	f.writeConfig(target)

	master := f.private(documented(t, "master.cf"))
	master += "\n" + f.smtp + " inet n - n - - smtpd -o smtpd_authorized_xclient_hosts=127.0.0.0/8\n"
	main := documented(t, "main.cf") + `
relayhost = [127.0.0.1]:` + f.remote.Port + `
virtual_mailbox_domains = example.org
virtual_mailbox_maps = static:x
virtual_transport = smtp:[127.0.0.1]:` + f.local.Port + `
mydestination =
relay_transport = smtp
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
message_size_limit = 100000000
smtp_line_length_limit = 0
`
	replace(t, &main, "virtual_alias_maps =",
		"virtual_alias_maps = inline:{ alias@example.org=remote@example.com, "+
			"other@example.org=other@example.net },")
	change(f, &main, &master)
	f.goOtherWays(&main, &master)
	f.Instance = mta.Start(t, dir, main, master)
	return f
}

// private makes lines of the documentation fit this forwarder.
func (f *forwarder) private(lines string) string {
	return strings.NewReplacer(
		"/usr/local/bin/postmend filter", f.program+" filter -c "+f.config,
		"/usr/local/bin/postmend lookup", f.program+" lookup -c "+f.config,
		"/usr/local/bin/postmend lmtp", f.program+" lmtp -c "+f.config,
		"user=postmend", "user=nobody",
		"127.0.0.1:10026", f.listener,
	).Replace(lines)
}

// writeConfig writes postmend's configuration, SRS secret and keys, for the user nobody.
func (f *forwarder) writeConfig(target string) {
	f.t.Helper()
	dir := filepath.Dir(f.config)
	rsa, err := rsaKeyPEM()
	f.check(err)
	f.secretFile(filepath.Join(dir, "rsa.pem"), rsa)
	ed, err := dkim.GenerateKey("ed25519")
	f.check(err)
	f.secretFile(filepath.Join(dir, "ed.pem"), ed)
	f.secretFile(filepath.Join(dir, "secrets"), []byte(srsSecret+"\n"))
	text := `hostname = "mx.example.org"
local_domains = ["example.org"]
resolver = "` + f.dns.Addr() + `"
[srs]
domain = "` + srsDomain + `"
secrets_file = "secrets"
[dkim]
default_domain = "example.org"
[[dkim.keys]]
domain = "example.org"
selector = "rsa"
file = "rsa.pem"
[[dkim.keys]]
domain = "example.org"
selector = "ed"
file = "ed.pem"
[reinject]
target = "` + target + `"
[limits]
deadline = "50s"
[log]
socket = "` + filepath.Join(dir, "devlog") + `"
`
	if err := os.WriteFile(f.config, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

func (f *forwarder) secretFile(path string, content []byte) {
	f.t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	chownNobody(f.t, path)
}

func chownNobody(t testing.TB, path string) {
	t.Helper()
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	if err := os.Chown(path, uid, -1); err != nil {
		t.Fatal(err)
	}
}

var (
	building sync.Mutex
	built    = map[string][]byte{} // by flags
)

// build makes the program as the Makefile does, once for all tests, and writes it to path.
func build(t testing.TB, path string, flags ...string) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	key := strings.Join(flags, " ")
	if built[key] == nil {
		made := filepath.Join(t.TempDir(), "postmend")
		cmd := exec.Command("go", append(append([]string{"build", "-trimpath"}, flags...), "-o", made,
			"postmend/cmd/postmend")...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		program, err := os.ReadFile(made)
		if err != nil {
			t.Fatal(err)
		}
		built[key] = program
	}
	writeProgram(t, path, built[key])
}

// writeProgram writes a file that is to be run. No process is started meanwhile: it would inherit the open
// file, and the kernel runs none that somebody may write to.
func writeProgram(t testing.TB, path string, content []byte) {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// rsaKeyPEM is every forwarder's, since it takes long to make one.
var rsaKeyPEM = sync.OnceValues(func() ([]byte, error) { return dkim.GenerateKey("rsa2048") })

// documented gives the code block of this kind in docs/postfix.md, so that what operators copy is what is
// tested.
func documented(t testing.TB, kind string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/postfix.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)```" + regexp.QuoteMeta(kind) + "\n(.*?)```").FindSubmatch(text)
	if found == nil {
		t.Fatalf("docs/postfix.md has no code block %q", kind)
	}
	return string(found[1])
}

// syslog collects postmend's log lines.
func (f *forwarder) syslog() <-chan string {
	f.t.Helper()
	path := filepath.Join(f.Dir, "devlog")
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { conn.Close() })
	if err := os.Chmod(path, 0o666); err != nil {
		f.t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		buffer := make([]byte, 64<<10)
		for {
			n, _, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			lines <- string(buffer[:n])
		}
	}()
	return lines
}

// logged gives what postmend has logged by now, which is all that is before a line of our own.
func (f *forwarder) logged(lines <-chan string) (all []string) {
	f.t.Helper()
	conn, err := net.Dial("unixgram", filepath.Join(f.Dir, "devlog"))
	f.check(err)
	defer conn.Close()
	const last = "no line of postmend's"
	_, err = conn.Write([]byte(last))
	f.check(err)
	for line := range lines {
		if line == last {
			break
		}
		all = append(all, line)
	}
	return all
}
