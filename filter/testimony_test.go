package filter

import (
	"slices"
	"strings"
	"testing"

	"postmend/dkim"
)

// Whoever has a message that a trusted sealer vouches for may remove, repeat, change and add fields: as long
// as From: is rewritten, what people see is what was sealed.
func TestAForgerGainsNothingFromASealedMessage(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	w := newWorld(t)
	zone := "_dmarc.bank.example TXT v=DMARC1; p=reject\n" +
		"s._domainkey.trusted.example TXT " + w.records["other"] +
		"\ns._domainkey.second.example TXT " + w.records["other"] + "\n"
	header := "From: Alice <alice@bank.example>\r\nTo: alias@example.org\r\nSubject: hello\r\n" +
		"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nReply-To: alice@bank.example\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain\r\n"
	const body = "Good morning.\r\n"
	// These signatures cover each field once, so that another one on top would not break them.
	const covered = " raw h=from:to:subject:date:reply-to:content-type"
	for _, spec := range []string{"d=trusted.example s=s key=other i=1 cv=none" + covered,
		"d=second.example s=s key=other dmarc=fail i=2 cv=pass" + covered} {
		header = w.seal(t, spec, header, body) + header
	}
	fields, _ := dkim.SplitHeader([]byte(header))
	run := func(fields dkim.Header, body string) *outcome {
		t.Helper()
		text := joinedFields(fields) + "\r\n" + body
		return w.play(t, scenario{"zone": zone, "message": strings.ReplaceAll(text, "\r\n", "\n"),
			"config":   "[arc]\ntrusted_sealers = [\"trusted.example\", \"second.example\"]\n",
			"envelope": "from: x@evil.example\nto: bob@remote.example\noriginal: alias@example.org\n"})
	}
	whole := run(fields, body)
	if len(whole.sent) != 1 || whole.fromWord(whole.sent[0].text) != "alias@example.org" {
		t.Fatalf("the message as it was sealed: %s", whole)
	}
	vouched, refused := 0, 0
	check := func(how string, o *outcome) {
		t.Helper()
		if len(o.sent) != 1 || o.fromWord(o.sent[0].text) == "untouched" {
			refused++
			return
		}
		vouched++
		for _, name := range []string{"From", "Subject", "Reply-To", "Content-Type"} {
			got, want := values(o.sent[0].text, name), values(whole.sent[0].text, name)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %s is %q, sealed as %q", how, name, got, want)
			}
		}
		if _, got, _ := strings.Cut(o.sent[0].text, "\n\n"); strings.TrimRight(got, "\n") != "Good morning." {
			t.Errorf("%s: the body is %q", how, got)
		}
	}
	for i, field := range fields {
		without := slices.Delete(slices.Clone(fields), i, i+1)
		check("without "+string(field), run(without, body))
		check("twice "+string(field), run(slices.Insert(slices.Clone(fields), i, field), body))
		check("moved "+string(field), run(append(slices.Clone(without), field), body))
		for _, changed := range []string{
			strings.Replace(string(field), "e", "o", 1),
			strings.Replace(string(field), "=pass", "=fail", 1),
			strings.Replace(string(field), "=fail", "=pass", 1),
			strings.Replace(string(field), "i=1", "i=2", 1),
			strings.Replace(string(field), "bank.example", "shop.example", 1),
		} {
			if changed != string(field) {
				other := slices.Concat(fields[:i], dkim.Header{dkim.Field(changed)}, fields[i+1:])
				check("changed "+changed, run(other, body))
			}
		}
	}
	for _, added := range []string{"From: ceo@bank.example", "Subject: pay now", "Reply-To: x@evil.example",
		"reply-to : x@evil.example", "Content-Type: text/html", "From : ceo@bank.example",
		"ARC-Authentication-Results: i=1; mx.trusted.example; dmarc=pass header.from=bank.example",
		"ARC-Authentication-Results: i=3; mx.trusted.example; dmarc=pass header.from=bank.example",
		"ARC-Seal: i=3; a=rsa-sha256; cv=pass; d=trusted.example; s=s; t=1; b=AAAA"} {
		field := dkim.Field(added + "\r\n")
		check("on top "+added, run(slices.Concat(dkim.Header{field}, fields), body))
		check("below "+added, run(slices.Concat(fields, dkim.Header{field}), body))
	}
	check("another body", run(fields, "Pay now.\r\n"))
	check("more body", run(fields, body+"Pay now.\r\n"))
	check("no body", run(fields, ""))
	check("no second set", run(fields[3:], body))
	if vouched < 5 || refused < 40 {
		t.Errorf("%d were vouched for, %d were not", vouched, refused)
	}
}

func joinedFields(fields dkim.Header) string {
	var text strings.Builder
	for _, field := range fields {
		text.Write(field)
	}
	return text.String()
}
