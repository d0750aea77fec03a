package arc

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"postmend/dkim"
)

// vector is a case of ValiMail's arc_test_suite, whose licence is in testdata.
type vector struct {
	Message     string `json:"message"`
	CV          string `json:"cv"` // None, Pass, Fail; "" is anything but Pass
	Description string `json:"description"`

	Time         json.Number `json:"t"`
	SigHeaders   string      `json:"sig-headers"`
	ServerID     string      `json:"srv-id"`
	AS, AMS, AAR string
}

type scenario struct {
	Tests      map[string]vector `json:"tests"`
	Records    zone              `json:"txt-records"`
	Domain     string            `json:"domain"`
	Selector   string            `json:"sel"`
	PrivateKey string            `json:"privatekey"`
}

func readVectors(t testing.TB, name string) (list []scenario) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// key is the one to sign with.
func (s scenario) key(t testing.TB) (*dkim.Key, crypto.Signer) {
	t.Helper()
	block, _ := pem.Decode([]byte(s.PrivateKey))
	private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte(s.PrivateKey), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := dkim.LoadKey(s.Domain, s.Selector, path)
	if err != nil {
		t.Fatal(err)
	}
	return key, private
}

// zone has TXT records by name.
type zone map[string]string

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	if text, found := z[strings.TrimSuffix(name, ".")]; found {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

// split gives header and body of a message.
func split(message string) (dkim.Header, string) {
	header, n := dkim.SplitHeader([]byte(message))
	body := message[n:]
	if line, rest, found := strings.Cut(body, "\n"); found && strings.Trim(line, "\r") == "" {
		body = rest
	}
	return header, body
}

// verify verifies the chain of a message as a program would.
func verify(t testing.TB, message string, resolver dkim.Resolver) (*Chain, Result) {
	t.Helper()
	header, body := split(message)
	chain := Read(header)
	v := dkim.NewVerifier(header, dkim.VerifyOptions{Resolver: resolver}, chain.MessageSignatures()...)
	if _, err := v.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	v.Close()
	return chain, chain.Verify(t.Context(), resolver)
}

// differences are the vectors that have another result here, and why.
var differences = map[string]string{
	"ams_fields_h_empty": "RFC 8617 section 4.1.2 takes over DKIM's rules, by which From: has to be signed " +
		"(RFC 6376 section 5.4); this h= has nothing in it",
}

func TestTheValidationVectorsHaveTheirResults(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0") // for the key of 512 bits
	count := 0
	for _, s := range readVectors(t, "validate.json") {
		for name, v := range s.Tests {
			count++
			_, result := verify(t, v.Message, s.Records)
			good := strings.EqualFold(string(result.Status), v.CV) || v.CV == "" && result.Status != dkim.Pass
			if why, known := differences[name]; good == known {
				t.Errorf("%s (%s): %s (%s), want %s; known difference: %t %s", name, v.Description,
					result.Status, result.Reason, v.CV, known, why)
			}
		}
	}
	if count != 175 {
		t.Errorf("%d vectors", count)
	}
}

// plainField writes a signature field as the vectors have it: its tags in alphabetical order on one line.
func plainField(t *testing.T, private crypto.Signer) func(string, []dkim.Tag, hash.Hash) (dkim.Field, error) {
	return func(name string, tags []dkim.Tag, before hash.Hash) (dkim.Field, error) {
		tags = append(slices.Clone(tags), dkim.Tag{Name: "b"})
		slices.SortFunc(tags, func(a, b dkim.Tag) int { return strings.Compare(a.Name, b.Name) })
		write := func(b string) string {
			var words []string
			for _, tag := range tags {
				if tag.Name == "b" {
					tag.Value = b
				}
				words = append(words, tag.Name+"="+tag.Value)
			}
			return strings.Join(words, "; ")
		}
		clone, err := before.(hash.Cloner).Clone()
		if err != nil {
			t.Fatal(err)
		}
		clone.Write([]byte(strings.ToLower(name) + ":" + write("")))
		value, err := private.Sign(rand.Reader, clone.Sum(nil), crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		return dkim.Field(name + ": " + write(base64.StdEncoding.EncodeToString(value)) + "\r\n"), nil
	}
}

// gathered is what the Authentication-Results fields of a server say, in one value, as the vectors want it.
func gathered(header dkim.Header, server string) string {
	var results []string
	for _, field := range header {
		id, rest, found := strings.Cut(string(field.Value()), ";")
		if field.Is("Authentication-Results") && found && strings.TrimSpace(id) == server {
			results = append(results, strings.TrimSpace(rest))
		}
	}
	return server + "; " + strings.Join(results, ";\r\n ")
}

// tagsOf reads a tag list without white space.
func tagsOf(list string) map[string]string {
	tags := map[string]string{}
	for tag := range strings.SplitSeq(strings.Join(strings.Fields(list), ""), ";") {
		name, value, _ := strings.Cut(tag, "=")
		tags[name] = value
	}
	delete(tags, "")
	return tags
}

func TestTheSigningVectorsAreMet(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	count := 0
	for _, s := range readVectors(t, "sign.json") {
		key, private := s.key(t)
		for name, v := range s.Tests {
			count++
			chain, result := verify(t, v.Message, s.Records)
			if v.AS == "" {
				if chain.Obstacle() == "" {
					t.Errorf("%s: would be sealed", name)
				}
				continue
			}
			header, body := split(v.Message)
			seconds, err := v.Time.Int64()
			if err != nil {
				t.Fatal(err)
			}
			set, err := chain.Seal(header, hashed(body),
				Sealing{Key: key, Results: gathered(header, v.ServerID), Intact: result.Status == dkim.Pass,
					Now: time.Unix(seconds, 0), names: strings.Split(v.SigHeaders, ":"),
					signField: plainField(t, private)})
			if err != nil {
				t.Fatal(err)
			}
			for n, want := range []string{v.AS, v.AMS} {
				got, want := tagsOf(string(set[n].Value())), tagsOf(want)
				for tag := range want {
					if got[tag] != want[tag] {
						t.Errorf("%s: %s: %s=%s, want %s", name, set[n].Name(), tag, got[tag], want[tag])
					}
				}
			}
			if got := strings.Join(strings.Fields(string(set[2].Value())),
				""); got != strings.Join(strings.Fields(v.AAR), "") {
				t.Errorf("%s: %s, want %s", name, got, v.AAR)
			}
		}
	}
	if count != 17 {
		t.Errorf("%d vectors", count)
	}
}
