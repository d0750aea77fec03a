// Package demo plays all parts of forwarding in one process, to show what a strict receiver sees without
// and with postmend: the sender, the forwarder, the receiver, and the DNS between them. It needs no Postfix
// and no network.
package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"postmend/dkim"
	"postmend/filter"
	"postmend/filter/authn/dnsserver"
	"postmend/filter/config"
	"postmend/filter/message"
	"postmend/filter/plan"
	"postmend/postfix"
	"postmend/postfix/wholefile"
	"postmend/reinject"
)

// The demonstration's world. Every name is made up, and known to its own DNS server alone.
const (
	forwarder = "mx.forwarder.example"
	alias     = "info@forwarder.example"
	recipient = "you@receiver.example"
)

// Message is what is sent if there is no other.
const Message = `From: Alice <alice@bank.example>
To: info@forwarder.example
Subject: Your statement
Date: Mon, 2 Nov 2026 10:00:00 +0000
Message-ID: <demo@bank.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Hello,

your statement is ready.

Alice
`

// ErrNoAuthor says that a message cannot be sent as its author: it is no message, or From: has no single
// address.
var ErrNoAuthor = errors.New("this is not a message with one author")

// Run sends a message twice, signed by its author and not, and writes to out what the receiver sees;
// verbose also shows what leaves. Its sender is the message's author, with keys and DNS records made up for
// it.
func Run(out io.Writer, text []byte, verbose bool) error {
	parsed, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoAuthor, err)
	}
	author, err := mail.ParseAddress(parsed.Header.Get("From"))
	if err != nil {
		return fmt.Errorf("%w: From: %w", ErrNoAuthor, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w, err := newWorld(author.Address)
	if err != nil {
		return err
	}
	defer w.close()
	fmt.Fprintf(out, "%s sends a message to %s, which forwards it to %s.\n"+
		"%s publishes DMARC with p=reject, and SPF for its own host alone.\n",
		postfix.Printable(w.author), alias, recipient, postfix.Printable(w.authorDomain))

	var signed bytes.Buffer
	if err := message.Sign(&signed, bytes.NewReader(text), []*dkim.Key{w.senderKey}); err != nil {
		return err
	}
	for _, scene := range []struct {
		title   string
		message []byte
	}{
		{"1. The sender signs with DKIM. The signature survives, so From: stays.", signed.Bytes()},
		{"2. The sender relies on SPF alone. Forwarding breaks that, so From: is rewritten.", text},
	} {
		without, err := w.forwardAsItIs(ctx, scene.message)
		if err != nil {
			return err
		}
		with, err := w.forwardMended(ctx, scene.message)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "\n%s\n\n", scene.title)
		if err := printScene(out, without, with); err != nil {
			return err
		}
		if !verbose {
			continue
		}
		fmt.Fprint(out, "\n   The message that left:\n\n")
		if err := printIndented(out, with.content); err != nil {
			return err
		}
	}
	if !verbose {
		fmt.Fprint(out, "\nThe messages that left: postmend demo --verbose\n")
	}
	return nil
}

// world is DNS, the receiver, and the forwarder's configuration.
type world struct {
	author       string // the sender's address
	authorDomain string
	dir          string // of throw-away keys and secrets
	config       string // path of the forwarder's configuration
	dns          *dnsserver.Server
	receiver     *strictReceiver
	senderKey    *dkim.Key
}

func newWorld(author string) (made *world, err error) {
	w := &world{author: author, authorDomain: author[strings.LastIndexByte(author, '@')+1:]}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "postmend-demo-"); err != nil {
		return nil, err
	}
	if w.senderKey, err = w.makeKey(w.authorDomain, "sender"); err != nil {
		return nil, err
	}
	forwarderKey, err := w.makeKey("forwarder.example", "forwarder")
	if err != nil {
		return nil, err
	}
	// The sender names its own host alone; forwarded mail comes from the forwarder, which is this process.
	zone := w.authorDomain + " TXT v=spf1 ip4:192.0.2.25 -all\n" +
		"_dmarc." + w.authorDomain + " TXT v=DMARC1; p=reject\n" +
		"srs.forwarder.example TXT v=spf1 ip4:127.0.0.1 -all\n" +
		"_dmarc.forwarder.example TXT v=DMARC1; p=reject\n"
	for _, key := range []*dkim.Key{w.senderKey, forwarderKey} {
		record, err := key.Record()
		if err != nil {
			return nil, err
		}
		zone += key.RecordName() + " TXT " + record + "\n"
	}
	if w.dns, err = dnsserver.Start(zone); err != nil {
		return nil, err
	}
	if w.receiver, err = startStrictReceiver(w.dns.Addr()); err != nil {
		return nil, err
	}
	w.config, err = w.writeConfig()
	return w, err
}

func (w *world) close() {
	if w.receiver != nil {
		w.receiver.close()
	}
	if w.dns != nil {
		w.dns.Close()
	}
	os.RemoveAll(w.dir)
}

func (w *world) makeKey(domain, selector string) (*dkim.Key, error) {
	pem, err := dkim.GenerateKey("rsa2048")
	if err != nil {
		return nil, err
	}
	path := filepath.Join(w.dir, selector+".pem")
	if err := wholefile.Create(path, pem); err != nil {
		return nil, err
	}
	return dkim.LoadKey(domain, selector, path)
}

// forwardAsItIs does what an alias does without postmend.
func (w *world) forwardAsItIs(ctx context.Context, message []byte) (*received, error) {
	target, err := reinject.New(reinject.Options{Target: "smtp://" + w.receiver.address, HELOName: forwarder})
	if err != nil {
		return nil, err
	}
	_, err = target.Send(ctx, reinject.Client{}, nil, []reinject.Transaction{{
		Sender:     w.author,
		Recipients: []reinject.Recipient{{Address: recipient}},
		Content:    bytes.NewBuffer(message),
		EightBit:   true,
	}})
	return w.receiver.last(), err
}

// writeConfig writes a configuration like any other, and gives its path.
func (w *world) writeConfig() (string, error) {
	if err := wholefile.Create(filepath.Join(w.dir, "secrets"), []byte(rand.Text())); err != nil {
		return "", err
	}
	path := filepath.Join(w.dir, "postmend.toml")
	text := fmt.Sprintf("hostname = %q\nlocal_domains = [\"forwarder.example\"]\nresolver = %q\n"+
		"[srs]\ndomain = \"srs.forwarder.example\"\nsecrets_file = \"secrets\"\n"+
		"[[dkim.keys]]\ndomain = \"forwarder.example\"\nselector = \"forwarder\"\nfile = \"forwarder.pem\"\n"+
		"[reinject]\ntarget = \"smtp://%s\"\n", forwarder, w.dns.Addr(), w.receiver.address)
	return path, wholefile.Create(path, []byte(text))
}

// forwardMended runs the pipeline that Postfix would start.
func (w *world) forwardMended(ctx context.Context, message []byte) (*received, error) {
	settings, err := config.Load(w.config)
	if err != nil {
		return nil, err
	}
	f, err := filter.New(settings, filter.Options{})
	if err != nil {
		return nil, err
	}
	_, err = f.Run(ctx, &plan.Envelope{
		Sender:        w.author,
		Recipients:    []plan.Recipient{{Address: recipient, Original: alias}},
		ClientAddress: "192.0.2.25",
		ClientName:    "mail." + w.authorDomain,
		HELO:          "mail." + w.authorDomain,
	}, bytes.NewReader(message))
	return w.receiver.last(), err
}

func printScene(out io.Writer, without, with *received) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "   A strict receiver sees\twithout postmend\twith postmend")
	row := func(name string, value func(*received) string) {
		fmt.Fprintf(table, "   %s\t%s\t%s\n", name, postfix.Printable(value(without)),
			postfix.Printable(value(with)))
	}
	row("envelope sender", func(r *received) string { return "<" + r.sender + ">" })
	row("From:", func(r *received) string { return r.from })
	row("SPF", func(r *received) string { return fmt.Sprintf("%s (%s)", r.SPF.Status, r.SPF.Domain) })
	for n := range max(len(without.DKIM), len(with.DKIM)) {
		row("DKIM", func(r *received) string {
			if n >= len(r.DKIM) {
				return "-"
			}
			signature := r.DKIM[len(r.DKIM)-1-n]
			return fmt.Sprintf("%s (%s)", signature.Status, signature.Domain)
		})
	}
	row("DMARC", func(r *received) string { return fmt.Sprintf("%s (%s)", r.DMARC.Status, r.DMARC.Domain) })
	row("its answer", func(r *received) string { return r.answer })
	return table.Flush()
}

// printIndented shows a message's header and the beginning of its body.
func printIndented(w io.Writer, message []byte) error {
	const maxLines = 80
	n := 0
	for line := range bytes.Lines(message) {
		if n++; n > maxLines {
			_, err := fmt.Fprintln(w, "    ...")
			return err
		}
		text := strings.ReplaceAll(string(bytes.TrimRight(line, "\r\n")), "\t", " ")
		if _, err := fmt.Fprintln(w, "    "+postfix.Printable(text)); err != nil {
			return err
		}
	}
	return nil
}
