package tests

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/mta"
	"postmend/tests/peer"
)

// hostile is a message made to cost much.
type hostile struct {
	name string
	// header and body are made to have about so many octets.
	header func(size int) string
	body   func(size int) string
	// recipients are that many; 0 is one.
	recipients func(size int) []string
}

// repeat fills size octets with copies of s.
func repeat(s string) func(int) string {
	return func(size int) string { return strings.Repeat(s, size/len(s)) }
}

// numbered fills size octets with what format makes of 1, 2, 3 and so on.
func numbered(format string) func(int) string {
	return func(size int) string {
		var b strings.Builder
		for n := 1; b.Len() < size; n++ {
			fmt.Fprintf(&b, strings.ReplaceAll(format, "%", "%[1]"), n)
		}
		return b.String()
	}
}

// within puts what fill makes between two texts.
func within(before string, fill func(int) string, after string) func(int) string {
	return func(size int) string { return before + fill(size) + after }
}

const (
	hostileAuthor = "From: alice@sender.example\n"
	// A signature that is whole and good in form: what comes after it in the way to a verdict is done, too.
	signatureTail = " s=%d; t=1700000000; h=from:subject;\n " +
		"bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\n"
)

func signatureOf(canonicalization, more string) string {
	return "DKIM-Signature: v=1; a=rsa-sha256; c=" + canonicalization + "; d=sender.example;" + more +
		signatureTail
}

func hostileBodies() []hostile {
	signed := numbered(signatureOf("simple/simple", " l=%d;") + signatureOf("relaxed/relaxed", ""))(2000)
	var list []hostile
	for name, fill := range map[string]func(int) string{
		"bare line ends":              repeat("\n"),
		"CRLF line ends":              repeat("\r\n"),
		"line ends and then a word":   within("", repeat("\n"), "x\n"),
		"bare CRs":                    repeat("\r"),
		"CRs before an LF":            within("", repeat("\r"), "\n"),
		"blanks":                      repeat(" "),
		"tabs and line ends":          repeat("\t\n"),
		"blanks, then line ends":      repeat("        \n\n"),
		"words of one letter":         repeat("a "),
		"one line":                    repeat("x"),
		"lines of one dot":            repeat(".\n"),
		"octets of 8 bits":            repeat("\xff"),
		"NULs":                        repeat("\x00"),
		"nested multiparts":           numbered("--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n"),
		"what looks like a signature": numbered(signatureOf("simple/simple", "")),
	} {
		list = append(list, hostile{name: "body: " + name, header: func(int) string {
			return signed + hostileAuthor
		}, body: fill})
	}
	return list
}

// hostileFields are headers of any length, apart from hostile From: fields.
var hostileFields = map[string]func(int) string{
	"field folded over many lines":         within(hostileAuthor+"Subject: x", repeat("\n x"), "\n"),
	"field of blank folds":                 within(hostileAuthor+"Subject: x", repeat("\n "), "\n"),
	"field of one line":                    within(hostileAuthor+"Subject: ", repeat("x"), "\n"),
	"many fields":                          within(hostileAuthor, numbered("X-%d: y\n"), ""),
	"many fields of a name that is signed": within(hostileAuthor, repeat("Subject: y\n"), ""),
	"many fields without value":            within(hostileAuthor, repeat("a:\n"), ""),
	"many fields that may be ours": within(hostileAuthor,
		numbered("Authentication-Results: mx.example.org; spf=pass (%d\n"), ""),
	"results with open comments": within(hostileAuthor+"Authentication-Results: ",
		repeat("("), "\n"),
	"results with many results": within(hostileAuthor+"Authentication-Results: mx.example.org",
		numbered("; spf=pass smtp.x=%d"), "\n"),
	"many Received": within(hostileAuthor,
		numbered("Received: from a by b; %d\n"), ""),
	"Received of one line": within("Received: ", repeat("; "), "\n"+hostileAuthor),
	"many signatures": within("",
		numbered(strings.ReplaceAll(signatureOf("relaxed/simple", ""), "sender.example",
			"s%d.sender.example")), hostileAuthor),
	"signatures with l= out of range": within("",
		numbered(signatureOf("simple/relaxed", " l=99999999999999999999999%d;")), hostileAuthor),
	"signature with a long h=": within("DKIM-Signature: v=1; a=rsa-sha256; "+
		"d=sender.example; s=a; bh=AAAA; b=AAAA; h=from:", names, "\n"+hostileAuthor),
	"signature with many tags": within("DKIM-Signature: v=1", numbered("; t%d=x"),
		"\n"+hostileAuthor),
	"signature with a long b=": within("DKIM-Signature: v=1; a=rsa-sha256; "+
		"d=sender.example; s=a; h=from; bh=AAAA; b=", repeat("A"), "\n"+hostileAuthor),
	"signature with a folded b=": within("DKIM-Signature: v=1; a=rsa-sha256; "+
		"d=sender.example; s=a; h=from; bh=AAAA; b=", repeat("A\n "), "A\n"+hostileAuthor),
	"ten signatures over many fields": within(
		numbered(strings.Replace(signatureOf("relaxed/relaxed", ""), "from:subject",
			"from"+strings.Repeat(":x", 900), 1))(20000),
		repeat("X: y\n"), hostileAuthor),
	"many ARC sets": within("", numbered("ARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=sender.example; "+
		"s=a; t=1700000000; b=AAAA\nARC-Message-Signature: i=%d; a=rsa-sha256; c=relaxed/relaxed; "+
		"d=sender.example; s=a; h=from; bh=AAAA; b=AAAA\nARC-Authentication-Results: i=%d; "+
		"mx.sender.example; dmarc=pass\n"),
		hostileAuthor),
	"ARC sets of one instance": within("",
		repeat("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=sender.example; s=a; b=AAAA\n"+
			"ARC-Message-Signature: i=1; a=rsa-sha256; d=sender.example; s=a; h=from; bh=AAAA; b=AAAA\n"+
			"ARC-Authentication-Results: i=1; x\n"), hostileAuthor),
}

// hostileFroms are headers whose From: is of any length, or stands where only some programs look for it.
var hostileFroms = map[string]func(int) string{
	"From: of many addresses": within("From: ", repeat("a@b.co,"), "c@b.co\n"),
	"From: of many domains":   within("From: ", numbered("a@b%d.example,"), "c@b.co\n"),
	"From: of many names": within("From: ", repeat("=?utf-8?q?a_b?= <a@sender.example>,"),
		"a@sender.example\n"),
	"From: with a long name": within("From: ", repeat("a "), "<alice@sender.example>\n"),
	"From: with many encoded words": within("From: ", repeat("=?utf-8?b?w7w=?= "),
		"<alice@sender.example>\n"),
	"From: with open encoded words": within("From: ", repeat("=?utf-8?q?"),
		" <alice@sender.example>\n"),
	"From: with an encoded word": within("From: =?iso-2022-jp?b?", repeat("GyRC"),
		"?= <alice@sender.example>\n"),
	"From: with deep comments": within("From: ", repeat("("), " <alice@sender.example>\n"),
	"From: with closed comments": within("From: ", func(n int) string {
		return repeat("(")(n/2) + repeat(")")(n/2)
	}, " <alice@sender.example>\n"),
	"From: with many comments":        within("From: ", repeat("(x)"), " <alice@sender.example>\n"),
	"From: with open quotes":          within("From: ", repeat(`"\`), " <alice@sender.example>\n"),
	"From: with a long quoted string": within(`From: "`, repeat(`\"`), `" <alice@sender.example>`+"\n"),
	"From: with open brackets":        within("From: ", repeat("<"), "alice@sender.example>\n"),
	"From: with a route":              within("From: <", repeat("@a,"), ":alice@sender.example>\n"),
	"From: with groups":               within("From: ", repeat("a:;"), "alice@sender.example\n"),
	"From: with dots":                 within("From: ", repeat("a."), "@sender.example\n"),
	"From: with many @":               within("From: ", repeat("a@"), "sender.example\n"),
	"From: with domain literals":      within("From: a@", repeat("["), "\n"),
	"From: folded":                    within("From: ", repeat("\n a"), "\n <alice@sender.example>\n"),
	"From: read in every way": within("From: ", func(n int) string {
		return repeat("a@b.c(\\\u00e9\"<\x01 =?utf-8?b?Y?= ")(min(n, 8000))
	}, "\n"),
	"From: behind CRs": within(hostileAuthor+"X-A: ",
		repeat("b\rFrom: a@b.example"), "\n"),
	"CRs in a field": within(hostileAuthor+"X-A: ", repeat("\rx:"), "\n"),
	"From: behind the header": within(hostileAuthor+"no colon\n",
		repeat("From: a@b.example\nno colon\n"), ""),
	"many From:":                 within("", repeat(hostileAuthor), ""),
	"many From: of many domains": within("", numbered("From: alice@a%d.sender.example\n"), ""),
	"From: of a long domain":     within("From: alice@", repeat("a."), "sender.example\n"),
}

func names(size int) string { return strings.Repeat("x:", size/2) }

func hostileHeaders() []hostile {
	headers := maps.Clone(hostileFields)
	maps.Copy(headers, hostileFroms)
	var list []hostile
	for name, fill := range headers {
		body := func(int) string { return "\nbody\n" }
		list = append(list, hostile{name: "header: " + name, header: fill, body: body})
	}
	return list
}

func hostileEnvelopes() []hostile {
	var list []hostile
	for name, format := range map[string]string{
		"recipients":     "bob%d@example.com\n",
		"SRS recipients": "SRS0=AAAA=AA=a%d.example=bob@" + srsDomain + "\n",
		"local ones":     "bob%d@example.org\n",
	} {
		list = append(list, hostile{
			name: "envelope: " + name, header: func(int) string { return hostileAuthor },
			body: func(int) string { return "\nbody\n" }, recipients: func(n int) []string {
				// One who gets the message, so that it is not rejected for all of them.
				return append(strings.Fields(numbered(format)(n)), "bob@example.com")
			},
		})
	}
	return list
}

// hostileDNS is where the hostile messages come from: their author passes DMARC by SPF, so that all of the
// work is done; and the address that this host sends from.
const hostileDNS = `sender.example TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.sender.example TXT v=DMARC1; p=reject
b.co TXT v=spf1 ip4:192.0.2.25 -all
_dmarc.b.co TXT v=DMARC1; p=reject
mx.example.org A 192.0.2.80
`

// sizes of one kind of hostility, in octets; the second is factor times the first.
type sizes struct {
	shapes []hostile
	small  int
}

const factor = 4

// TestNoMessageCostsMoreThanItsSize: CPU time, as the kernel counts it for the process, grows linearly and
// stays within four times a plain message's of the same size; memory is flat, and DNS is not asked more
// than a bounded number of questions. Only the long form, for a quiet machine, asks for exactly that of CPU
// time. The short one allows twice as much: on a busy machine a process costs more, but what is not linear
// costs sixteen times as much where the size is four times as large.
func TestNoMessageCostsMoreThanItsSize(t *testing.T) {
	lab := newLab(t)
	kinds := []sizes{{hostileBodies(), 500_000}, {hostileHeaders(), 120_000}, {hostileEnvelopes(), 5_000}}
	full := os.Getenv("HOSTILE") == "full"
	lab.leeway = 2
	if full {
		lab.leeway = 1
		kinds[0].small, kinds[1].small = 2_500_000, 250_000 // a header of more than 1 MiB is not read
	}
	for _, kind := range kinds {
		for _, shape := range kind.shapes {
			t.Run(shape.name, func(t *testing.T) { lab.examine(t, shape, kind.small) })
			if full && shape.recipients == nil {
				t.Run(shape.name+", verified", func(t *testing.T) {
					lab.verifying().examine(t, shape, kind.small)
				})
			}
		}
	}
}

// lab runs the program on messages and reads the meter.
type lab struct {
	dir, program, config string
	meter                meter
	command              string // filter or verify
	header               string // of the plain message
	dns                  *dnsserver.Server
	plain                map[int]cost
	leeway               float64 // that CPU time has; 1 is none
}

type cost struct{ cpu, memory float64 } // ms, MB

const (
	maxMemory    = 28.0 // MB
	maxQuestions = 450
	maxTimes     = 4.0  // a plain message's CPU time
	slack        = 20.0 // ms, for what a shared machine adds to a run of some 10 ms
	attempts     = 10
)

func newLab(t *testing.T) *lab {
	l := &lab{dir: mta.Folder(t), command: "filter", header: hostileAuthor, plain: map[int]cost{},
		meter: newMeter(t)}
	var err error
	if l.dns, err = dnsserver.Start(hostileDNS); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.dns.Close() })
	f := &forwarder{t: t, config: filepath.Join(l.dir, "postmend.toml"), dns: l.dns}
	f.writeConfig("smtp://127.0.0.1:" + startNullSink(t))
	l.program, l.config = filepath.Join(l.dir, "postmend"), f.config
	build(t, l.program)
	return l
}

// verifying is the lab for verify, whose work is a part of filter's. A message without a signature would
// leave it none.
func (l *lab) verifying() *lab {
	v := *l
	v.command, v.plain, v.header = "verify", map[int]cost{},
		numbered(signatureOf("relaxed/relaxed", ""))(1)+hostileAuthor
	return &v
}

// startNullSink starts Postfix's smtp-sink, which keeps nothing, and gives its port.
func startNullSink(t *testing.T) string {
	port := peer.FreePort(t)
	args := []string{"127.0.0.1:" + port, "100"}
	if os.Geteuid() == 0 {
		args = append([]string{"-u", "nobody"}, args...)
	}
	sink := exec.Command(peer.Need(t, "smtp-sink"), args...)
	if err := sink.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sink.Process.Kill()
		sink.Wait()
	})
	for started := time.Now(); ; {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
			return port
		}
		if time.Since(started) > mta.Patience {
			t.Fatal(err)
		}
	}
}

// examine looks at a shape at two sizes. A figure that is too high is taken again: other processes only
// ever add to it.
func (l *lab) examine(t *testing.T, shape hostile, small int) {
	asked := len(l.dns.Queries())
	least := map[int]cost{}
	var complaints []string
	for range attempts {
		for _, size := range []int{small, small * factor} {
			c := l.run(t, shape, size)
			if before, again := least[size]; !again || c.cpu < before.cpu {
				least[size] = c
			}
			if questions := len(l.dns.Queries()) - asked; questions > maxQuestions {
				t.Errorf("%d octets: %d questions to DNS", size, questions)
			}
			asked = len(l.dns.Queries())
		}
		if complaints = l.judge(t, least[small], least[small*factor], small*factor); len(complaints) == 0 {
			return
		}
	}
	t.Errorf("%s", strings.Join(complaints, "; "))
}

func (l *lab) judge(t *testing.T, small, large cost, size int) (complaints []string) {
	plain, known := l.plain[size]
	most := func(times, cpu float64) float64 { return l.leeway*times*cpu + slack }
	if !known || large.cpu > most(maxTimes, plain.cpu) {
		c := l.run(t, hostile{header: func(int) string { return l.header },
			body: within("\n", repeat("All work and no play makes Jack a dull boy.\n"), "")}, size)
		if !known || c.cpu < plain.cpu {
			plain = c
			l.plain[size] = c
		}
	}
	complain := func(format string, args ...any) {
		complaints = append(complaints, fmt.Sprintf(format, args...))
	}
	if large.cpu > most(factor, small.cpu) {
		complain("CPU grows from %.0f to %.0f ms where the size grows %d times", small.cpu, large.cpu, factor)
	}
	if large.cpu > most(maxTimes, plain.cpu) {
		complain("CPU is %.0f ms at %d octets, a plain message of that size costs %.0f ms", large.cpu,
			size, plain.cpu)
	}
	if large.memory > maxMemory {
		complain("memory is %.1f MB at %d octets, %.1f MB at a quarter of it; a plain message has %.1f MB",
			large.memory, size, small.memory, plain.memory)
	}
	return complaints
}

// run runs filter once, as Postfix would for a message of a stranger.
func (l *lab) run(t *testing.T, shape hostile, size int) cost {
	t.Helper()
	input := filepath.Join(l.dir, "message")
	header, body := shape.header(size), shape.body(size)
	if !strings.HasPrefix(body, "\n") {
		body = "\n" + body
	}
	if err := os.WriteFile(input, []byte(header+body), 0o600); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf(
		"exec %s %s -c %s -f alice@sender.example --client-address=192.0.2.25 --helo=mail.sender.example",
		l.program, l.command, l.config)
	switch {
	case shape.recipients != nil:
		command += " -- " + strings.Join(shape.recipients(size), " ")
	case l.command == "filter":
		command += " -- bob@example.com"
	}
	return l.meter.run(t, input, command)
}

// meter is the path of a launcher in C: the peak memory that the kernel reports for a process includes that
// of whoever started it.
type meter string

func newMeter(t *testing.T) meter {
	t.Helper()
	peer.Need(t, "gcc")
	path := filepath.Join(t.TempDir(), "measure")
	if out, err := exec.Command("gcc", "-O2", "-o", path, "bench/measure.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return meter(path)
}

// run runs a shell command with the file input on standard input.
func (m meter) run(t *testing.T, input, command string) cost {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(string(m), "1", input, "command", command)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %.500s", err, errs.String())
	}
	// The columns are least CPU, CPU, wall, memory, ratio.
	columns := strings.Fields(string(out))
	columns = columns[len(columns)-5:]
	number := func(i int) float64 {
		n, err := strconv.ParseFloat(columns[i], 64)
		if err != nil {
			t.Fatalf("the meter printed %q", out)
		}
		return n
	}
	return cost{cpu: number(0), memory: number(3)}
}
