// Package fromreaders asks programs that nobody here wrote whom they take for a message's author, and makes
// From: fields that they could read differently.
package fromreaders

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"postmend/tests/peer"
)

// Reading is the addresses that one reader takes for the author's.
type Reading struct {
	Reader    string
	Addresses []string
}

// program is a process that reads messages from its standard input, and the readers in it, in the order of
// their answers.
type program struct {
	argv    []string
	readers []string
}

// Script is the path of a script in this folder, which has the modules that it needs beside it.
func Script(t testing.TB, name string) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Dir(here)
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "mailauth")); err != nil {
		peer.Missing(t, "mailauth is not installed (make peers)")
	}
	return filepath.Join(dir, name)
}

func programs(t testing.TB) []program {
	t.Helper()
	script := func(name string) string { return Script(t, name) }
	return []program{
		{[]string{peer.NeedAnywhere(t, "node"), script("reader.js")},
			[]string{"mailauth", "nodemailer 8", "nodemailer 6"}},
		{[]string{peer.Need(t, "python3"), script("reader.py")},
			[]string{"Python email compat32", "Python email", "authheaders"}},
		{[]string{peer.Need(t, "perl"), script("reader.pl")},
			[]string{"Email::Address::XS", "Mail::Address"}},
		{[]string{peer.Need(t, "rspamadm"), "lua", "-b", script("reader.lua")}, []string{"rspamd"}},
	}
}

// Read gives, for each message, what all readers make of it. Messages have LF line ends; the readers see them
// with CRLF, as SMTP carries them.
func Read(t testing.TB, messages [][]byte) [][]Reading {
	t.Helper()
	var input bytes.Buffer
	for _, message := range messages {
		input.WriteString(base64.StdEncoding.EncodeToString(wire(message)) + "\n")
	}
	readings := make([][]Reading, len(messages))
	for n, message := range messages {
		readings[n] = []Reading{goMail(wire(message))}
	}
	for _, p := range programs(t) {
		cmd := exec.Command(p.argv[0], p.argv[1:]...)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(input.Bytes()), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", p.argv, err)
		}
		lines := bufio.NewScanner(bytes.NewReader(out))
		lines.Buffer(nil, 1<<20)
		for n := range messages {
			for _, reader := range p.readers {
				if !lines.Scan() {
					t.Fatalf("%s: no answer on message %d, %q", p.argv, n, messages[n])
				}
				readings[n] = append(readings[n], Reading{reader, decoded(t, lines.Text())})
			}
		}
		if lines.Scan() {
			t.Fatalf("%s: more answers than messages", p.argv)
		}
	}
	return readings
}

func wire(message []byte) []byte { return bytes.ReplaceAll(message, []byte("\n"), []byte("\r\n")) }

func decoded(t testing.TB, line string) (addresses []string) {
	t.Helper()
	for _, word := range strings.Fields(line) {
		address, err := base64.StdEncoding.DecodeString(word)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		addresses = append(addresses, string(address))
	}
	return addresses
}

// goMail is Go's net/mail.
func goMail(message []byte) Reading {
	r := Reading{Reader: "net/mail"}
	m, err := mail.ReadMessage(bytes.NewReader(message))
	if err != nil {
		return r
	}
	for _, value := range m.Header["From"] {
		list, _ := mail.ParseAddressList(value)
		for _, address := range list {
			r.Addresses = append(r.Addresses, address.Address)
		}
	}
	return r
}

// Domains are those of the addresses for which DMARC could be evaluated, as DNS would be asked for them.
// Verifiers take what follows the first @ (mailauth) or the last. No DMARC record can exist for what is no
// domain name, and nobody who registers a name gets one without a dot: such readings are left out.
func (r Reading) Domains() (domains []string) {
	for _, address := range r.Addresses {
		_, first, ok := strings.Cut(address, "@")
		if !ok {
			continue
		}
		for _, domain := range []string{first, address[strings.LastIndexByte(address, '@')+1:]} {
			domain = strings.Trim(domain, " \t")
			if !utf8.ValidString(domain) {
				continue
			}
			if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
				domain = ascii
			}
			domain = strings.ToLower(strings.TrimSuffix(domain, "."))
			if isName(domain) {
				domains = append(domains, domain)
			}
		}
	}
	return domains
}

// Misread tells whether authheaders has cut a domain name: it ends domains at the first character that is no
// ASCII letter, digit or dot, a hyphen and the letters of other scripts included, and so takes valid names
// for others.
func (r Reading) Misread(domain string, ours []string) bool {
	return r.Reader == "authheaders" && slices.ContainsFunc(ours, func(whole string) bool {
		name, err := idna.ToUnicode(whole)
		rest, ok := strings.CutPrefix(name, domain)
		next, _ := utf8.DecodeRuneInString(rest)
		return err == nil && ok && (next == '-' || next == '_' || next >= 0x80 && unicode.IsLetter(next))
	})
}

func isName(domain string) bool {
	labels := strings.Split(domain, ".")
	for _, label := range labels {
		if label == "" || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return len(labels) > 1
}
