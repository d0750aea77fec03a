package tests

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	msgauth "github.com/emersion/go-msgauth/dkim"

	"postmend/tests/receiver"
)

// Where clients come from. The forwarder's own address is what its SPF records name.
const (
	ourAddress = "198.51.100.7"
	ourHELO    = "mx.example.org"
	provider   = "203.0.113.10"   // esp.example, which signs and sends for anyone
	attacker   = "203.0.113.66"   // attacker.example, with SPF and DKIM of its own in good order
	away       = "203.0.113.99"   // named by nobody
	noRecord   = "silent.example" // without a DMARC record
)

// origin is a domain that sends mail, and what it asks receivers to do with mail that is not its own.
type origin struct {
	domain, dmarc string
	policy        string // that applies to the domain itself
	address       string // of its mail server
}

// world is a forwarder, its surroundings, and the zone in which all of them are published.
type world struct {
	*forwarder
	name      string
	always    bool // From: is rewritten whatever the policy
	door      bool // a milter judges what comes in, and postmend is the transport
	srsDomain string
	policy    string // of the forwarder's own domains
	zone      strings.Builder
	keys      map[string]crypto.Signer // by the name of their record
	letters   []*letter
	body      string // of all letters; "" is one of several
}

// letter is one message on its way in.
type letter struct {
	name    string
	domain  string // that From: claims, or that a forger wants it to
	policy  string // of that domain
	forged  bool
	from    string // envelope
	to      []string
	address string // of the client
	helo    string
	login   string // of a user of ours; "" is none
	content []byte
	arrived receiver.Evaluation
}

// TestDMARCPassesAtAStrictReceiverForAllWhoPassedAndForNobodyElse: what arrived and what was sent on is
// judged by dkimpy and pyspf.
func TestDMARCPassesAtAStrictReceiverForAllWhoPassedAndForNobodyElse(t *testing.T) {
	t.Parallel()
	for _, w := range []*world{
		{name: "own domains reject", srsDomain: srsDomain, policy: "reject"},
		{name: "own domains do not mind", srsDomain: srsDomain, policy: "none"},
		{name: "SRS domain elsewhere, From: always rewritten", srsDomain: "srs.fwd.example", policy: "none",
			always: true},
		{name: "behind the milter, as transport", srsDomain: srsDomain, policy: "reject", door: true},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.forwarder = startChanged(t, func(f *forwarder, main, master *string) {
				// smtp(8) folds by default
				*main = strings.Replace(*main, "smtp_line_length_limit = 0", "", 1)
				if w.door {
					withDoor(f, main, master)
					withTransport(f, main, master)
				}
			})
			w.configure(`domain = "`+srsDomain+`"`, `domain = "`+w.srsDomain+`"`)
			if w.always {
				w.configure("[reinject]", "[dmarc]\nmunge_from = \"always\"\n[reinject]")
			}
			w.write()
			w.deliver()
		})
	}
}

// configure replaces a line of postmend's configuration.
func (f *forwarder) configure(old, new string) {
	f.t.Helper()
	text, err := os.ReadFile(f.config)
	f.check(err)
	if !bytes.Contains(text, []byte(old)) {
		f.t.Fatalf("the configuration has no %q", old)
	}
	f.check(os.WriteFile(f.config, bytes.ReplaceAll(text, []byte(old), []byte(new)), 0o644))
}

// publish adds records to the zone.
func (w *world) publish(format string, args ...any) {
	text := fmt.Sprintf(format, args...) + "\n"
	w.zone.WriteString(text)
	w.check(w.dns.Add(text))
}

// key publishes the public half.
func (w *world) key(domain, selector string, private crypto.Signer) {
	w.t.Helper()
	name := selector + "._domainkey." + domain
	w.keys[name] = private
	if public, isEd := private.Public().(ed25519.PublicKey); isEd {
		w.publish("%s TXT v=DKIM1; k=ed25519; p=%s", name, base64.StdEncoding.EncodeToString(public))
		return
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	w.check(err)
	w.publish("%s TXT v=DKIM1; k=rsa; p=%s", name, base64.StdEncoding.EncodeToString(der))
}

// rsaKeys are by domain, and the same in all worlds, since it takes long to make one.
var rsaKeys sync.Map

func (w *world) newKeys(domain string) {
	w.t.Helper()
	makeKey := sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	first, _ := rsaKeys.LoadOrStore(domain, makeKey)
	private, err := first.(func() (*rsa.PrivateKey, error))()
	w.check(err)
	w.key(domain, "rsa", private)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	w.check(err)
	w.key(domain, "ed", ed)
}

// ownKeys are those that postmend signs with.
func (w *world) ownKeys() {
	w.t.Helper()
	for _, selector := range []string{"rsa", "ed"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(w.config), selector+".pem"))
		w.check(err)
		block, _ := pem.Decode(text)
		private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		w.check(err)
		w.key("example.org", selector, private.(crypto.Signer))
	}
}

// write publishes everybody's records, and writes everybody's mail.
func (w *world) write() {
	w.t.Helper()
	w.keys = map[string]crypto.Signer{}
	own := origin{"example.org", "p=" + w.policy, w.policy, "203.0.113.210"}
	origins := []origin{
		{"reject.example", "p=reject", "reject", "203.0.113.201"},
		{"quarantine.example", "p=quarantine", "quarantine", "203.0.113.202"},
		{"none.example", "p=none", "none", "203.0.113.203"},
		{"sp.example", "p=none; sp=reject", "none", "203.0.113.204"},
		{"lenient-sp.example", "p=reject; sp=none", "reject", "203.0.113.205"},
		{"strict-dkim.example", "p=reject; adkim=s", "reject", "203.0.113.206"},
		{"strict-spf.example", "p=reject; aspf=s", "reject", "203.0.113.207"},
		{"strict.example", "p=quarantine; adkim=s; aspf=s", "quarantine", "203.0.113.208"},
		{noRecord, "", "", "203.0.113.209"},
		own,
	}
	for _, o := range origins {
		if o.dmarc != "" {
			w.publish("_dmarc.%s TXT v=DMARC1; %s", o.domain, o.dmarc)
		}
		also := ""
		if o == own {
			also = "ip4:" + ourAddress + " "
			w.ownKeys()
		} else {
			w.newKeys(o.domain)
		}
		w.newKeys("news." + o.domain)
		for _, host := range []string{"", "news.", "mail."} {
			w.publish("%s%s TXT v=spf1 %sip4:%s -all", host, o.domain, also, o.address)
		}
	}
	for domain, address := range map[string]string{"esp.example": provider, "attacker.example": attacker} {
		w.newKeys(domain)
		w.publish("%s TXT v=spf1 ip4:%s -all\nmail.%[1]s TXT v=spf1 ip4:%[2]s -all", domain, address)
	}
	w.publish("%s A %s\n%[1]s TXT v=spf1 a -all\n%[3]s TXT v=spf1 ip4:%[2]s -all", ourHELO,
		ourAddress, w.srsDomain)
	w.publish("_dmarc.lax.example.org TXT v=DMARC1; p=none")
	victims := []origin{origins[0], origins[2], origins[7], origins[8], own,
		{domain: "lax.example.org", policy: "none"},
		{domain: "sub.example.org", policy: w.policy}, {domain: ourHELO, policy: w.policy},
		{domain: w.srsDomain, policy: w.policy}}
	if w.srsDomain != srsDomain {
		w.publish("_dmarc.fwd.example TXT v=DMARC1; p=%s", w.policy)
		victims = append(victims, origin{domain: "fwd.example", policy: w.policy})
	}

	for _, o := range origins {
		for _, way := range genuine {
			w.add(way, o, false)
		}
	}
	for _, o := range victims {
		for _, way := range append(forgeries,
			way{"sender in our SRS domain", "boss@D", "x@" + w.srsDomain, away, "", nil},
			way{"SRS sender of ours", "boss@D",
				strings.Replace(srsAddress("x@none.example", time.Now()), srsDomain, w.srsDomain, 1),
				away, "", nil}) {
			w.add(way, o, true)
		}
	}
}

// way is how a message of a domain D is sent. Steps are signatures ("d= selector form") and changes, in
// their order. An address of "" is the domain's own server, a HELO of "" is mail.D.
type way struct {
	name, author, sender, address, helo string
	steps                               []string
}

var genuine = []way{
	{"signed, relaxed", "Alice <alice@D>", "alice@D", "", "", []string{"D rsa relaxed"}},
	{"signed, simple", "alice@D", "alice@D", "", "", []string{"D rsa simple"}},
	{"signed, by way of another forwarder", "alice@D", "alice@D", away, "", []string{"D rsa relaxed"}},
	{"signed, sent by a provider", "alice@D", "bounces@esp.example", provider, "", []string{"D rsa simple"}},
	{"signed by RSA and ed25519", "alice@D", "alice@D", "", "", []string{"D ed relaxed", "D rsa relaxed"}},
	{"ed25519 only", "alice@D", "alice@D", "", "", []string{"D ed relaxed"}},
	{"ed25519 only, SPF broken", "alice@D", "alice@D", away, "", []string{"D ed simple"}},
	{"a broken and a good signature", "alice@D", "alice@D", away, "",
		[]string{"D rsa relaxed", "footer", "D rsa simple"}},
	{"a good signature below a broken one", "alice@D", "alice@D", away, "",
		[]string{"D rsa relaxed", "stolen D"}},
	{"SPF only", "\"Smith, A. (sales)\" <alice@D>", "alice@D", "", "", nil},
	{"SPF only, encoded name", "=?utf-8?q?J=C3=BCrgen?=\r\n <alice@D>", "alice@D", "", "", nil},
	{"SPF only, null sender", "mailer-daemon@D", "", "", "", nil},
	{"broken signature, SPF", "alice@D", "alice@D", "", "", []string{"D rsa relaxed", "footer"}},
	{"signed by a provider, SPF", "alice@D", "alice@D", "", "", []string{"esp.example rsa relaxed"}},
	{"signed by both, provider above", "alice@D", "bounces@esp.example", provider, "",
		[]string{"D rsa relaxed", "esp.example rsa relaxed"}},
	{"signed by a provider only", "alice@D", "bounces@esp.example", provider, "",
		[]string{"esp.example rsa relaxed"}},
	{"subdomain, signed by parent", "alice@news.D", "bounces@esp.example", provider, "",
		[]string{"D rsa relaxed"}},
	{"subdomain, signed by itself", "alice@news.D", "alice@news.D", away, "", []string{"news.D rsa relaxed"}},
	{"subdomain, SPF of parent", "alice@news.D", "bounces@D", "", "", nil},
	{"parent, SPF of subdomain", "alice@D", "bounces@news.D", "", "", nil},
	{"parent, signed by subdomain", "alice@D", "bounces@esp.example", provider, "",
		[]string{"news.D rsa simple"}},
	{"signature that forbids further fields", "alice@D", "alice@D", away, "", []string{"D rsa oversigned"}},
}

var forgeries = []way{
	{"nothing at all", "boss@D", "x@nowhere.example", away, "", nil},
	{"sender of the same domain", "boss@D", "boss@D", away, "", nil},
	{"SPF of another domain", "boss@D", "x@attacker.example", attacker, "", nil},
	{"signature of another domain", "boss@D", "x@attacker.example", attacker, "",
		[]string{"attacker.example rsa relaxed"}},
	{"signature of another key", "boss@D", "x@attacker.example", attacker, "", []string{"stolen D"}},
	{"broken signature", "boss@D", "x@attacker.example", attacker, "", []string{"rsa-of D", "footer"}},
	{"null sender", "boss@D", "", attacker, "mail.attacker.example", nil},
	{"null sender, our name", "boss@D", "", attacker, ourHELO, []string{"attacker.example rsa relaxed"}},
	{"sender in the forwarder's domain", "boss@D", "box@example.org", attacker, "", nil},
	{"sender below the forwarder's domain", "boss@D", "x@lax.example.org", attacker, "", nil},
	{"sender is the forwarder's name", "boss@D", "x@" + ourHELO, attacker, ourHELO, nil},
	{"odd writing", "\"x@attacker.example\"\r\n <BOSS@UPPER> (of D)", "box@example.org", attacker, "", nil},
	{"a comment before the domain", "boss@(attacker.example)D", "x@attacker.example", attacker, "",
		[]string{"attacker.example rsa relaxed"}},
	{"blanks around the dots", "boss@ DOTS", "x@attacker.example", attacker, "",
		[]string{"attacker.example rsa relaxed"}},
	{"two authors", "boss@D, x@attacker.example", "x@attacker.example", attacker, "",
		[]string{"attacker.example rsa relaxed"}},
	{"two From: fields", "boss@D\r\nFrom: x@attacker.example", "", attacker, ourHELO,
		[]string{"attacker.example rsa relaxed"}},
}

// add writes a letter.
func (w *world) add(way way, o origin, forged bool) {
	w.t.Helper()
	n := len(w.letters)
	fill := strings.NewReplacer("UPPER", strings.ToUpper(o.domain), "DOTS",
		strings.ReplaceAll(o.domain, ".", " . "), ")D", ")"+o.domain, "@D", "@"+o.domain, "news.D",
		"news."+o.domain, "of D", "of "+o.domain).Replace
	l := &letter{name: o.domain + ": " + way.name, domain: o.domain, policy: o.policy, forged: forged,
		from: fill(way.sender), to: []string{"alias@example.org"}, address: way.address, helo: way.helo}
	switch {
	case n%7 == 0:
		l.to = append(l.to, "other@example.org")
	case n%3 == 0:
		l.to[0] = "other@example.org"
	}
	if l.address == "" {
		l.address = o.address
	}
	if l.helo == "" {
		l.helo = "mail." + o.domain
	}
	bodies := []string{"Hello.\r\n", "", "Gr\xc3\xbc\xc3\x9fe  \t\r\n\r\n \r\n.\r\nFrom here\r\n\r\n\r\n",
		strings.Repeat("0123456789abcdef", 50) + "\r\n",
		"long\r\n" + strings.Repeat("0123456789abcde ", 200) + "\r\n"}
	if w.body != "" {
		bodies = []string{w.body}
	}
	l.content = fmt.Appendf(nil, "From: %s\r\nTo:  alias@example.org\r\nSubject: number %d,\r\n\tfolded \r\n"+
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <%d@%s>\r\nX-Token: %d\r\n\r\n%s",
		fill(way.author), n, n, o.domain, n, bodies[n%len(bodies)])
	for _, step := range way.steps {
		l.content = w.step(strings.ReplaceAll(step, "D", o.domain), l.content)
	}
	w.letters = append(w.letters, l)
}

// step signs a message or changes it.
func (w *world) step(step string, content []byte) []byte {
	w.t.Helper()
	if step == "footer" {
		return append(content, "-- \r\nA footer.\r\n"...)
	}
	words := strings.Fields(step)
	if words[0] == "rsa-of" { // the domain's own key, or one that is published nowhere
		words = []string{words[1], "rsa", "relaxed"}
	}
	signer := w.keys["rsa._domainkey.attacker.example"]
	if words[0] == "stolen" {
		words = []string{words[1], "rsa", "relaxed"}
	} else if own := w.keys[words[1]+"._domainkey."+words[0]]; own != nil {
		signer = own
	}
	options := msgauth.SignOptions{Domain: words[0], Selector: words[1], Signer: signer,
		HeaderKeys: []string{"From", "To", "Subject", "Date", "Message-ID"}}
	switch words[2] {
	case "oversigned":
		options.HeaderKeys = append(options.HeaderKeys, "From", "Reply-To", "Authentication-Results",
			"X-Forwarded-To")
		fallthrough
	case "relaxed":
		options.HeaderCanonicalization, options.BodyCanonicalization = "relaxed", "relaxed"
	}
	var signed bytes.Buffer
	w.check(msgauth.Sign(&signed, bytes.NewReader(content), &options))
	return signed.Bytes()
}

// submit hands the letter to the smtpd at address, as its client, and gives the queue id. The EHLO after
// XCLIENT is what counts. It comes from an address that is not Postfix's own: the fields of what does are
// rewritten as those of a local program's mail, whatever XCLIENT says.
func (l *letter) submit(address string) (id string, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	c := textproto.NewConn(conn)
	defer c.Close()
	command := func(code int, line string) (reply string) {
		if err == nil && line != "" {
			_, err = c.Cmd("%s", line)
		}
		if err == nil {
			_, reply, err = c.ReadResponse(code)
		}
		return reply
	}
	command(220, "")
	command(250, "EHLO "+l.helo)
	login := ""
	if l.login != "" {
		login = " LOGIN=" + l.login
	}
	command(220, "XCLIENT NAME=client.example ADDR="+l.address+login)
	command(250, "EHLO "+l.helo)
	command(250, "MAIL FROM:<"+l.from+"> BODY=8BITMIME")
	for _, to := range l.to {
		command(250, "RCPT TO:<"+to+">")
	}
	command(354, "DATA")
	if err != nil {
		return "", fmt.Errorf("submitting %s: %w", l.name, err)
	}
	message := c.DotWriter()
	message.Write(l.content)
	err = message.Close()
	_, id, _ = strings.Cut(command(250, ""), "queued as ")
	return id, err
}
