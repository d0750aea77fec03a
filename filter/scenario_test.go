package filter

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/emersion/go-smtp"

	"postmend/filter/authn/dnsserver"
	"postmend/filter/config"
	"postmend/filter/plan"
	"postmend/srs"
)

// A scenario is a file in testdata/scenarios, cut into sections by lines such as "-- zone --":
//
//	why       what it is about
//	config    TOML, laid over baseConfig
//	file X    a file beside the configuration
//	zone      DNS records for dnsserver, beside baseZone; what has records here has none there
//	envelope  from, to (may repeat), original (one for each recipient, the last for all that follow),
//	          client ("none": a local submission), helo, sasl
//	sign      DKIM signatures, put on top of the message one after the other, see world.sign
//	arc       ARC sets, put on top after that, see world.seal
//	message   as Postfix hands it over, with LF
//	arrival   the envelope of the message's arrival, if a program here sends it on, see world.arrive
//	change    what that program changes, see world.arrive
//	want      what specification and design ask for, see outcome.check; lines below "delivery: CLASS or
//	          RECIPIENT" are about that delivery
//
// {NAME ARGUMENTS} is replaced in all of them but why, see world.expand.
type scenario map[string]string

const (
	forwarderIP = "192.0.2.80"
	baseConfig  = `hostname = "mx.example.org"
local_domains = ["example.org"]
[srs]
domain = "srs.example.org"
secrets_file = "secrets"
[dkim]
default_domain = "example.org"
[[dkim.keys]]
domain = "example.org"
selector = "fwd"
file = "forwarder.pem"
[reinject]
`
	baseZone = `example.org TXT v=spf1 ip4:192.0.2.80 -all
srs.example.org TXT v=spf1 ip4:192.0.2.80 -all
mx.example.org A 192.0.2.80
mx.example.org TXT v=spf1 ip4:192.0.2.80 -all
_dmarc.example.org TXT v=DMARC1; p=reject
fwd._domainkey.example.org TXT {forwarder}
`
)

func TestScenarios(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for a key that is too short
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	w := newWorld(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := w.read(t, file)
			o := w.play(t, s)
			o.checkRules(t)
			o.check(t, s["want"])
			if t.Failed() {
				t.Logf("%s%s", s["why"], o)
			}
		})
	}
}

// world is what all scenarios share. Its clock stands still.
type world struct {
	now     time.Time
	keys    map[string]crypto.Signer
	records map[string]string // of the keys
	pem     []byte            // of the forwarder's
	door    string            // "transport" or "content-filter": a milter judges what arrives, in that mode
}

func newWorld(t *testing.T) *world {
	w := &world{now: time.Now(), keys: map[string]crypto.Signer{}, records: map[string]string{}}
	for name, bits := range map[string]int{"rsa": 2048, "other": 2048, "forwarder": 2048, "weak": 1016} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		der, _ := x509.MarshalPKIXPublicKey(key.Public())
		w.keys[name], w.records[name] = key, "v=DKIM1; k=rsa; p="+base64.StdEncoding.EncodeToString(der)
	}
	w.records["rsapublic"] = "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(
		x509.MarshalPKCS1PublicKey(w.keys["rsa"].Public().(*rsa.PublicKey)))
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	w.keys["ed25519"], w.records["ed25519"] = private,
		"v=DKIM1; k=ed25519; p="+base64.StdEncoding.EncodeToString(public)
	der, err := x509.MarshalPKCS8PrivateKey(w.keys["forwarder"])
	if err != nil {
		t.Fatal(err)
	}
	w.pem = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return w
}

func (w *world) read(t *testing.T, file string) scenario {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := scenario{}
	parts := regexp.MustCompile(`(?m)^-- ([a-z]+(?: [a-z.]+)?) --\n`).FindAllSubmatchIndex(text, -1)
	for i, part := range parts {
		end := len(text)
		if i+1 < len(parts) {
			end = parts[i+1][0]
		}
		name := string(text[part[2]:part[3]])
		kind, _, _ := strings.Cut(name, " ")
		if !slices.Contains([]string{"why", "config", "file", "zone", "envelope", "sign", "arc", "message",
			"arrival", "change", "want"}, kind) || s[name] != "" {
			t.Fatalf("section %q is unknown or there twice", name)
		}
		s[name] = string(text[part[1]:end])
		if kind != "why" {
			s[name] = w.expand(t, s[name])
		}
	}
	if s["why"] == "" || s["message"] == "" || s["want"] == "" {
		t.Fatal("why, message or want is missing")
	}
	return s
}

// expand replaces {rsa} and other keys' names by their DNS records, {repeat x 1200}, {octet ff}, {date
// -30m} by the date of 30 minutes ago, {srs a@b.example} and {srs a@b.example -600h} by SRS addresses made
// now or 600 hours ago.
func (w *world) expand(t *testing.T, text string) string {
	return regexp.MustCompile(`\{[a-z0-9]+( [^{}\n]*)?\}`).ReplaceAllStringFunc(
		text, func(match string) string {
			words := strings.Fields(strings.Trim(match, "{}"))
			ago := func(i int) time.Time {
				if i >= len(words) {
					return w.now
				}
				d, err := time.ParseDuration(words[i])
				if err != nil {
					t.Fatalf("%s: %v", match, err)
				}
				return w.now.Add(d)
			}
			switch {
			case slices.Contains([]string{"{name}", "{address}", "{local}", "{domain}", "{alias}"}, match):
				return match // of from_name
			case w.records[words[0]] != "":
				return w.records[words[0]]
			case words[0] == "repeat" && len(words) == 3:
				n, _ := strconv.Atoi(words[2])
				return strings.Repeat(words[1], n)
			case words[0] == "octet" && len(words) == 2:
				octet, _ := hex.DecodeString(words[1])
				return string(octet)
			case words[0] == "date":
				return ago(1).Format(time.RFC1123Z)
			case words[0] == "srs" && len(words) >= 2:
				r, err := srs.New(srs.Options{Domain: "srs.example.org", Secrets: [][]byte{[]byte("secret")},
					Now: func() time.Time { return ago(2) }})
				if err != nil {
					t.Fatal(err)
				}
				address, err := r.Forward(words[1])
				if err != nil {
					t.Fatal(err)
				}
				return address
			}
			t.Fatalf("%s is not understood", match)
			return ""
		})
}

// pairs cuts lines of "name: value".
func pairs(t *testing.T, text string) (list [][2]string) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if name == "" && !ok {
			continue
		}
		if !ok {
			t.Fatalf("no colon in %q", line)
		}
		list = append(list, [2]string{name, strings.TrimSpace(value)})
	}
	return list
}

func readEnvelope(t *testing.T, text string) *plan.Envelope {
	env := &plan.Envelope{ClientAddress: "192.0.2.25", HELO: "mail.bank.example", QueueID: "4bXk2w1z"}
	var originals []string
	for _, p := range pairs(t, text) {
		switch p[0] {
		case "from":
			env.Sender = p[1]
		case "to":
			env.Recipients = append(env.Recipients, plan.Recipient{Address: p[1]})
		case "original":
			originals = append(originals, p[1])
		case "client":
			env.ClientAddress = p[1]
			if p[1] == "none" {
				env.ClientAddress, env.HELO = "", ""
			}
		case "helo":
			env.HELO = p[1]
		case "sasl":
			env.SASLUsername = p[1]
		case "name":
			env.ClientName = p[1]
		default:
			t.Fatalf("envelope: %q", p[0])
		}
	}
	for i := range env.Recipients {
		if len(originals) > 0 {
			env.Recipients[i].Original = originals[min(i, len(originals)-1)]
		}
	}
	return env
}

// config lays a scenario's configuration over the base, and writes it to a folder with all files that it
// needs.
func (w *world) config(t *testing.T, s scenario, resolver, target string) *config.Config {
	dir := t.TempDir()
	files := map[string][]byte{"secrets": []byte("secret\n"), "forwarder.pem": w.pem}
	for name, text := range s {
		if file, isFile := strings.CutPrefix(name, "file "); isFile {
			files[file] = []byte(text)
		}
	}
	base, over := map[string]any{"resolver": resolver}, map[string]any{}
	if _, err := toml.Decode(baseConfig+"target = "+strconv.Quote(target), &base); err != nil {
		t.Fatal(err)
	}
	if _, err := toml.Decode(s["config"], &over); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(merge(base, over)); err != nil {
		t.Fatal(err)
	}
	files["postmend.toml"] = text.Bytes()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := config.Load(filepath.Join(dir, "postmend.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

func merge(base, over map[string]any) map[string]any {
	for name, value := range over {
		below, isTable := value.(map[string]any)
		if old, wasTable := base[name].(map[string]any); isTable && wasTable {
			value = merge(old, below)
		}
		base[name] = value
	}
	return base
}

// dns serves a scenario's zone.
func (w *world) dns(t *testing.T, s scenario) *dnsserver.Server {
	zone := s["zone"]
	for line := range strings.Lines(w.expand(t, baseZone)) {
		name, _, _ := strings.Cut(line, " ")
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + " ").MatchString(s["zone"]) {
			zone += line
		}
	}
	server, err := dnsserver.Start(zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// left is a message that left.
type left struct {
	sender     string
	recipients []string
	text       string // with LF
}

// exit is the listener that takes what leaves.
type exit struct {
	mu     sync.Mutex
	sent   []left
	refuse string // a recipient
}

type exitSession struct {
	*exit
	left
}

func (e *exit) NewSession(*smtp.Conn) (smtp.Session, error) { return &exitSession{exit: e}, nil }
func (s *exitSession) Reset()                               { s.left = left{} }
func (s *exitSession) Logout() error                        { return nil }
func (s *exitSession) Mail(from string, _ *smtp.MailOptions) error {
	s.sender = from
	return nil
}
func (s *exitSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == s.refuse {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.recipients = append(s.recipients, to)
	return nil
}
func (s *exitSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	s.text = strings.ReplaceAll(string(text), "\r\n", "\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, s.left)
	return err
}

func startExit(t *testing.T) (*exit, string) {
	e := &exit{}
	server := smtp.NewServer(e)
	server.Domain, server.EnableSMTPUTF8, server.MaxLineLength = "localhost", true, 2<<20
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return e, "smtp://" + listener.Addr().String()
}
