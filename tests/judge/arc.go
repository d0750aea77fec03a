package judge

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/fromreaders"
	"postmend/tests/peer"
)

//go:embed arc.py
var arcPython string

//go:embed arc.pl
var arcPerl string

// Sealer verifies ARC chains and adds sets to them. It is one process for many jobs.
type Sealer struct {
	t       testing.TB
	dir     string
	count   int
	jobs    io.Writer
	answers *bufio.Reader
}

// DKIMPySealer is dkimpy. The records are by name.
func DKIMPySealer(t testing.TB, records map[string]string) *Sealer {
	t.Helper()
	var lines strings.Builder
	for name, text := range records {
		lines.WriteString(name + "\t" + text + "\n")
	}
	path := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return startSealer(t, exec.Command(peer.Need(t, "python3"), "-c", arcPython, path))
}

// MailDKIMSealer is Perl's Mail::DKIM.
func MailDKIMSealer(t testing.TB, dns *dnsserver.Server) *Sealer {
	t.Helper()
	port := dns.Addr()[strings.LastIndexByte(dns.Addr(), ':')+1:]
	return startSealer(t, exec.Command(peer.Need(t, "perl"), "-e", arcPerl, port))
}

// MailauthSealer is mailauth. It only seals.
func MailauthSealer(t testing.TB) *Sealer {
	t.Helper()
	return startSealer(t, exec.Command(peer.NeedAnywhere(t, "node"), fromreaders.Script(t, "seal.js")))
}

func startSealer(t testing.TB, cmd *exec.Cmd) *Sealer {
	t.Helper()
	jobs, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		jobs.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", cmd.Path, err)
		}
	})
	return &Sealer{t: t, dir: t.TempDir(), jobs: jobs, answers: bufio.NewReader(answers)}
}

// do gives the answer to a job, and the path of its message.
func (s *Sealer) do(job string, message []byte, words ...string) (answer, path string) {
	s.t.Helper()
	s.count++
	path = filepath.Join(s.dir, fmt.Sprintf("%04d.eml", s.count))
	if err := os.WriteFile(path, message, 0o644); err != nil {
		s.t.Fatal(err)
	}
	if _, err := fmt.Fprintln(s.jobs, strings.Join(append([]string{job, path}, words...), "\t")); err != nil {
		s.t.Fatal(err)
	}
	answer, err := s.answers.ReadString('\n')
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(answer), path
}

// Verify says pass, fail or none of a message with CRLF line ends.
func (s *Sealer) Verify(message []byte) string {
	s.t.Helper()
	answer, _ := s.do("verify", message)
	return answer
}

// Seal adds a set to a message with CRLF line ends. The status is that of the chain when it arrived, the
// key a PEM file.
func (s *Sealer) Seal(message []byte, status, domain, selector, key string) []byte {
	s.t.Helper()
	server := fmt.Sprintf("mx%d.%s", s.count, domain) // another one each time: both gather all that one says
	_, path := s.do("seal", message, server, status, domain, selector, key)
	sealed, err := os.ReadFile(path + ".sealed")
	if err != nil {
		s.t.Fatal(err)
	}
	return sealed
}
