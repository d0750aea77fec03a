package dkim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"

	"postmend/tests/judge"
	"postmend/tests/peer"
)

// signed says how one signature of a message was made, as far as that decides what it survives.
type signed struct {
	by                string // our signer, go-msgauth or dkimpy
	key               *Key
	header, body      Canonicalization
	oversigned, limit bool
}

func (s signed) String() string {
	text := fmt.Sprintf("%s %s %s/%s", s.by, s.key.Selector, s.header, s.body)
	if s.oversigned {
		text += " oversigned"
	}
	if s.limit {
		text += " l="
	}
	return text
}

// mutation changes a message that has markHeader and markBody.
type mutation struct {
	name     string
	from, to string
	survives func(signed) bool
}

const (
	markHeader = "Reply-To: mark one two\r\nX-Unsigned: 1\r\nX-Unsigned: 2\r\n"
	markBody   = "mark three  four\r\n"
)

func inAnyCase(signed) bool         { return true }
func inNoCase(signed) bool          { return false }
func ifRelaxedHeader(s signed) bool { return s.header == Relaxed }
func ifRelaxedBody(s signed) bool   { return s.body == Relaxed }

// mutations by what RFC 6376 section 3.4 says of them.
func mutations() []mutation {
	return []mutation{
		{"nothing", "", "", inAnyCase},
		{"more blanks in a field", "mark one two", "mark  one\ttwo ", ifRelaxedHeader},
		{"a fold more", "mark one two", "mark one\r\n two", ifRelaxedHeader},
		{"a field's name in capitals", "Reply-To: mark", "REPLY-TO: mark", ifRelaxedHeader},
		{"a word in a field", "mark one two", "mark one three", inNoCase},
		{"blanks in a word of a field", "mark one two", "ma rk one two", inNoCase},
		{"a field left out", "Reply-To: mark one two\r\n", "", inNoCase},
		{"a field that is not signed", "X-Unsigned: 1", "X-Other: 3\r\nX-Unsigned: 1", inAnyCase},
		{"fields that are not signed in another order", "X-Unsigned: 1\r\nX-Unsigned: 2",
			"X-Unsigned: 2\r\nX-Unsigned: 1", inAnyCase},
		{"a fold less in the signature", "DKIM-Signature: v=1;", "DKIM-Signature: v=1; \r\n\t",
			ifRelaxedHeader},
		{"the signature changed", " s=20", " n=x; s=20", inNoCase},
		{"a second From: on top", "DKIM-Signature:", "From: mallory@example.net\r\nDKIM-Signature:",
			func(s signed) bool { return !s.oversigned }},
		{"a second From: at the end", "X-Unsigned: 1",
			"From: mallory@example.net\r\nX-Unsigned: 1", inNoCase},
		{"more blanks in the body", "mark three  four", "mark three \t four ", ifRelaxedBody},
		{"blanks within a word of the body", "mark three", "mark thr ee", inNoCase},
		{"a word in the body", "mark three", "mark Three", inNoCase},
		{"an empty line on top of the body", "mark three", "\r\nmark three", inNoCase},
	}
}

// atTheEnd are changes after the last octet.
func atTheEnd() []mutation {
	return []mutation{
		{"empty lines at the end", "", "\r\n\r\n\r\n", inAnyCase},
		{"text at the end", "", "-- \r\nyour list\r\n", func(s signed) bool { return s.limit }},
	}
}

// corpusMessage is what signers get, and names its fields for h=.
func corpusMessage(r sampler) (header, body string, names []string) {
	header, body = r.header()+markHeader, markBody+r.body()
	if !strings.HasSuffix(body, "\r\n") {
		body += "\r\n"
	}
	fields, _ := SplitHeader([]byte(header))
	for _, f := range fields {
		if name := strings.ToLower(f.Name()); name != "x-unsigned" && name != "received" {
			names = append(names, name)
		}
	}
	return header, body, names
}

// corpus is messages with their signatures from the top one down.
type corpus struct {
	t        *testing.T
	r        sampler
	keys     map[string]*Key
	messages []string
	made     [][]signed
	jobs     []job
}

// job is a signature that dkimpy is to put on top of a message.
type job struct {
	message int
	how     signed
	names   []string
}

func (c *corpus) add(message string, made ...signed) {
	c.messages, c.made = append(c.messages, message), append(c.made, made)
}

func (c *corpus) ours() {
	header, body, _ := corpusMessage(c.r)
	keys := []*Key{c.keys["2026a"], c.keys["2026e"]}
	fields, err := sign(c.t, header, body, keys...)
	if err != nil {
		c.t.Fatal(err)
	}
	var made []signed
	for _, key := range keys {
		made = append(made, signed{"we", key, Relaxed, Relaxed, true, false})
	}
	c.add(string(bytes.Join(fieldBytes(fields), nil))+header+"\r\n"+body, made...)
}

// others has go-msgauth sign, or dkimpy, or the one after the other.
func (c *corpus) others(n int) {
	header, body, names := corpusMessage(c.r)
	forms := []Canonicalization{Simple, Relaxed}
	how := signed{"go-msgauth", c.keys[[]string{"2026a", "2026a", "2026e"}[n%3]], forms[n%2], forms[n/2%2],
		n%5 < 2, false}
	if how.oversigned {
		names = append(names, "from", "reply-to", "subject")
	}
	message := header + "\r\n" + body
	var made []signed
	if n%3 != 1 {
		var out bytes.Buffer
		err := dkim.Sign(&out, strings.NewReader(message), &dkim.SignOptions{
			Domain: "example.org", Selector: how.key.Selector, Signer: how.key.private, HeaderKeys: names,
			HeaderCanonicalization: dkim.Canonicalization(how.header),
			BodyCanonicalization:   dkim.Canonicalization(how.body),
		})
		if err != nil {
			c.t.Fatal(err)
		}
		message, made = out.String(), []signed{how}
	}
	if n%3 != 0 {
		how.by, how.header, how.body, how.limit = "dkimpy", forms[n/4%2], forms[n/3%2], n%4 == 1
		c.jobs = append(c.jobs, job{len(c.messages), how, names})
	}
	c.add(message, made...)
}

// runDKIMPy makes the signatures that dkimpy was asked for.
func (c *corpus) runDKIMPy() {
	dir := c.t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			c.t.Fatal(err)
		}
		return path
	}
	keyFiles := map[string]string{}
	for selector, key := range c.keys {
		if private, isEdwards := key.private.(ed25519.PrivateKey); isEdwards {
			keyFiles[selector] = write(selector, []byte(base64.StdEncoding.EncodeToString(private.Seed())))
			continue
		}
		der, err := x509.MarshalPKCS8PrivateKey(key.private)
		if err != nil {
			c.t.Fatal(err)
		}
		keyFiles[selector] = write(selector, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	var list strings.Builder
	path := func(message int) string { return filepath.Join(dir, fmt.Sprint(message)) }
	for _, j := range c.jobs {
		write(fmt.Sprint(j.message), []byte(c.messages[j.message]))
		limit := map[bool]string{true: "l", false: "-"}[j.how.limit]
		fmt.Fprintf(&list, "%s\t%s\t%s\t%s/%s\t%s\t%s\n", path(j.message), j.how.key.Selector,
			keyFiles[j.how.key.Selector], j.how.header, j.how.body, limit, strings.Join(j.names, ":"))
	}
	out, err := exec.Command(peer.Need(c.t, "python3"), "testdata/sign.py",
		write("jobs", []byte(list.String()))).CombinedOutput()
	if err != nil {
		c.t.Fatalf("dkimpy: %v\n%s", err, out)
	}
	for _, j := range c.jobs {
		signature, err := os.ReadFile(path(j.message) + ".signature")
		if err != nil {
			c.t.Fatal(err)
		}
		c.messages[j.message] = string(signature) + c.messages[j.message]
		c.made[j.message] = slices.Insert(c.made[j.message], 0, j.how)
	}
}

// verdict is one that is to be given on a message.
type verdict struct {
	why     string
	message string
	made    []signed
	want    []string
	second  bool // there is a second From:, which dkimpy refuses
	mutated string
}

func (c *corpus) verdicts() []verdict {
	var list []verdict
	inside, end := mutations(), atTheEnd()
	for i, message := range c.messages {
		// Each message unchanged, with a change at its end, and with two others.
		for _, m := range []mutation{inside[0], inside[1+i%(len(inside)-1)],
			inside[1+(i*7+3)%(len(inside)-1)], end[i%len(end)]} {
			v := verdict{message: message + m.to, made: c.made[i],
				second: strings.HasPrefix(m.name, "a second From:"), mutated: m.name}
			if m.from != "" {
				if !strings.Contains(message, m.from) {
					continue // a signer that writes its field in another way
				}
				v.message = strings.Replace(message, m.from, m.to, 1)
			}
			for n, s := range v.made {
				survives := m.survives(s)
				if n > 0 && strings.Contains(m.name, "signature") {
					survives = true // only the top one is changed
				}
				v.want = append(v.want, map[bool]string{true: "pass", false: "fail"}[survives])
			}
			v.why = fmt.Sprintf("message %d, %v, changed: %s", i, v.made, m.name)
			list = append(list, v)
		}
	}
	return list
}

func TestOthersAgreeOnGeneratedMessages(t *testing.T) {
	peer.Long(t)
	c := &corpus{t: t, r: sampler{Rand: rand.New(rand.NewPCG(6376, 8301))}, keys: map[string]*Key{
		"2026a": newKey(t, "rsa2048", "2026a"), "2026e": newKey(t, "ed25519", "2026e"),
	}}
	for range 20 {
		c.ours()
	}
	for n := range 100 {
		c.others(n)
	}
	c.runDKIMPy()
	records := zone(recordsOf(t, []*Key{c.keys["2026a"], c.keys["2026e"]}))
	list := c.verdicts()
	var messages [][]byte
	for _, v := range list {
		messages = append(messages, []byte(v.message))
		got := passes(verifyMessage(t, v.message, VerifyOptions{Resolver: records}))
		if !slices.Equal(got, v.want) {
			t.Errorf("%s: %q, want %q\n%.3000q", v.why, got, v.want, v.message)
		}
	}
	t.Logf("%d messages", len(list))
	bench := judge.New(t, records, messages)
	for name, verdicts := range map[string]judge.Verdicts{
		"dkimpy": bench.DKIMPy(), "Mail::DKIM": bench.MailDKIM(), "OpenDKIM": bench.OpenDKIM(),
		"go-msgauth": goMsgauth(t, records, messages),
	} {
		for i, v := range list {
			compareVerdict(t, name, v, verdicts[i])
		}
	}
}

// compareVerdict allows for what is known of the judges.
func compareVerdict(t *testing.T, name string, v verdict, theirs []string) {
	t.Helper()
	if name == "OpenDKIM" {
		// It has one verdict a message, and its test mode drops blanks after the colon of a field.
		if len(v.made) > 1 || v.made[0].header == Simple {
			return
		}
	}
	if len(theirs) != len(v.want) {
		t.Errorf("%s, %s: %q, want %q", name, v.why, theirs, v.want)
		return
	}
	for n, want := range v.want {
		switch {
		case name == "Mail::DKIM" && theirs[n] == "unknown" && v.made[n].key.Selector == "2026e":
			continue // not every version knows ed25519
		case name == "dkimpy" && v.second, name == "go-msgauth" && v.made[n].limit:
			continue // it refuses every message with two From: fields, every signature with l=
		}
		if theirs[n] != want {
			t.Errorf("%s, %s: signature %d: %s, want %s\n%.3000q", name, v.why, n, theirs[n], want, v.message)
		}
	}
}
