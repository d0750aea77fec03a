package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postmend/dkim"
	"postmend/filter/authn/dnsserver"
)

// world is a folder with a configuration that hands messages to standard output, and a log socket.
type world struct {
	t      *testing.T
	config string
	log    net.PacketConn
}

func newWorld(t *testing.T, change ...string) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, config: filepath.Join(dir, "postmend.toml")}
	pem, err := dkim.GenerateKey("ed25519")
	w.check(err)
	w.check(os.WriteFile(filepath.Join(dir, "key.pem"), pem, 0o600))
	w.check(os.WriteFile(filepath.Join(dir, "secrets"), []byte("s3cr3t\n"), 0o600))
	socket := filepath.Join(dir, "log")
	w.log, err = net.ListenPacket("unixgram", socket)
	w.check(err)
	t.Cleanup(func() { w.log.Close() })
	text := fmt.Sprintf(`hostname = "mx.example.org"
local_domains = ["example.org"]
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
[[dkim.keys]]
domain = "example.org"
selector = "s"
file = "key.pem"
[reinject]
target = "stdout:"
[limits]
deadline = "10s"
[log]
socket = %q
`, socket)
	text = strings.NewReplacer(change...).Replace(text)
	if !strings.Contains(text, "resolver = ") { // what this machine's resolver says is not for tests
		dns, err := dnsserver.Start("mx.example.org A 192.0.2.80")
		w.check(err)
		t.Cleanup(func() { dns.Close() })
		// below the first line
		text = strings.Replace(text, "\n", fmt.Sprintf("\nresolver = %q\n", dns.Addr()), 1)
	}
	w.check(os.WriteFile(w.config, []byte(text), 0o644))
	return w
}

// withRSA gives the world the kind of key that ARC knows.
func (w *world) withRSA() *world {
	w.t.Helper()
	pem, err := dkim.GenerateKey("rsa2048")
	w.check(err)
	w.check(os.WriteFile(filepath.Join(filepath.Dir(w.config), "key.pem"), pem, 0o600))
	return w
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// run runs a command line with the world's configuration.
func (w *world) run(stdin string, args ...string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	exit = run(append(args[:1:1], append([]string{"-c", w.config}, args[1:]...)...),
		strings.NewReader(stdin), &out, &errs)
	return exit, out.String(), errs.String()
}

// logged is the next log line.
func (w *world) logged() string {
	w.t.Helper()
	buffer := make([]byte, 64<<10)
	n, _, err := w.log.ReadFrom(buffer)
	w.check(err)
	return string(buffer[:n])
}

const aMessage = "From: Alice <alice@b.example>\nSubject: x\n\nbody\n"

func TestFilterPrintsTheMendedMessageByHand(t *testing.T) {
	w := newWorld(t)
	exit, out, status := w.run(aMessage, "filter", "-f", "alice@b.example", "--client-address=192.0.2.1",
		"--queue-id=4ABC", "--original-recipient=info@example.org", "--", "bob@remote.example")
	if exit != 0 || !strings.HasSuffix(out, aMessage) || !strings.HasPrefix(out, "DKIM-Signature: ") ||
		!strings.HasPrefix(status, "2.0.0 ") {
		t.Errorf("exit %d, status %q, message\n%s", exit, status, out)
	}
	if !strings.Contains(out, "\nX-Forwarded-For: info@example.org bob@remote.example\n") {
		t.Errorf("no trace of the alias in\n%s", out)
	}
	line := w.logged()
	for _, want := range []string{`^<22>.* postmend\[\d+\]: 4ABC: `, ` classes=forwarded:1 `,
		` from=<alice@b\.example> `, ` sender=<SRS0=`, ` header_from=b\.example `,
		` signed=example\.org/s `, ` result=queued `, ` time=\d+\.\d+s `} {
		if !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("the log line lacks %s: %s", want, line)
		}
	}
}

// An alias of three, by hand; pipe(8) repeats the word for each recipient.
func TestOneOriginalRecipientCountsForAllRecipients(t *testing.T) {
	for _, originals := range [][]string{{"info@example.org"},
		{"info@example.org", "info@example.org", "info@example.org"}} {
		w := newWorld(t)
		args := []string{"explain", "-f", "alice@b.example", "--client-address=192.0.2.1", "--json"}
		for _, original := range originals {
			args = append(args, "--original-recipient="+original)
		}
		exit, out, errs := w.run(aMessage,
			append(args, "--", "a@remote.example", "b@remote.example", "c@elsewhere.example")...)
		if exit != 0 || strings.Count(strings.SplitN(out, "deliveries", 2)[0],
			`"original": "info@example.org"`) != 3 {
			t.Errorf("%q: exit %d, %s\n%s", originals, exit, errs, out)
		}
	}
}

func TestEmptyAndUnknownFlagsMeanNotKnown(t *testing.T) {
	w := newWorld(t)
	args := []string{"filter", "-f", ""}
	for _, flag := range []string{"queue-id", "client-address", "client-name", "client-port",
		"client-protocol", "helo", "sasl-username", "size", "envid", "original-recipient"} {
		args = append(args, "--"+flag+"=unknown")
	}
	if exit, out, status := w.run(aMessage, append(args, "--", "x@example.org")...); exit != 0 ||
		out != aMessage {
		t.Errorf("exit %d, %q, %q", exit, status, out)
	}
	for i := range args {
		args[i] = strings.Replace(args[i], "=unknown", "=", 1)
	}
	if exit, out, status := w.run(aMessage, append(args, "--", "x@example.org")...); exit != 0 ||
		out != aMessage {
		t.Errorf("exit %d, %q, %q", exit, status, out)
	}
}

// Each bad input either goes through unaltered, or gets one line that says what becomes of it.
func TestBadAddressesGoThroughOrAreAnsweredFor(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, row := range map[string]struct {
		sender, recipient string
		exit              int
		want              string
	}{
		"CR LF in the sender": {"a@b.example\r\nRCPT TO:<c@d.example>", "x@example.org", 69,
			"5.1.7 The sender address of this message is not a valid e-mail address"},
		"LF in the recipient": {"a@b.example", "x@example.org\nDATA", 69,
			"5.1.3 The recipient address is not a valid e-mail address"},
		"NUL in the recipient": {"a@b.example", "x@\x00", 69,
			"5.1.3 The recipient address is not a valid e-mail address"},
		"empty recipient":          {"a@b.example", "", 64, "4.3.5 recipient 1 is empty"},
		"blanks":                   {"a b@b.example", "c d@example.org", 0, ""},
		"quotes":                   {`"a \" b"@b.example`, `"c@d"@example.org`, 0, ""},
		"300 characters, local":    {long + "@b.example", long + "@example.org", 0, ""},
		"300 characters, remote":   {long + "@b.example", long + "@remote.example", 0, ""},
		"sender with leading -":    {"-v@b.example", "x@example.org", 0, ""},
		"recipient with leading -": {"a@b.example", "-x@example.org", 0, ""},
		"no domain":                {"root", "postmaster", 0, ""},
		"only @": {"@", "@", 69,
			"5.1.7 The sender address of this message is not a valid e-mail address"},
		"UTF-8":          {"jürgen@b.example", "zoë@bücher.example", 0, ""},
		"not even UTF-8": {"\xff@b.example", "\xfe@example.org", 0, ""},
		"line separator, UTF-8": {"", "x\u2028@example.org", 69,
			"5.1.3 The recipient address is not a valid e-mail address"},
		"control character, C1": {"x\u0085@b.example", "x@example.org", 69,
			"5.1.7 The sender address of this message is not a valid e-mail address"},
		"1000 octets": {"", strings.Repeat("x", 1000) + "@example.org", 69,
			"5.1.3 The recipient address is not a valid e-mail address"},
		"forged SRS recipient": {"", "SRS0=AAAA=AA=b.example=x@srs.example.org", 67,
			"5.1.1 This recipient is a temporary return address (SRS) that this server did not make"},
		"malformed SRS recipient": {"", "SRS0=@srs.example.org", 67,
			"5.1.1 This recipient is a temporary return address (SRS), and it is incomplete"},
		"SRS sender, malformed":    {"SRS1=x@b.example", "x@remote.example", 0, ""},
		"domain that is no domain": {"a@$myhostname", "x@remote.example", 0, ""},
		"recipient that ends early": {"a@b.example", "x@remote.example> SIZE=1", 69,
			"5.1.3 The recipient address is not a valid e-mail address"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			exit, out, status := w.run(aMessage, "filter", "-f", row.sender, "--client-address=192.0.2.1",
				"--", row.recipient)
			if exit != row.exit || strings.Count(status+out, "\n") < 1 {
				t.Fatalf("exit %d, want %d: %q %q", exit, row.exit, out, status)
			}
			if exit == 0 {
				if !strings.HasSuffix(out, aMessage) {
					t.Errorf("the message was changed: %q", out)
				}
			} else if !strings.HasPrefix(status, row.want) || out != "" || strings.Count(status, "\n") != 1 {
				t.Errorf("said %q %q, want %q", out, status, row.want)
			}
			if log := w.logged(); strings.ContainsAny(log, "\r\n\x00") {
				t.Errorf("the log line is not one line: %q", log)
			}
		})
	}
}

// One bad address does not return the mail for the others, whom Postfix can be told to try one at a time.
func TestABadRecipientAmongOthersStaysInTheQueue(t *testing.T) {
	for _, bad := range []string{"x\x01@example.org", "x\u2028@example.org"} {
		w := newWorld(t)
		if exit, out, status := w.run(aMessage, "filter", "-f", "a@b.example", "--", "good@example.org",
			bad); exit != 75 || out != "" || !strings.HasPrefix(status, "4.1.3 ") {
			t.Errorf("%q: exit %d, %q", bad, exit, status)
		}
	}
	w := newWorld(t)
	if exit, out, status := w.run(aMessage, "filter", "-f", "a@b.example",
		"--original-recipient=x\x01@example.org", "--", "good@example.org"); exit != 0 || out != aMessage {
		t.Errorf("an original recipient that cannot be sent: exit %d, %q", exit, status)
	}
}

// withoutSeal is a message without the seal of its arrival on top.
func withoutSeal(text string) string {
	return regexp.MustCompile(`\AX-Postmend-Arrival: .*\n(\t.*\n)*`).ReplaceAllString(text, "")
}

func TestBadMessagesGoThroughOrStayInTheQueue(t *testing.T) {
	for name, text := range map[string]string{
		"no blank line after the header": "From: a@b.example\nSubject: x\n",
		"no header":                      "\nbody\n",
		"line without colon":             "From: a@b.example\nno field\nbody\n",
		"bare CR":                        "From: a@b.example\n\na\rb\n",
		"NUL":                            "From: a@b.example\n\na\x00b\n",
		"8-bit":                          "From: a@b.example\n\n\xff\n",
		"1 MB line":                      "From: a@b.example\n\n" + strings.Repeat("x", 1<<20) + "\n",
		"lines of one dot":               "From: a@b.example\n\n.\n.\n",
		"no From:":                       "Subject: x\n\nbody\n",
		"two From: fields":               "From: a@b.example\nFrom: c@d.example\n\nbody\n",
		"an oversized header": "From: a@b.example\nSubject: " + strings.Repeat("x", 2<<20) +
			"\n\nbody\n",
		"a million blank lines": "From: a@b.example\n\n" + strings.Repeat("\n", 1<<20) + "end\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			exit, out, status := w.run(text, "filter", "-f", "a@b.example", "--client-address=192.0.2.1",
				"--", "x@example.org")
			// A line that is no field starts the body, and an empty line comes before it once something
			// stands on top.
			want := strings.Replace(text, "\nno field\n", "\n\nno field\n", 1)
			if exit != 0 || withoutSeal(out) != want {
				t.Errorf("to a local mailbox: exit %d, %q, %d octets of %d", exit, status,
					len(out), len(text))
			}
			exit, out, status = w.run(text, "filter", "-f", "a@b.example", "--client-address=192.0.2.1", "--",
				"x@remote.example")
			if exit != 0 || !strings.HasSuffix(out, want) || len(out) > len(text)+2000 {
				t.Errorf("to a remote one: exit %d, %q, %d octets of %d", exit, status, len(out), len(text))
			}
		})
	}
	w := newWorld(t)
	if exit, _, status := w.run("", "filter", "-f", "a@b.example", "--", "x@example.org"); exit != 75 ||
		status != "4.3.0 empty message on standard input\n" {
		t.Errorf("empty standard input: exit %d, %q", exit, status)
	}
	cut := strings.TrimSuffix(aMessage, "\n")
	if exit, _, status := w.run(cut, "filter", "-f", "a@b.example", "--queue-id=4ABC", "--",
		"x@example.org"); exit != 75 || !strings.HasPrefix(status, "4.3.0 message is incomplete") {
		t.Errorf("cut short: exit %d, %q", exit, status)
	}
	if exit, out, _ := w.run(cut, "filter", "-f", "a@b.example", "--", "x@example.org"); exit != 0 ||
		out != cut {
		t.Errorf("by hand, without a line end: exit %d, %q", exit, out)
	}
	// A milter that deletes fields leaves them in ${size}.
	if exit, _, status := w.run(aMessage, "filter", "-f", "a@b.example", "--queue-id=4ABC", "--size=100000",
		"--", "x@example.org"); exit != 0 {
		t.Errorf("a queue file that holds more: exit %d, %q", exit, status)
	}
	if exit, _, status := w.run("From a@b.example  Mon Nov  2 10:00:00 2026\n"+aMessage, "filter", "-f",
		"a@b.example", "--queue-id=4ABC", "--", "x@example.org"); exit != 78 ||
		!strings.Contains(status, "flags=") {
		t.Errorf("with a From_ line: exit %d, %q", exit, status)
	}
}

func TestSRSGoesThereAndBack(t *testing.T) {
	w := newWorld(t)
	exit, out, _ := w.run("", "srs", "forward", "alice@b.example", "bob@c.example")
	lines := strings.Fields(out)
	if exit != 0 || len(lines) != 2 {
		t.Fatalf("exit %d, %q", exit, out)
	}
	if exit, out, _ = w.run("", append([]string{"srs", "reverse"}, lines...)...); exit != 0 ||
		out != "alice@b.example\nbob@c.example\n" {
		t.Errorf("exit %d, %q", exit, out)
	}
	if exit, _, errs := w.run("", "srs", "reverse", "SRS0=AAAA=AA=b.example=x@srs.example.org"); exit != 67 ||
		!strings.Contains(errs, "hash") || strings.Count(errs, "AAAA") != 1 {
		t.Errorf("forged: exit %d, %q", exit, errs)
	}
}

func TestDemoShowsBothWorlds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "message.eml")
	err := os.WriteFile(file, []byte("From: \"C\" <carol@some.example>\r\nSubject: x\r\n\r\nbody\r\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	var short bytes.Buffer
	if exit := run([]string{"demo"}, strings.NewReader(""), &short, &short); exit != 0 ||
		strings.Count(short.String(), "\n") > 30 {
		t.Errorf("exit %d, more than a screen:\n%s", exit, short.String())
	}
	for _, args := range [][]string{{"demo", "--verbose"}, {"demo", "--verbose", file}} {
		var out, errs bytes.Buffer
		if exit := run(args, strings.NewReader(""), &out, &errs); exit != 0 {
			t.Fatalf("%q: exit %d, %s", args, exit, errs.String())
		}
		for _, want := range []string{
			// The signature survives: From: stays.
			`(?s)1\. .*SPF +fail \(\S+\) +pass \(srs\.forwarder\.example\).*DKIM +pass ` +
				`\(\S+\) +pass \(\S+\).*DKIM +- +pass \(forwarder\.example\)`,
			`(?s)1\. .*DMARC +pass \((\S+)\) +pass \(\S+\)\n` +
				` +its answer +250 2\.0\.0 accepted +250 2\.0\.0 accepted`,
			// SPF alone: only a From: of ours passes.
			`(?s)2\. .*From: +\S+ <(\S+)> +\S+ via forwarder\.example <info@forwarder\.example>`,
			`(?s)2\. .*DMARC +fail \(\S+\) +pass \(forwarder\.example\)\n` +
				` +its answer +550 5\.7\.509 Access denied +250 2\.0\.0 accepted`,
			`    DKIM-Signature: v=1; a=rsa-sha256;`, `    Authentication-Results: mx\.forwarder\.example;`,
		} {
			if !regexp.MustCompile(want).MatchString(out.String()) {
				t.Errorf("%q lacks %s:\n%s", args, want, out.String())
			}
		}
	}
}

// Under pipe(8), standard output and standard error are one pipe: a message written there would be lost.
func TestPostfixNeverTakesATrialForADelivery(t *testing.T) {
	w := newWorld(t)
	reader, writer, err := os.Pipe()
	w.check(err)
	exit := run([]string{"filter", "-c", w.config, "-f", "a@b.example", "--queue-id=4ABC", "--",
		"x@example.org"}, strings.NewReader(aMessage), writer, writer)
	writer.Close()
	out, err := io.ReadAll(reader)
	w.check(err)
	if exit != 78 || !strings.HasPrefix(string(out), "4.3.5 target") {
		t.Errorf("exit %d, %q", exit, out)
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("a fault\nwith two lines") }

func TestAFaultOfOursKeepsTheMailAndIsLogged(t *testing.T) {
	w := newWorld(t, "stdout:", "smtp://127.0.0.1:1")
	var out, errs bytes.Buffer
	exit := run([]string{"filter", "-c", w.config, "-f", "a@b.example", "--queue-id=4ABC", "--",
		"x@example.org"}, panicking{}, &out, &errs)
	if exit != 70 || out.String() != "4.3.0 internal error\n" {
		t.Errorf("exit %d, %q", exit, out.String())
	}
	line := w.logged()
	if !strings.HasPrefix(line, "<18>") || !strings.Contains(line, "4ABC: internal error") ||
		strings.Contains(line, "\n") || !strings.Contains(line, "command_test.go") {
		t.Errorf("logged %q", line)
	}
}

func TestADeadlineKeepsTheMail(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close() // never written to: standard input stalls
	w := newWorld(t, `"10s"`, `"50ms"`, "stdout:", "smtp://127.0.0.1:1")
	abandoned := make(chan int)
	abandon = func(status int) { abandoned <- status }
	defer func() { abandon = os.Exit }()
	var out, errs bytes.Buffer
	go run([]string{"filter", "-c", w.config, "-f", "a@b.example", "--", "x@example.org"},
		reader, &out, &errs)
	if exit := <-abandoned; exit != 75 || out.String() != "4.3.0 deadline exceeded\n" {
		t.Errorf("exit %d, %q", exit, out.String())
	}
}
