package message

import (
	"errors"
	"net"
	"strings"
	"testing"

	"postmend/dkim"
)

// addressesOfTest are those of this host.
func addressesOfTest() ([]net.Addr, error) {
	return []net.Addr{&net.IPNet{IP: net.ParseIP("192.0.2.10")}, &net.IPNet{IP: net.ParseIP("2001:db8::10")},
		&net.UnixAddr{}}, nil
}

const (
	fromOutside = "Received: from mx.example.org (unknown [198.51.100.9])\n\tby mx.example.org (Postfix) " +
		"with ESMTPS id A1\n\tfor <x@example.org>; Mon, 1 Jan 2024 00:00:00 +0000\n"
	toDovecot = "Received: from mx.example.org\n\tby mx.example.org with LMTP\n\tid B1 (envelope-from " +
		"<a@b.example>)\n\tfor <x@example.org>; Mon, 1 Jan 2024 00:00:00 +0000\n"
	fromSieve = "Received: from mx.example.org (mx.example.org [192.0.2.10])\n\t(using TLSv1.3 with " +
		"cipher X (256/256 bits)\n\t key-exchange Y)\n\t(No client certificate requested)\n\tby " +
		"mx.example.org (Postfix) with ESMTPS id C1; Mon, 1 Jan 2024 00:00:00 +0000\n"
	toAmavis = "Received: from mx.example.org ([127.0.0.1])\n\tby localhost (mx.example.org " +
		"[127.0.0.1]) (amavisd-new, port 10024)\n\twith ESMTP id D1; Mon, 1 Jan 2024 00:00:00 +0000\n"
	fromAmavis = "Received: from localhost (localhost [IPv6:::1])\n\tby mx.example.org (Postfix) with " +
		"ESMTP id E1; Mon, 1 Jan 2024 00:00:00 +0000\n"
	fromStorage = "Received: from mail.store.example (mail.store.example [192.0.2.77])\n\tby " +
		"mx.example.org (Postfix) with ESMTP id G1; Mon, 1 Jan 2024 00:00:00 +0000\n"
	elsewhere = "Received: from a.example (a.example [127.0.0.1])\n\tby mx.example.org (Postfix) with " +
		"ESMTP id F1; Mon, 1 Jan 2024 00:00:00 +0000\n"
	submitted = "Received: by mx.example.org (Postfix, from userid 33)\n\tid H1; Mon, 1 Jan 2024 " +
		"00:00:00 +0000\n"
)

// What is believed stands above X: the field after which a stranger may have written everything.
func TestOwnReceivedFieldsEndWithTheArrival(t *testing.T) {
	with := func(field, old, with string) string {
		if !strings.Contains(field, old) {
			t.Fatalf("%q has no %q", field, old)
		}
		return strings.Replace(field, old, with, 1)
	}
	for why, header := range map[string]string{
		"no Received: at all": "A: 1\nB: 2\n",
		"arrival alone":       "A: 1\n" + fromOutside + "B: 2\n",
		"a forged field below": "A: 1\n" + fromOutside + "B: 2\nX: " +
			elsewhere + "C: 3\n",
		"amavis": fromAmavis + toAmavis + fromOutside +
			"A: 1\nX: " + elsewhere,
		"Sieve, over LMTP and submission": fromSieve + "A: 1\n" + toDovecot + fromOutside +
			"B: 2\nX: " + elsewhere,
		"LMTP over TCP": fromSieve +
			with(toDovecot, "org\n", "org ([127.0.0.1])\n") + fromOutside + "X: " + elsewhere,
		"the host's IPv6 address": with(fromSieve, "[192.0.2.10]",
			"[IPv6:2001:db8::10]") + toDovecot + fromOutside + "X: " + elsewhere,
		"another host":                          fromStorage + "X: " + toDovecot + fromOutside,
		"HELO with our name is not our address": fromOutside + "X: " + toDovecot,
		"HELO with an address in brackets": with(fromOutside, "from mx.example.org",
			"from [127.0.0.1]") + "X: " + toDovecot,
		"HELO with two": with(fromOutside, "from mx.example.org",
			"from [[127.0.0.1]]") + "X: " + toDovecot,
		"a certificate's name": with(fromOutside, ")\n\tby",
			")\n\t(Client CN \"x [127.0.0.1]\", Issuer \"(y [127.0.0.1])\" (verified OK))\n\tby") +
			"X: " + toDovecot,
		"from this host, written by another": fromSieve + "X: " +
			with(toDovecot, "by mx.example.org", "by mail.store.example") + fromOutside,
		"from this host, brought to sendmail": fromAmavis + "X: " + submitted + fromOutside,
		"brought to sendmail":                 submitted + "A: 1\nX: " + toDovecot,
		"a client that gave another name than ours": fromSieve + with(toDovecot, "from mx.example.org",
			"from mail.store.example") + "X: " + fromOutside,
		"an address that cannot be read": with(fromOutside, "[198.51.100.9]", "[unknown]") +
			"X: " + toDovecot,
		"no address": with(fromOutside, "(unknown [198.51.100.9])",
			"(localhost)") + "X: " + toDovecot,
		"a comment that does not end": with(fromOutside, "])", "]") + "X: " + toDovecot,
		"an address behind the comment": with(fromOutside, "(unknown [198.51.100.9])",
			"(unknown) [127.0.0.1]") + "X: " + toDovecot,
		"no by": "Received: from localhost (localhost " +
			"[127.0.0.1])\nX: " + toDovecot,
		"nothing": "Received:\nX: " + toDovecot,
		"a mapped address of loopback is one of loopback": with(fromAmavis, "IPv6:::1",
			"IPv6:::ffff:127.0.0.1") + toAmavis + fromOutside + "X: " + elsewhere,
	} {
		want, below, hasMark := strings.Cut(header, "X: ")
		header = want + below
		fields, n := dkim.SplitHeader([]byte(header))
		if n != len(header) {
			t.Fatalf("%s: %d of %d octets are a header", why, n, len(header))
		}
		got := ""
		for _, field := range OwnPart(fields, "mx.example.org", addressesOfTest) {
			got += string(field)
		}
		if got != want || !hasMark && below != "" {
			t.Errorf("%s:\n got %q\nwant %q", why, got, want)
		}
	}
	fields, _ := dkim.SplitHeader([]byte(fromSieve + toDovecot))
	if got := OwnPart(fields,
		"mx.example.org", func() ([]net.Addr, error) { return nil, errors.New("no") }); len(got) != 1 {
		t.Errorf("while the host's addresses are not known: %q", got)
	}
}
