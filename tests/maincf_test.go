package tests

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// Each file in testdata/maincf is a Postfix as a distribution, a panel or an operator configures it, written
// after their documentation: sections "-- want --", "-- main.cf --", "-- master.cf --" (entries that take the
// place of Debian's, or come after them), and "-- /path --" for further files. Where a table is of a type
// that is not installed (mysql, pgsql, ldap, sqlite) and the file has a section, a texthash table stands in
// for it. SINK is the port of a server that takes what leaves.
//
//	args     flags of setup, beside --apply; "auto" leaves the mode to setup, else content-filter
//	refused  setup ends with an error that has this text, and changes nothing
//	says     setup's output has this text
//	local    an address that Postfix takes before and after
//	forward  an address that forwards to remote@example.com
//	smtp     where Postfix takes mail from others; 127.0.0.1:25 without
//	then     a command that is run once Postfix has started
//
// Setup either refuses, or ends with a Postfix that answers rightly and passes a message each way; undo gives
// back both files.
func TestSetupOnMainCfOfOthers(t *testing.T) {
	if path := os.Getenv("MAINCF_CASE"); path != "" {
		os.Unsetenv("MAIL_CONFIG")
		runMainCf(t, path)
		return
	}
	t.Parallel()
	peer.NeedRoot(t)
	peer.Need(t, "postfix")
	peer.Need(t, "unshare")
	program := filepath.Join(mta.Folder(t), "postmend")
	build(t, program)
	cases, err := filepath.Glob("testdata/maincf/*.txt")
	if err != nil || len(cases) < 60 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	const atOnce = 12 // they wait for Postfix more than they compute
	places := make(chan struct{}, atOnce)
	var running sync.WaitGroup
	for _, path := range cases {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			child := exec.CommandContext(t.Context(), "unshare", "--fork", "--pid", "--kill-child",
				"--mount-proc", "--net", "--mount", os.Args[0],
				"-test.run=^TestSetupOnMainCfOfOthers$", "-test.timeout=15m")
			child.Env = append(os.Environ(), "MAINCF_CASE="+path, "POSTMEND="+program)
			if out, err := child.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", path, err, out)
			}
		})
	}
	running.Wait()
}

// mainCf is a case.
type mainCf struct {
	want  map[string]string
	files map[string]string // by path
}

func readMainCf(t *testing.T, path string) mainCf {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := mainCf{want: map[string]string{}, files: map[string]string{}}
	section := regexp.MustCompile(`(?m)^-- (\S+) --\n`)
	marks := section.FindAllStringSubmatchIndex(string(text), -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		name, content := string(text[m[2]:m[3]]), string(text[m[1]:end])
		if name == "want" {
			for line := range strings.Lines(content) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
				c.want[key] = strings.TrimSpace(value)
			}
		} else {
			c.files[name] = content
		}
	}
	return c
}

// runMainCf runs in namespaces of its own: it has the machine's /etc, port 25 and /dev/log for itself.
func runMainCf(t *testing.T, path string) {
	c := readMainCf(t, path)
	log := privateMachine(t)
	sink := mta.StartSink(t)
	sink.Refuse("reject@example.com")
	c.install(t, sink.Port)
	h := &plainHost{t: t, Instance: &mta.Instance{Dir: "/etc/postfix"}, program: os.Getenv("POSTMEND"),
		sink: sink, smtp: "127.0.0.1:25"}
	if at := c.want["smtp"]; at != "" {
		h.smtp = at
	}
	shell(t, "postfix start")
	shell(t, c.want["then"])
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log:\n%s", log())
		}
	})

	peer.Age(t, h.Dir)
	before := h.bytes()
	local := c.want["local"]
	if local != "" {
		if reply := h.rcpt(local); !strings.HasPrefix(reply, "250 ") {
			t.Fatalf("before setup, %s: %s", local, reply)
		}
	}
	args := append([]string{"setup", "--apply", "--no-dns"}, strings.Fields(c.want["args"])...)
	if auto := slices.Index(args, "auto"); auto >= 0 {
		args = slices.Delete(args, auto, auto+1)
	} else if !slices.Contains(args, "--mode") {
		args = append(args, "--mode", "content-filter")
	}
	out, err := exec.Command(h.program, args...).CombinedOutput()
	if refused := c.want["refused"]; refused != "" {
		if err == nil || !strings.Contains(string(out), refused) || h.bytes() != before {
			t.Errorf("want a refusal because of %q: %v\n%s", refused, err, out)
		}
		return
	}
	if err != nil || !strings.Contains(string(out), c.want["says"]) ||
		!strings.Contains(string(out), "answers correctly") {
		t.Fatalf("setup: %v\n%s", err, out)
	}
	peer.Age(t, h.Dir)
	c.passes(t, h)
	peer.Age(t, h.Dir)
	if out, err := exec.Command(h.program, "setup", "--undo").CombinedOutput(); err != nil ||
		h.bytes() != before {
		t.Errorf("undo: %v\n%s\n%s\nbefore:\n%s", err, out, h.bytes(), before)
	}
	if local == "" {
		return
	}
	if reply := h.rcpt(local); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("after undo, %s: %s", local, reply)
	}
}

// passes sends a message out and its bounce in, and asks for the four addresses.
func (c mainCf) passes(t *testing.T, h *plainHost) {
	t.Helper()
	forward := c.want["forward"]
	if forward == "" {
		id := mta.Submit(t, h.smtp, mta.Mail{From: "alice@sender.example", To: []string{"remote@example.com"},
			Content: []byte("From: alice@sender.example\nSubject: test\nMessage-ID: <1@sender.example>\n" +
				"\ntext\n")})
		if id == "" {
			t.Error("no queue id")
		}
	} else {
		h.send("alice@sender.example", forward)
	}
	left := h.sink.Wait(1)[0]
	if !strings.HasPrefix(left.From, "SRS0=") || left.To[0] != "remote@example.com" {
		t.Fatalf("a message left from %q to %q", left.From, left.To)
	}
	h.send("", left.From)
	if got := h.sink.Wait(2)[1]; got.From != "" || got.To[0] != "alice@sender.example" {
		t.Errorf("a bounce went from %q to %q", got.From, got.To)
	}
	for _, address := range []string{c.want["local"], left.From, forward} {
		if address == "" {
			continue
		}
		if reply := h.rcpt(address); !strings.HasPrefix(reply, "250 ") {
			t.Errorf("%s: %s", address, reply)
		}
	}
	forged := strings.Replace(left.From, "=alice@", "=bob@", 1)
	if reply := h.rcpt(forged); !strings.HasPrefix(reply, "550 ") && !strings.HasPrefix(reply, "450 4.1.1") {
		t.Errorf("forged: %s", reply)
	}
}

// install writes the case's files, and makes the tables that they name.
func (c mainCf) install(t *testing.T, sinkPort string) {
	t.Helper()
	master, err := os.ReadFile("/usr/share/postfix/master.cf.dist")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/etc/aliases": "postmaster: root\nteam: remote@example.com\n",
		"/etc/mailname": "example.org\n"}
	for path, text := range c.files {
		files[path] = text
	}
	files["/etc/postfix/main.cf"] = c.files["main.cf"] +
		"\n# the test's own\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n"
	if !strings.Contains(c.files["main.cf"], "relayhost = ") {
		files["/etc/postfix/main.cf"] += "relayhost = [127.0.0.1]:SINK\n"
	}
	files["/etc/postfix/master.cf"] = withoutEntries(string(master), c.files["master.cf"]) +
		c.files["master.cf"]
	delete(files, "main.cf")
	delete(files, "master.cf")
	for path, text := range files {
		text = strings.ReplaceAll(text, "SINK", sinkPort)
		text = standIn.ReplaceAllStringFunc(text, func(name string) string {
			_, table, _ := strings.Cut(name, ":")
			if c.files[table] == "" {
				return name
			}
			return "texthash:" + table
		})
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
			os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(files["/etc/postfix/main.cf"], "/etc/postfix/tls.pem") {
		shell(t,
			`openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=mx.example.org \
				-keyout /tmp/key.$$ -out /tmp/cert.$$ 2>&1
			cat /tmp/key.$$ /tmp/cert.$$ > /etc/postfix/tls.pem; rm /tmp/key.$$ /tmp/cert.$$`)
	}
	shell(t, "postalias hash:/etc/aliases") // the default of alias_maps
	made := map[string]bool{}
	for _, name := range indexed.FindAllString(files["/etc/postfix/main.cf"]+
		files["/etc/postfix/master.cf"], -1) {
		_, table, _ := strings.Cut(name, ":")
		if _, err := os.Stat(table); err != nil || made[name] {
			continue
		}
		made[name] = true
		tool := "postmap "
		if strings.Contains(table, "aliases") {
			tool = "postalias "
		}
		shell(t, tool+name)
	}
}

var (
	standIn = regexp.MustCompile(`(mysql|pgsql|ldap|sqlite):/[^ ,\n]+`)
	indexed = regexp.MustCompile(`(hash|btree):/[^ ,\n]+`)
	entry   = regexp.MustCompile(`(?m)^[^#\s]\S*[ \t]+\S+`)
)

// withoutEntries takes out of a master.cf what others name, too.
func withoutEntries(master, others string) string {
	var taken []string
	for _, start := range entry.FindAllString(others, -1) {
		taken = append(taken, strings.Join(strings.Fields(start), " "))
	}
	var kept strings.Builder
	drops := false
	for line := range strings.Lines(master) {
		if start := entry.FindString(line); start != "" {
			drops = slices.Contains(taken, strings.Join(strings.Fields(start), " "))
		}
		if !drops {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// privateMachine gives this process, which is alone in its namespaces, folders, DNS and a log of its own, and
// what is in the log.
func privateMachine(t *testing.T) (log func() string) {
	t.Helper()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	second, err := unix.NewIfreq("lo:1")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	err = errors.Join(second.SetInet4Addr([]byte{127, 0, 0, 2}), unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo),
		unix.IoctlIfreq(fd, unix.SIOCSIFADDR, second))
	if err != nil {
		t.Fatal(err)
	}
	shell(t, `
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt && cp -a /etc/. /mnt/ && mount --bind /mnt /etc
rm -rf /etc/postmend /etc/postfix/main.cf
for d in /var/spool /var/lib /opt; do mount -t tmpfs -o mode=755 tmpfs $d; done
mount -t tmpfs -o mode=1777 tmpfs /var/mail
mkdir /var/spool/postfix /var/lib/postfix && chown postfix /var/lib/postfix
mount -t tmpfs -o mode=755 tmpfs /dev
for d in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 /dev/${d%:*} c 1 ${d#*:}; done
ln -s /proc/self/fd /dev/fd
mkdir /dev/shm && chmod 1777 /dev/shm
useradd --system --no-create-home bob
useradd --system --no-create-home vmail
echo 'nameserver 127.0.0.1' > /etc/resolv.conf
echo '127.0.0.1 localhost relay.example.net' > /etc/hosts
mkdir /var/spool/postfix/etc
cp /etc/hosts /etc/resolv.conf /etc/services /etc/nsswitch.conf /var/spool/postfix/etc/
`)
	serveNames(t)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod("/dev/log", 0o666); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var lines strings.Builder
	go func() {
		line := make([]byte, 64<<10)
		for {
			n, err := socket.Read(line)
			if err != nil {
				return
			}
			mu.Lock()
			fmt.Fprintf(&lines, "%s\n", strings.TrimSpace(string(line[:n])))
			mu.Unlock()
		}
	}()
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return lines.String()
	}
}

// serveNames answers at port 53, as the system's resolver expects it.
func serveNames(t *testing.T) {
	t.Helper()
	dns, err := dnsserver.Start(`
25.2.0.192.in-addr.arpa PTR mail.sender.example
mail.sender.example A 192.0.2.25
sender.example MX 10 mail.sender.example
example.com A 192.0.2.99
relay.example.net A 127.0.0.1
mx.example.org A 192.0.2.1
example.org A 192.0.2.1
client.example.net A 192.0.2.25
`)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenPacket("udp", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			question := make([]byte, 4096)
			n, from, err := front.ReadFrom(question)
			if err != nil {
				return
			}
			go func() {
				conn, err := net.Dial("udp", dns.Addr())
				if err != nil {
					return
				}
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(mta.Patience))
				answer := make([]byte, 64<<10)
				if _, err := conn.Write(question[:n]); err != nil {
					return
				}
				if n, err := conn.Read(answer); err == nil {
					front.WriteTo(answer[:n], from)
				}
			}()
		}
	}()
}

func shell(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
}
