// Package mta starts private Postfix instances for tests: each in a folder of its own, on loopback, on high
// ports, beside no other.
package mta

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postmend/tests/peer"
)

// Patience is how long a test waits for something that must happen. It only ends tests that have failed
// already.
const Patience = 3 * time.Minute

// Instance is a running Postfix.
type Instance struct {
	Dir string // with main.cf and master.cf

	t       testing.TB
	mu      sync.Mutex
	changed *sync.Cond
	lines   []string
	marks   map[string]bool // of ours, which were read
	ended   bool
}

// baseMain is what makes a Postfix private and quiet; the caller's lines come after it and win. The queue
// is beside the folder: postfix(1) warns of each file in it that is not root's.
const baseMain = `
compatibility_level = 3.6
queue_directory = {dir}.spool
data_directory = {dir}.data
maillog_file = {dir}/log/mail
maillog_file_prefixes = {dir}
postlog_service_name = testlog
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.example.org
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
smtp_dns_support_level = disabled
smtputf8_enable = yes
queue_run_delay = 300s
smtp_connect_timeout = 5s
`

const baseMaster = `
postlog   unix-dgram n - n - 1 postlogd
pickup    unix n - n 1 1 pickup
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
local     unix - n n - - local
virtual   unix - n n - - virtual
lmtp      unix - - n - - lmtp
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
`

// Start makes a folder, writes main.cf and master.cf from the base and the given lines, in which {dir}
// stands for the folder, and starts Postfix. The test's end stops it; a failed test shows its log.
func Start(t testing.TB, dir, mainLines, masterLines string) *Instance {
	t.Helper()
	peer.NeedRoot(t)
	peer.Need(t, "postfix")
	Configure(t, dir, mainLines, masterLines)
	i := &Instance{Dir: dir, t: t, marks: map[string]bool{}}
	i.changed = sync.NewCond(&i.mu)
	i.write("log/mail", "")
	i.follow()
	i.run("postfix", "-c", dir, "start")
	t.Cleanup(func() {
		i.stop()
		if t.Failed() {
			t.Logf("mail log:\n%s", i.Log())
		}
	})
	return i
}

// Merge puts lines of main.cf in place of those that set the same parameters: Postfix warns of a parameter
// that is set twice.
func Merge(lines, more string) string {
	var merged strings.Builder
	for line := range strings.Lines(lines) {
		name, _, _ := strings.Cut(line, " =")
		if !strings.Contains("\n"+more, "\n"+name+" =") {
			merged.WriteString(line)
		}
	}
	return merged.String() + more
}

// Configure is Start without starting.
func Configure(t testing.TB, dir, mainLines, masterLines string) {
	t.Helper()
	i := &Instance{Dir: dir, t: t}
	for _, folder := range []string{dir + "/log", dir + ".spool", dir + ".data"} {
		i.must(os.MkdirAll(folder, 0o755))
	}
	t.Cleanup(func() {
		os.RemoveAll(dir + ".spool")
		os.RemoveAll(dir + ".data")
	})
	i.run("chown", "postfix", dir+".data")
	i.write("main.cf", strings.ReplaceAll(Merge(baseMain, mainLines), "{dir}", dir))
	peer.Age(t, dir)
	i.write("master.cf", strings.ReplaceAll(baseMaster+masterLines, "{dir}", dir))
}

// Folder makes a folder that daemons running as another user can reach, unlike testing's own, with a path
// short enough for Unix-domain sockets.
func Folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pm")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (i *Instance) must(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
}

// master gives the process of master(8).
func (i *Instance) master() (int, error) {
	text, err := os.ReadFile(i.Dir + ".spool/pid/master.pid")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// ends waits for a process to end, and tells whether it has. It is false if that takes more than 10 seconds.
func ends(pid int) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return true // gone
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		if err != unix.EINTR {
			return n > 0
		}
	}
}

// stop ends Postfix as postfix(1) does, by a signal to master(8), and waits for its end.
func (i *Instance) stop() {
	i.t.Helper()
	master, err := i.master()
	if err != nil {
		i.t.Error(err)
		return
	}
	unix.Kill(master, unix.SIGTERM)
	if !ends(master) {
		unix.Kill(-master, unix.SIGKILL) // it leads the process group of all that it starts
	}
}

// Reload has Postfix read its configuration again. Processes that were idle have ended then: one that has not
// seen yet that it is to end would take what it is asked next with it.
func (i *Instance) Reload() {
	i.t.Helper()
	master, err := i.master()
	i.must(err)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", master))
	i.must(err)
	peer.Age(i.t, i.Dir)
	i.run("postfix", "-c", i.Dir, "reload")
	for _, child := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(child)
		i.must(err)
		ends(pid)
	}
}

func (i *Instance) write(name, text string) {
	i.t.Helper()
	i.must(os.WriteFile(filepath.Join(i.Dir, name), []byte(text), 0o644))
}

func (i *Instance) run(name string, args ...string) string {
	i.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		i.t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Queue gives the messages that Postfix holds: their ids, and the queue that each is in.
func (i *Instance) Queue() map[string]string {
	i.t.Helper()
	queue := map[string]string{}
	for line := range strings.Lines(i.run("postqueue", "-c", i.Dir, "-j")) {
		var entry struct {
			Name string `json:"queue_name"`
			ID   string `json:"queue_id"`
		}
		i.must(json.Unmarshal([]byte(line), &entry))
		queue[entry.ID] = entry.Name
	}
	return queue
}

// Retry makes Postfix try a deferred message again at once. The queue manager logs a deferral before it has
// put the message aside, and passes over one that it has not, or that pipe(8) has not closed yet: that has
// to be waited for. One that was passed over may be left in the incoming queue.
func (i *Instance) Retry(id string) {
	i.t.Helper()
	how := map[string][]string{"deferred": {"-i", id}}
	for outcome := ""; outcome != "from="; {
		var arguments []string
		for started := time.Now(); arguments == nil; arguments = how[i.Queue()[id]] {
			if time.Since(started) > Patience {
				i.t.Fatalf("%s is not deferred", id)
			}
		}
		mark := i.Mark()
		i.run("postqueue", append([]string{"-c", i.Dir}, arguments...)...)
		outcome = i.WaitLog(mark, id+": (from=|skipped, still being delivered)")[1]
		how["incoming"] = []string{"-f"}
	}
}

// Mail is one message for Submit.
type Mail struct {
	From    string // a path without its brackets
	To      []string
	Content []byte // LF or CRLF
	XClient string // attributes, e.g. "ADDR=192.0.2.1"; "" sends none
	UTF8    bool
	Midway  func() // is called between the recipients and the content, if not nil
}

// Submit gives a message to the smtpd at address, and returns the queue id.
func Submit(t testing.TB, address string, mail Mail) string {
	t.Helper()
	id, err := TrySubmit(address, mail)
	if err != nil {
		t.Fatalf("submitting to %s: %v", address, err)
	}
	return id
}

// TrySubmit is Submit where the smtpd may refuse: then the error has its reply.
func TrySubmit(address string, mail Mail) (id string, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(Patience))
	c := &client{conn: conn, replies: bufio.NewReader(conn)}
	c.expect("220")
	c.command("250", "EHLO client.example.net")
	if mail.XClient != "" {
		c.command("220", "XCLIENT "+mail.XClient)
		c.command("250", "EHLO client.example.net")
	}
	parameters := " BODY=8BITMIME"
	if mail.UTF8 {
		parameters += " SMTPUTF8"
	}
	c.command("250", "MAIL FROM:<"+mail.From+">"+parameters)
	for _, to := range mail.To {
		c.command("250", "RCPT TO:<"+to+">")
	}
	if mail.Midway != nil && c.err == nil {
		mail.Midway()
	}
	c.command("354", "DATA")
	reply := c.command("250", string(stuffed(mail.Content))+".")
	if c.err == nil {
		fmt.Fprint(conn, "QUIT\r\n")
	}
	_, id, _ = strings.Cut(reply, "queued as ")
	return strings.TrimSpace(id), c.err
}

// client keeps the first error, so that a dialogue reads straight down.
type client struct {
	conn    io.Writer
	replies *bufio.Reader
	err     error
}

func (c *client) command(code, line string) string {
	if c.err == nil {
		_, c.err = io.WriteString(c.conn, line+"\r\n")
	}
	return c.expect(code)
}

func (c *client) expect(code string) string {
	for c.err == nil {
		line, err := c.replies.ReadString('\n')
		if err != nil {
			c.err = err
		} else if !strings.HasPrefix(line, code) {
			c.err = fmt.Errorf("got %q, want %s", line, code)
		} else if len(line) < 4 || line[3] != '-' {
			return line
		}
	}
	return ""
}

// stuffed gives content CRLF line ends and stuffed dots (RFC 5321 section 4.5.2).
func stuffed(content []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(content) {
		if line[0] == '.' {
			out.WriteByte('.')
		}
		out.Write(bytes.TrimRight(line, "\r\n"))
		out.WriteString("\r\n")
	}
	return out.Bytes()
}
