// Package judge asks verifiers that nobody here wrote for their verdict on DKIM signatures: dkimpy,
// Mail::DKIM and OpenDKIM.
package judge

import (
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/peer"
)

//go:embed dkimpy.py
var dkimpy string

//go:embed maildkim.pl
var mailDKIM string

// Verdicts are what one judge says of the signatures of each message, from the top one down: "pass",
// "fail", or "unknown" for an algorithm that the judge does not know.
type Verdicts [][]string

// Bench is a folder of messages, and the records that a judge may see.
type Bench struct {
	t       testing.TB
	dir     string
	records map[string]string
	files   []string
}

// New takes TXT records by name and messages with CRLF line ends.
func New(t testing.TB, records map[string]string, messages [][]byte) *Bench {
	t.Helper()
	b := &Bench{t: t, dir: t.TempDir(), records: records}
	for n, message := range messages {
		path := filepath.Join(b.dir, fmt.Sprintf("%04d.eml", n))
		b.write(path, string(message))
		b.files = append(b.files, path)
	}
	return b
}

func (b *Bench) write(path, text string) {
	b.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// DKIMPy is dkimpy's verdict.
func (b *Bench) DKIMPy() Verdicts {
	b.t.Helper()
	return b.run(exec.Command(peer.Need(b.t, "python3"),
		append([]string{"-c", dkimpy, b.recordFile("\t")}, b.files...)...))
}

// MailDKIM is the verdict of Perl's Mail::DKIM.
func (b *Bench) MailDKIM() Verdicts {
	b.t.Helper()
	var zone strings.Builder
	for name, text := range b.records {
		fmt.Fprintf(&zone, "%s TXT %s\n", name, text)
	}
	dns, err := dnsserver.Start(zone.String())
	if err != nil {
		b.t.Fatal(err)
	}
	defer dns.Close()
	_, port, _ := net.SplitHostPort(dns.Addr())
	return b.run(exec.Command(peer.Need(b.t, "perl"), append([]string{"-e", mailDKIM, port}, b.files...)...))
}

// recordFile writes the records to a file, a line each.
func (b *Bench) recordFile(separator string) string {
	var lines strings.Builder
	for name, text := range b.records {
		lines.WriteString(name + separator + text + "\n")
	}
	path := filepath.Join(b.dir, "records"+fmt.Sprint(len(separator)))
	b.write(path, lines.String())
	return path
}

func (b *Bench) run(cmd *exec.Cmd) Verdicts {
	b.t.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("%s: %v", cmd.Path, err)
	}
	lines := slices.Collect(strings.Lines(string(out)))
	if len(lines) != len(b.files) {
		b.t.Fatalf("%s: %d verdicts on %d messages", cmd.Path, len(lines), len(b.files))
	}
	verdicts := make(Verdicts, len(lines))
	for n, line := range lines {
		file, words, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if file != b.files[n] {
			b.t.Fatalf("%s: a verdict on %q, want one on %q", cmd.Path, file, b.files[n])
		}
		verdicts[n] = strings.Fields(words)
	}
	return verdicts
}

// OpenDKIM is OpenDKIM's verdict, one for a whole message: on the first signature that it settles on.
func (b *Bench) OpenDKIM() Verdicts {
	b.t.Helper()
	config := filepath.Join(b.dir, "opendkim.conf")
	b.write(config, "Mode v\nTestDNSData file:"+b.recordFile(" ")+"\nMinimumKeyBits 1024\n")
	cmd := exec.Command(peer.Need(b.t, "opendkim"), "-x", config, "-t", strings.Join(b.files, ","))
	out, _ := cmd.CombinedOutput() // its status is that of the last message
	verdicts := make(Verdicts, len(b.files))
	for n, file := range b.files {
		verdict := regexp.MustCompile(`(?m)^opendkim: ` + regexp.QuoteMeta(file) +
			`: verification .* (succeeded|failed)`).FindSubmatch(out)
		if verdict != nil {
			verdicts[n] = []string{
				map[string]string{"succeeded": "pass", "failed": "fail"}[string(verdict[1])]}
		}
	}
	return verdicts
}
