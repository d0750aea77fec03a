package judge

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postmend/filter/authn/dnsserver"
	"postmend/tests/fromreaders"
	"postmend/tests/peer"
)

//go:embed authheaders.py
var authHeaders string

// Arrival is a message as a receiver gets it.
type Arrival struct {
	Address string // of the client
	HELO    string
	Sender  string // MAIL FROM without brackets; "" is the null sender
	Content []byte // CRLF line ends
}

// DMARC is what mailauth, authheaders and rspamd make of arrivals, each with its own SPF, DKIM and From:,
// by the judge's name: for each arrival the domain for which DMARC passes, "" if it does not. The zone is
// in dnsserver's form.
func DMARC(t testing.TB, zone string, arrivals []Arrival) map[string][]string {
	t.Helper()
	python := exec.Command(peer.Need(t, "python3"), "-c", authHeaders, zoneFile(t, zone))
	return map[string][]string{
		"mailauth":    Mailauth(t, zone, arrivals),
		"authheaders": passed(t, python, arrivals),
		"rspamd":      rspamd(t, zone, arrivals),
	}
}

// Mailauth is what mailauth makes of arrivals, as DMARC has it.
func Mailauth(t testing.TB, zone string, arrivals []Arrival) []string {
	t.Helper()
	script := fromreaders.Script(t, "verify.js")
	return passed(t, exec.Command(peer.NeedAnywhere(t, "node"), script, zoneFile(t, zone)), arrivals)
}

func zoneFile(t testing.TB, zone string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "zone")
	if err := os.WriteFile(path, []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// passed hands arrivals to a program, a line of JSON each, and reads a line for each.
func passed(t testing.TB, cmd *exec.Cmd, arrivals []Arrival) []string {
	t.Helper()
	var input bytes.Buffer
	for _, a := range arrivals {
		json.NewEncoder(&input).Encode(map[string]string{"address": a.Address, "helo": a.HELO,
			"sender": a.Sender, "message": base64.StdEncoding.EncodeToString(a.Content)})
	}
	cmd.Stdin, cmd.Stderr = &input, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", cmd.Path, err)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(lines) != len(arrivals) {
		t.Fatalf("%s: %d verdicts on %d messages: %s", cmd.Path, len(lines), len(arrivals), out)
	}
	return lines
}

// rspamd asks a private rspamd that does nothing but SPF, DKIM and DMARC.
func rspamd(t testing.TB, zone string, arrivals []Arrival) []string {
	t.Helper()
	dns, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	address := startRspamd(t, dns.Addr())
	domains := make([]string, len(arrivals))
	for n, a := range arrivals {
		request, err := http.NewRequest("POST", "http://"+address+"/checkv2", bytes.NewReader(a.Content))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("IP", a.Address)
		request.Header.Set("Helo", a.HELO)
		request.Header.Set("From", "<"+a.Sender+">")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		var verdict struct {
			Symbols map[string]struct{ Options []string }
		}
		if err := json.Unmarshal(text, &verdict); err != nil {
			t.Fatalf("rspamd on message %d: %v: %s", n, err, text)
		}
		if err != nil {
			t.Fatal(err)
		}
		if allowed, ok := verdict.Symbols["DMARC_POLICY_ALLOW"]; ok {
			domains[n] = allowed.Options[0]
		}
	}
	return domains
}

// startRspamd starts it on a free port and waits until it answers.
func startRspamd(t testing.TB, dns string) (address string) {
	t.Helper()
	program, dir := peer.Need(t, "rspamd"), t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = listener.Addr().String()
	listener.Close()
	config := fmt.Sprintf(`options {
  filters = "dkim";
  dns { nameserver = ["%s"]; timeout = 5s; }
  tempdir = "%[2]s"; cache_file = "%[2]s/cache"; hs_cache_dir = "%[2]s"; history_file = "%[2]s/history";
  url_tld = "%[2]s/suffixes";
  local_addrs = [];
}
logging { type = "file"; filename = "%[2]s/log"; level = "info"; }
worker "normal" { bind_socket = "%[3]s"; count = 1; }
dkim { }
spf { }
dmarc { }
modules { path = "/usr/share/rspamd/plugins/spf.lua"; path = "/usr/share/rspamd/plugins/dmarc.lua"; }
`, dns, dir, address)
	path := filepath.Join(dir, "rspamd.conf")
	for name, text := range map[string]string{
		path: config,
		// The whole list takes a minute to compile, and not every package of rspamd's has it.
		filepath.Join(dir, "suffixes"): "com\nnet\norg\nexample\ntest\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var output bytes.Buffer
	cmd := exec.Command(program, "-f", "-i", "-c", path)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + address + "/ping")
		if err == nil {
			response.Body.Close()
			return address
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("rspamd does not answer: %v\n%s%s", err, output.Bytes(), log)
		}
	}
}
