package dkim

import (
	"strings"
	"testing"
)

// Valid signatures, and what was seen of other verifiers: those named in the remark reject them.
func TestASignatureThatVerifiersInUseRejectIsDisputed(t *testing.T) {
	by, records := ruleKeys(t)
	const from, last = "From: Joe <joe@example.org>\r\n", "Subject: x\r\n"
	for _, c := range []struct {
		why  string
		tags string
		header, body,
		want string
	}{
		{why: "nothing", tags: with()},
		{why: "a form feed that is not in a signed field", tags: with("h=from"),
			header: from + "Subject: \f\r\n"},
		{why: "a form feed in a simple body", tags: with("c=relaxed/simple"), body: "a\fb\r\n"},
		{why: "other white space in the body", tags: with(), body: "a\vb \t c\x00\r\n"},
		{why: "the whole body by l=", tags: with("l=28")},
		{why: "repeated fields that may be", tags: with("h=from:comments:comments"),
			header: from + "Comments: 1\r\nComments: 2\r\n"},
		{why: "a repeated field that is not signed", tags: with("h=from"), header: from + last + last},
		{why: "over-signed", tags: with("h=from:from:subject:subject:to")},

		{why: "RSAPublicKey: Mail::DKIM, OpenDKIM, mailauth, rspamd, Exim", tags: with("s=pkcs1"),
			want: "RSAPublicKey"},
		{why: "a part of the body: rspamd 3.4; of l=0 Mail::DKIM, too", tags: with("l=5"), want: "l="},
		{why: "a form feed in the body: rspamd 3.4", tags: with(), body: "a b\f\r\n", want: "form feed"},
		{why: "a form feed after blank lines", tags: with(), body: "a\r\n\r\n\r\n\fb\r\n", want: "form feed"},
		{why: "8-bit octets: OpenDKIM, rspamd", tags: with("n=\u00e4"), want: "unusual"},
		{why: "a tag that ends in b: OpenDKIM, go-msgauth, rspamd", tags: with("xb=1"), want: "unusual"},
		{why: "a blank after b: OpenDKIM, mailauth, rspamd",
			tags: strings.Replace(with(), "; b=", "; b =", 1), want: "unusual"},
		{why: "a vertical tab: dkimpy, OpenDKIM, mailauth", tags: with(), header: from + "Subject: a\vb\r\n",
			want: "vertical tab"},
		{why: "NUL: OpenDKIM, rspamd, Exim", tags: with(), header: from + "Subject: a\x00b\r\n", want: "NUL"},
		{why: "a blank before the colon: dkimpy, OpenDKIM, rspamd, Exim", tags: with(),
			header: from + last + "X-Other : 1\r\n", want: "blank before its colon"},
		{why: "two Subject: fields: rspamd", tags: with("h=from:subject:subject"), header: from + last + last,
			want: "more than once: subject"},
		{why: "two To: fields, one signed: rspamd", tags: with(),
			header: "To: a@example.com\r\n" + from + "TO: b@example.com\r\n", want: "more than once: to"},
	} {
		header, body := c.header, c.body
		if header == "" {
			header = ruleHeader
		}
		if body == "" {
			body = ruleBody
		}
		message := by.sign(t, c.tags, header, body)
		got := verifyMessage(t, message, VerifyOptions{Resolver: records})[0]
		isRight := strings.Contains(got.Disputed, c.want) && (got.Disputed == "") == (c.want == "")
		if got.Status != Pass || !isRight {
			t.Errorf("%s: %s %s, disputed: %q, want %q", c.why, got.Status, got.Reason, got.Disputed, c.want)
		}
	}
}

func TestOnlyAValidSignatureIsDisputed(t *testing.T) {
	by, records := ruleKeys(t)
	message := strings.Replace(by.sign(t, with("s=pkcs1"), ruleHeader, ruleBody), "you?", "You?", 1)
	got := verifyMessage(t, message, VerifyOptions{Resolver: records})[0]
	if got.Status != Fail || got.Disputed != "" {
		t.Errorf("%s, disputed: %q", got.Status, got.Disputed)
	}
}
