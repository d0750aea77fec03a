package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postmend/dkim"
	"postmend/filter"
	"postmend/filter/authn/dnstest"
	"postmend/filter/message"
	"postmend/postfix"
	"postmend/postfix/wholefile"
	"postmend/reinject"
)

// The demonstration's world. Every name is made up, and known to its own DNS server alone.
const (
	demoHost  = "mx.forwarder.example"
	demoAlias = "info@forwarder.example"
	demoUser  = "you@receiver.example"
)

const demoMessage = `From: Alice <alice@bank.example>
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

func (inv *invocation) demoCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "demo [--verbose] [MESSAGE]",
		Short: "Show what a strict receiver sees without and with postmend: no Postfix, no configuration, no network",
		Long: `Plays all parts in one process: a sender whose domain publishes p=reject, a forwarder, a receiver that
checks SPF, DKIM and DMARC, and the DNS between them. The message goes to the receiver forwarded as it is, and through postmend's own
pipeline; once with the sender's signature and once without. MESSAGE is a file; the demonstration then plays its sender, with a signature and DNS
records made up for its From: domain.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("unexpected argument %q", args[1])}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			message := []byte(demoMessage)
			if len(args) == 1 {
				var err error
				if message, err = os.ReadFile(args[0]); err != nil {
					return usageError{err}
				}
			}
			return inv.demo(message, verbose)
		},
	}
	cmd.Flags().BoolVar(&verbose, "verbose", false, "also show the messages that leave")
	return cmd
}

func (inv *invocation) demo(text []byte, verbose bool) error {
	parsed, err := mail.ReadMessage(bytes.NewReader(text))
	if err != nil {
		return usageError{fmt.Errorf("this is not a message: %w", err)}
	}
	author, err := mail.ParseAddress(parsed.Header.Get("From"))
	if err != nil {
		return usageError{fmt.Errorf("the message's From: field has no single address: %w", err)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	world, err := newDemoWorld(author.Address)
	if err != nil {
		return err
	}
	defer world.close()
	fmt.Fprintf(inv.stdout, "%s sends a message to %s, which forwards it to %s.\n%s publishes DMARC with p=reject, and SPF for its own host alone.\n",
		postfix.Printable(world.author), demoAlias, demoUser, postfix.Printable(world.authorDomain))

	var signed bytes.Buffer
	if err := message.Sign(&signed, bytes.NewReader(text), []*dkim.Key{world.senderKey}); err != nil {
		return err
	}
	for _, scene := range []struct {
		title   string
		message []byte
	}{
		{"1. The sender signs with DKIM. The signature survives, so From: stays.", signed.Bytes()},
		{"2. The sender relies on SPF alone. Forwarding breaks that, so From: has to become ours.", text},
	} {
		without, err := world.forwardAsItIs(ctx, scene.message)
		if err != nil {
			return err
		}
		with, err := world.forwardMended(ctx, scene.message)
		if err != nil {
			return err
		}
		fmt.Fprintf(inv.stdout, "\n%s\n\n", scene.title)
		if err := inv.printScene(without, with); err != nil {
			return err
		}
		if !verbose {
			continue
		}
		fmt.Fprint(inv.stdout, "\n   The message that left:\n\n")
		if err := printIndented(inv.stdout, with.content); err != nil {
			return err
		}
	}
	if !verbose {
		fmt.Fprint(inv.stdout, "\nThe messages that left: postmend demo --verbose\n")
	}
	return nil
}

// demoWorld is DNS, the receiver, and the forwarder's configuration.
type demoWorld struct {
	author       string // the sender's address
	authorDomain string
	dir          string // of throw-away keys and secrets
	config       string // path of the forwarder's configuration
	dns          *dnstest.Server
	receiver     *strictReceiver
	senderKey    *dkim.Key
}

func newDemoWorld(author string) (world *demoWorld, err error) {
	w := &demoWorld{author: author, authorDomain: author[strings.LastIndexByte(author, '@')+1:]}
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
	if w.dns, err = dnstest.Start(zone); err != nil {
		return nil, err
	}
	if w.receiver, err = startStrictReceiver(w.dns.Resolver()); err != nil {
		return nil, err
	}
	w.config, err = w.writeConfig()
	return w, err
}

func (w *demoWorld) close() {
	if w.receiver != nil {
		w.receiver.close()
	}
	if w.dns != nil {
		w.dns.Close()
	}
	os.RemoveAll(w.dir)
}

func (w *demoWorld) makeKey(domain, selector string) (*dkim.Key, error) {
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
func (w *demoWorld) forwardAsItIs(ctx context.Context, message []byte) (*received, error) {
	target, err := reinject.New(reinject.Options{Target: "smtp://" + w.receiver.address, HELOName: demoHost})
	if err != nil {
		return nil, err
	}
	_, err = target.Send(ctx, reinject.Client{}, nil, []reinject.Transaction{{
		Sender:     w.author,
		Recipients: []reinject.Recipient{{Address: demoUser}},
		Content:    bytes.NewBuffer(message),
		EightBit:   true,
	}})
	return w.receiver.last(), err
}

// writeConfig writes a configuration like any other, and gives its path.
func (w *demoWorld) writeConfig() (string, error) {
	if err := wholefile.Create(filepath.Join(w.dir, "secrets"), []byte(rand.Text())); err != nil {
		return "", err
	}
	path := filepath.Join(w.dir, "postmend.toml")
	text := fmt.Sprintf("hostname = %q\nlocal_domains = [\"forwarder.example\"]\nresolver = %q\n"+
		"[srs]\ndomain = \"srs.forwarder.example\"\nsecrets_file = \"secrets\"\n"+
		"[[dkim.keys]]\ndomain = \"forwarder.example\"\nselector = \"forwarder\"\nfile = \"forwarder.pem\"\n"+
		"[reinject]\ntarget = \"smtp://%s\"\n", demoHost, w.dns.Addr(), w.receiver.address)
	return path, wholefile.Create(path, []byte(text))
}

// forwardMended runs the pipeline that Postfix would start.
func (w *demoWorld) forwardMended(ctx context.Context, message []byte) (*received, error) {
	config, err := filter.LoadConfig(w.config)
	if err != nil {
		return nil, err
	}
	f, err := filter.New(config, filter.Options{})
	if err != nil {
		return nil, err
	}
	_, err = f.Run(ctx, &filter.Envelope{
		Sender:        w.author,
		Recipients:    []filter.Recipient{{Address: demoUser, Original: demoAlias}},
		ClientAddress: "192.0.2.25",
		ClientName:    "mail." + w.authorDomain,
		HELO:          "mail." + w.authorDomain,
	}, bytes.NewReader(message))
	return w.receiver.last(), err
}

func (inv *invocation) printScene(without, with *received) error {
	table := tabwriter.NewWriter(inv.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "   A strict receiver sees\twithout postmend\twith postmend")
	row := func(name string, value func(*received) string) {
		fmt.Fprintf(table, "   %s\t%s\t%s\n", name, postfix.Printable(value(without)), postfix.Printable(value(with)))
	}
	row("envelope sender", func(r *received) string { return "<" + r.sender + ">" })
	row("From:", func(r *received) string { return r.from })
	row("SPF", func(r *received) string { return fmt.Sprintf("%s (%s)", r.spf, r.spfDomain) })
	for n := range max(len(without.dkim), len(with.dkim)) {
		row("DKIM", func(r *received) string {
			if n >= len(r.dkim) {
				return "-"
			}
			return r.dkim[len(r.dkim)-1-n]
		})
	}
	row("DMARC", func(r *received) string { return fmt.Sprintf("%s (%s)", r.dmarc, r.author) })
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
		if _, err := fmt.Fprintln(w, "    "+postfix.Printable(strings.ReplaceAll(string(bytes.TrimRight(line, "\r\n")), "\t", " "))); err != nil {
			return err
		}
	}
	return nil
}
