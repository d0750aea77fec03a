package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// now is when the rules' messages are verified: the judges know no other time.
var now = time.Now()

const (
	ruleHeader = "From: Joe <joe@example.org>\r\nTo: a@example.com\r\n" +
		"Subject: Hello \t world\r\n folded\r\nX-Other: 1\r\n"
	ruleBody = "Hi there,  \r\n\r\n how\tare you?\r\n\r\n\r\n"
)

// signedBy signs by the book, apart from the code under test: in the tags BODYHASH and SIGNATURE stand for
// what is computed.
type signedBy struct {
	keys map[string]crypto.Signer // by selector
}

func (b signedBy) sign(t testing.TB, tags, header, body string) string {
	t.Helper()
	value := func(name string) string {
		found := regexp.MustCompile(`(?:^|;)\s*` + name + `\s*=\s*([^;]*)`).FindStringSubmatch(tags)
		if found == nil {
			return ""
		}
		return regexp.MustCompile(`\s`).ReplaceAllString(found[1], "")
	}
	newHash, which := sha256.New, crypto.SHA256
	if value("a") == "rsa-sha1" {
		newHash, which = sha1.New, crypto.SHA1
	}
	headerForm, bodyForm, _ := strings.Cut(value("c"), "/")
	canonical := simpleByTheBook(body)
	if bodyForm == "relaxed" {
		canonical = relaxedByTheBook(body)
	}
	if l, err := strconv.Atoi(value("l")); err == nil && l >= 0 && l < len(canonical) {
		canonical = canonical[:l]
	}
	bodyHash := newHash()
	bodyHash.Write([]byte(canonical))
	field := "DKIM-Signature: " + strings.ReplaceAll(tags, "BODYHASH",
		base64.StdEncoding.EncodeToString(bodyHash.Sum(nil))) + "\r\n"

	all := regexp.MustCompile(`(?m)^[!-9;-~]+[ \t]*:.*\r\n([ \t].*\r\n)*`).FindAllString(header, -1)
	hash := newHash()
	for name := range strings.SplitSeq(value("h"), ":") {
		for i, f := range slices.Backward(all) {
			if n, _, _ := strings.Cut(f, ":"); strings.EqualFold(strings.TrimSpace(n), name) {
				hash.Write([]byte(fieldByTheBook(f, headerForm)))
				all = slices.Delete(slices.Clone(all), i, i+1)
				break
			}
		}
	}
	own := regexp.MustCompile(`\s*SIGNATURE\s*(;|$)`).ReplaceAllString(field, "$1")
	hash.Write([]byte(strings.TrimSuffix(fieldByTheBook(own, headerForm), "\r\n")))
	key := b.keys[value("s")]
	if key == nil {
		key = b.keys["rsa"]
	}
	if _, isEdwards := key.(ed25519.PrivateKey); isEdwards {
		which = 0
	}
	signature, err := key.Sign(rand.Reader, hash.Sum(nil), which)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(field, "SIGNATURE", base64.StdEncoding.EncodeToString(signature)) + header +
		"\r\n" + body
}

// simpleByTheBook is RFC 6376 section 3.4.3.
func simpleByTheBook(body string) string {
	for strings.HasSuffix(body, "\r\n") {
		body = strings.TrimSuffix(body, "\r\n")
	}
	return body + "\r\n"
}

// fieldByTheBook is RFC 6376 section 3.4.2, step by step, or 3.4.1.
func fieldByTheBook(field, form string) string {
	if form != "relaxed" {
		return field
	}
	name, value, _ := strings.Cut(field, ":")
	value = strings.ReplaceAll(value, "\r\n", "")
	value = regexp.MustCompile(`[ \t]+`).ReplaceAllString(value, " ")
	return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.TrimSpace(value) + "\r\n"
}

// with gives the tags of an ordinary signature with some replaced or added; "-x" removes one.
func with(changes ...string) string {
	tags := []string{"v=1", "a=rsa-sha256", "c=relaxed/relaxed", "d=example.org", "s=rsa",
		"h=from:to:subject", "bh=BODYHASH", "b=SIGNATURE"}
	for _, change := range changes {
		name, _, _ := strings.Cut(strings.TrimPrefix(change, "-"), "=")
		at := slices.IndexFunc(tags, func(tag string) bool { return strings.HasPrefix(tag, name+"=") })
		switch {
		case strings.HasPrefix(change, "-"):
			tags = slices.Delete(tags, at, at+1)
		case at >= 0:
			tags[at] = change
		default:
			tags = slices.Insert(tags, len(tags)-2, change)
		}
	}
	return strings.Join(tags, "; ")
}

// ruleKeys gives the keys and the zone of the rules: a selector says what is special about its record.
func ruleKeys(t testing.TB) (signedBy, zone) {
	t.Helper()
	long, edwards := newKey(t, "rsa2048", "rsa"), newKey(t, "ed25519", "ed")
	t.Setenv("GODEBUG", "rsa1024min=0")
	rsa1024, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	rsa1016, err := rsa.GenerateKey(rand.Reader, 1016)
	if err != nil {
		t.Fatal(err)
	}
	record, _ := long.Record()
	edwardsRecord, _ := edwards.Record()
	short := func(key *rsa.PrivateKey) string {
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		return "v=DKIM1; p=" + base64.StdEncoding.EncodeToString(der)
	}
	public := record[strings.Index(record, "p="):]
	whole, err := x509.MarshalPKIXPublicKey(long.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	tail := base64.StdEncoding.EncodeToString(append(whole, 0, 0, 0))
	pkcs1 := base64.StdEncoding.EncodeToString(
		x509.MarshalPKCS1PublicKey(long.private.Public().(*rsa.PublicKey)))
	z := zone{}
	for selector, text := range map[string]string{
		"rsa": record, "ed": edwardsRecord, "rsa1024": short(rsa1024), "rsa1016": short(rsa1016),
		"large": short(&rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8190, 1), E: 65537}}),
		"huge": short(&rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8200, 1), E: 65537}}),
		"pkcs1": "v=DKIM1; p=" + pkcs1, "tail": "v=DKIM1; p=" + tail,
		"bare": public, "trailing": record + " ; ",
		"blanks": "v = DKIM1 ; k = rsa ; n=any notes = here; p = " + public[2:100] + " \t" + public[100:],
		"extra":  "v=DKIM1; x_y=unknown; " + public,
		"both":   "v=DKIM1; h=sha1 : sha256; s=other:email; " + public, "star": "v=DKIM1; s=*; " + public,
		"sha1only": "v=DKIM1; h=sha1; " + public, "tlsrpt": "v=DKIM1; s=tlsrpt; " + public,
		"nohash": "v=DKIM1; h=; " + public, "noservice": "v=DKIM1; s=; " + public,
		"strict": "v=DKIM1; t=s; " + public, "testing": "v=DKIM1; t=y; " + public,
		"flags":   "v=DKIM1; t=z : y : s; " + public,
		"revoked": "v=DKIM1; p=", "nokey": "v=DKIM1; k=rsa", "notfirst": "k=rsa; v=DKIM1; " + public,
		"v2": "v=DKIM2; " + public, "ecdsa": "v=DKIM1; k=ecdsa; " + public,
		"nobase64": "v=DKIM1; p=!!!", "noder": "v=DKIM1; p=AAAA", "notags": "hello",
		"twice": "v=DKIM1; " + public + "; " + public, "other": short(rsa1024),
		"ed44": "v=DKIM1; k=ed25519; p=MCowBQYDK2VwAyEAaaaa", "broken": "SERVFAIL",
	} {
		z[selector+"._domainkey.example.org"] = text
	}
	return signedBy{map[string]crypto.Signer{
		"rsa": long.private, "ed": edwards.private, "rsa1024": rsa1024, "rsa1016": rsa1016,
	}}, z
}

// message makes the rule's message.
func (r rule) message(t testing.TB, by signedBy) string {
	t.Helper()
	tags, header, body := r.tags, r.header, r.body
	if tags == "" {
		tags = with()
	}
	if header == "" {
		header = ruleHeader
	}
	if body == "" {
		body = ruleBody
	}
	message := by.sign(t, tags, header, body)
	if r.from == "" {
		return message
	}
	if !strings.Contains(message, r.from) {
		t.Fatalf("%s: %q is not in the message", r.why, r.from)
	}
	return strings.Replace(message, r.from, r.to, 1)
}

func TestTheRulesOfRFC6376(t *testing.T) {
	by, records := ruleKeys(t)
	for _, r := range rules {
		message := r.message(t, by)
		got := verifyMessage(t, message,
			VerifyOptions{Resolver: records, Now: func() time.Time { return now }})
		if statuses(got) != r.want {
			t.Errorf("%s: %s, want %s\n%s", r.why, statuses(got), r.want, message[:min(len(message), 1000)])
		}
	}
}
