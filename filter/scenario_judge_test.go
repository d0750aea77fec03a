package filter

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"blitiri.com.ar/go/spf"
	otherdkim "github.com/emersion/go-msgauth/dkim"
	"golang.org/x/net/publicsuffix"
)

// sign makes a DKIM-Signature field by the book (RFC 6376), apart from the code under test. The words of
// spec are its tags, with key=rsa, other, ed25519 or weak; l=body is the body's length, t= and x= are times
// from now on such as -1h. break=header, body or bh makes it a signature of something else.
func (w *world) sign(t *testing.T, spec, header, body string) string {
	tag := map[string]string{"key": "rsa", "c": "relaxed/relaxed", "h": "from:to:subject:date", "s": "s1"}
	for word := range strings.FieldsSeq(spec) {
		name, value, _ := strings.Cut(word, "=")
		if !slices.Contains([]string{"d", "s", "key", "c", "h", "i", "l", "t", "x", "algo", "break"}, name) {
			t.Fatalf("sign: %q is not understood", word)
		}
		tag[name] = value
	}
	headerForm, bodyForm, _ := strings.Cut(tag["c"], "/")
	switch tag["break"] {
	case "header":
		header = regexp.MustCompile(`(?m)^Subject:`).ReplaceAllString(header, "Subject: [list]")
	case "body":
		body = "changed " + body
	}
	canonical := canonicalBody(body, bodyForm)
	if tag["l"] == "body" {
		tag["l"] = strconv.Itoa(len(canonical))
	}
	if l, err := strconv.Atoi(tag["l"]); err == nil {
		canonical = canonical[:min(l, len(canonical))]
	}
	for _, name := range []string{"t", "x"} {
		if d, err := time.ParseDuration(tag[name]); err == nil {
			tag[name] = strconv.FormatInt(w.now.Add(d).Unix(), 10)
		}
	}
	key, algorithm := w.keys[tag["key"]], "rsa-sha256"
	if tag["key"] == "ed25519" {
		algorithm = "ed25519-sha256"
	}
	if tag["algo"] != "" {
		algorithm = tag["algo"]
	}
	newHash, which := sha256.New, crypto.SHA256
	if algorithm == "rsa-sha1" {
		newHash, which = sha1.New, crypto.SHA1
	}
	bodyHash := newHash()
	io.WriteString(bodyHash, canonical)
	if tag["break"] == "bh" {
		io.WriteString(bodyHash, "x")
	}
	field := "DKIM-Signature: v=1; a=" + algorithm + "; c=" + tag["c"] + "; d=" + tag["d"] + "; s=" +
		tag["s"] + ";\r\n\th=" + tag["h"] + ";\r\n\t"
	for _, name := range []string{"i", "l", "t", "x"} {
		if tag[name] != "" {
			field += name + "=" + tag[name] + "; "
		}
	}
	field += "bh=" + base64.StdEncoding.EncodeToString(bodyHash.Sum(nil)) + ";\r\n\tb="

	hash := newHash()
	for _, f := range signedFields(header, tag["h"]) {
		io.WriteString(hash, canonicalField(f, headerForm))
	}
	io.WriteString(hash, strings.TrimSuffix(canonicalField(field+"\r\n", headerForm), "\r\n"))
	if tag["key"] == "ed25519" {
		which = 0
	}
	signature, err := key.Sign(rand.Reader, hash.Sum(nil), which)
	if err != nil {
		t.Fatal(err)
	}
	return field + base64.StdEncoding.EncodeToString(signature) + "\r\n"
}

// signedFields are the fields that h= lists, of several with a name the lowest first.
func signedFields(header, names string) (list []string) {
	fields := regexp.MustCompile(`(?m)^[!-9;-~]+[ \t]*:.*\r\n([ \t].*\r\n)*`).FindAllString(header, -1)
	for name := range strings.SplitSeq(names, ":") {
		for i, f := range slices.Backward(fields) {
			if n, _, _ := strings.Cut(f, ":"); strings.EqualFold(strings.TrimSpace(n), name) {
				list = append(list, f)
				fields = slices.Delete(fields, i, i+1)
				break
			}
		}
	}
	return list
}

// canonicalField is RFC 6376 sections 3.4.1 and 3.4.2, canonicalBody 3.4.3 and 3.4.4.
func canonicalField(field, form string) string {
	if form != "relaxed" {
		return field
	}
	name, value, _ := strings.Cut(field, ":")
	value = regexp.MustCompile(`[ \t]+`).ReplaceAllString(strings.ReplaceAll(value, "\r\n", ""), " ")
	return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.TrimSpace(value) + "\r\n"
}

func canonicalBody(body, form string) string {
	if form == "relaxed" {
		body = regexp.MustCompile(`[ \t]+\r\n`).ReplaceAllString(body, "\r\n")
		body = regexp.MustCompile(`[ \t]+`).ReplaceAllString(body, " ")
	}
	body = regexp.MustCompile(`(\r\n)*\z`).ReplaceAllString(body, "")
	if body == "" && form == "relaxed" {
		return ""
	}
	return body + "\r\n"
}

// receive is the DMARC verdict of a receiver to whom all this is new: DKIM by go-msgauth, SPF by blitiri's
// library, organisational domains by the public suffix list (RFC 7489). It gets the message as Postfix's
// smtp client sends it, and asks for one readable author; else the verdict is fail.
func (o *outcome) receive(t *testing.T, sender, helo, client, text string) string {
	resolver := o.dns.Resolver()
	froms := values(text, "From")
	if len(froms) != 1 {
		return "fail"
	}
	list, err := mail.ParseAddressList(froms[0])
	if err != nil || len(list) != 1 {
		return "fail"
	}
	author := domainAfterAt(list[0].Address)
	record := o.dmarcRecord(t, author)
	if record == nil {
		record = o.dmarcRecord(t, registered(author))
	}
	if record == nil {
		return "none"
	}
	aligned := func(domain, mode string) bool {
		domain = strings.ToLower(domain)
		return domain == author || mode != "s" && registered(domain) == registered(author)
	}

	local, domain, _ := strings.Cut(sender, "@")
	if sender == "" {
		local, domain = "postmaster", helo
	}
	if ip := net.ParseIP(client); ip != nil && domain != "" {
		status, _ := spf.CheckHostWithSender(ip, helo, local+"@"+domain, spf.WithResolver(resolver),
			spf.WithContext(t.Context()))
		if status == spf.Pass && aligned(domain, record["aspf"]) {
			return "pass"
		}
	}
	lookup := func(name string) ([]string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // for names that are never answered
		defer cancel()
		return resolver.LookupTXT(ctx, name+".")
	}
	signatures, _ := otherdkim.VerifyWithOptions(bytes.NewReader(transported(text)),
		&otherdkim.VerifyOptions{LookupTXT: lookup})
	for _, s := range signatures {
		if s.Err == nil && aligned(s.Domain, record["adkim"]) {
			return "pass"
		}
	}
	return "fail"
}

// passesByHELO is the verdict of a receiver that takes SPF of HELO for DMARC if SPF of the sender does not
// pass, as Mail::DMARC and with it SpamAssassin do. Only a strict policy counts, and not what the operator
// chose.
func (o *outcome) passesByHELO(t *testing.T, l left) bool {
	list, err := mail.ParseAddressList(strings.Join(values(l.text, "From"), ", "))
	if err != nil || l.sender == "" || o.config.DMARC.OnOwnDomainForgery == "forward" {
		return false
	}
	author, helo := domainAfterAt(list[len(list)-1].Address), o.config.Hostname
	record := o.dmarcRecord(t, author)
	if record == nil {
		record = o.dmarcRecord(t, registered(author))
	}
	if record == nil || record["p"] == "none" || registered(helo) != registered(author) ||
		record["aspf"] == "s" && helo != author {
		return false
	}
	passes := func(sender string) bool {
		status, _ := spf.CheckHostWithSender(net.ParseIP(forwarderIP), helo, sender,
			spf.WithResolver(o.dns.Resolver()), spf.WithContext(t.Context()))
		return status == spf.Pass
	}
	return !passes(l.sender) && passes("postmaster@"+helo)
}

func domainAfterAt(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}

func registered(domain string) string {
	if d, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return d
	}
	return domain
}

// dmarcRecord gives the tags of a domain's record; nil if it has none or several.
func (o *outcome) dmarcRecord(t *testing.T, domain string) map[string]string {
	texts, _ := o.dns.Resolver().LookupTXT(t.Context(), "_dmarc."+domain+".")
	texts = slices.DeleteFunc(texts, func(text string) bool { return !strings.HasPrefix(text, "v=DMARC1") })
	if len(texts) != 1 {
		return nil
	}
	tags := map[string]string{}
	for tag := range strings.SplitSeq(texts[0], ";") {
		name, value, _ := strings.Cut(tag, "=")
		tags[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return tags
}

// transported folds lines as Postfix's smtp client does (smtp_line_length_limit), and ends them with CRLF.
func transported(text string) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		for len(line) > 998 {
			b.WriteString(line[:998] + "\r\n ")
			line = line[998:]
		}
		b.WriteString(line + "\r\n")
	}
	return b.Bytes()
}
