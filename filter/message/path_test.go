package message

import (
	"fmt"
	"strings"
	"testing"

	"postmend/dkim"
)

// Received: fields as these programs write them, names and addresses changed.
const (
	fetchmailLine = "Received: from pop.provider.example [198.51.100.55]\n" +
		"\tby localhost with POP3 (fetchmail-6.4.37)\n" +
		"\tfor <bob@localhost> (single-drop); Mon, 01 Jan 2024 00:00:00 +0100 (CET)\n"
	getmailLine = "Received: from pop.provider.example by mx.example.org with IMAP4-SSL\n" +
		"\tgetmail6 msgid:1 for <bob@example.org>; 01 Jan 2024 00:00:00 -0000\n"
	providerLine = "Received: from mail.evil.example (mail.evil.example [198.51.100.9])\n" +
		"\tby mx.provider.example (Postfix) with ESMTPS id E1DF998AA72\n" +
		"\tfor <bob@provider.example>; Mon, 1 Jan 2024 00:00:00 +0000 (UTC)\n"
	eximLine = "Received: from [198.51.100.9] (helo=mail.evil.example)\n" +
		"\tby mx.provider.example with esmtps (Exim 4.96) (envelope-from <x@evil.example>) id " +
		"1iAAOK-004OTI-P3; Mon, 01 Jan 2024 00:00:00 +0000\n"
	gmailLines = "Received: by 2002:a05:6000:1:b0:1 with SMTP id x1; Mon, 01 Jan 2024 00:00:00 -0800 " +
		"(PST)\n" +
		"Received: from mail.evil.example (mail.evil.example. [198.51.100.9])\n        by " +
		"mx.google.example with ESMTPS id x2\n        for <bob@gmail.example>; Mon, 01 Jan 2024 00:00:00 " +
		"-0800 (PST)\n"
	roundcubeLine = "Received: from 203.0.113.5\n by webmail.example.org\n" +
		" with HTTP (HTTP/1.1 POST); Mon, 01 Jan 2024 00:00:00 +0000\n"
	roundcubeHidden = "Received: from\n yLVXouRt4dVn2cPyEcN+JbkHTgc9yR3C9RoCRk82pVa1nJ3rDYF4DsfZ+LFsHh1U\n" +
		" (1Frz78cJO3RrTCAy9ByEU/jK2uMm8fWf)\n by webmail.example.org\n" +
		" with HTTP (HTTP/1.1 POST); Mon, 01 Jan 2024 00:00:00 +0000\n"
	squirrelMailLine = "Received: from 203.0.113.5\n        (SquirrelMail authenticated user bob)\n" +
		"        by www.example.org with HTTP;\n        Mon, 1 Jan 2024 00:00:00 -0000\n"
	hordeLine = "Received: from pc.isp.example (pc.isp.example [203.0.113.5]) by\n" +
		" www.example.org (Horde Framework) with HTTPS; Mon, 01 Jan 2024 00:00:00 +0000\n"
	dovecotOther = "Received: from mx.example.org\n\tby vm12.hoster.example with LMTP\n" +
		"\tid iJEvIwfgCmtoTAAAg+zDdQ:T2\n\t(envelope-from <bob@example.org>)\n" +
		"\tfor <bob@example.org>; Mon, 1 Jan 2024 00:00:00 +0000\n"
	authenticated = "Received: from [10.1.2.3] (unknown [203.0.113.5])\n\t(Authenticated sender: alice)\n" +
		"\tby mx.example.org (Postfix) with ESMTPSA id E1DF998AA72; Mon, 1 Jan 2024 00:00:00 " +
		"+0000\n"
	ssmtpLine   = "Received: by app-1 (sSMTP sendmail emulation); Mon, 01 Jan 2024 00:00:00 +0000\n"
	byTheBounce = "Received: by mx.example.org (Postfix)\n" +
		"\tid E1DF998AA72; Mon, 1 Jan 2024 00:00:00 +0000 (UTC)\n"
)

// paths are headers of what a program here submitted. fromAmavis stands for any program that submits by SMTP
// from loopback.
var paths = []struct {
	name, header string
	want         Path
}{
	{"cron, PHP's mail(), vacation", submitted, NowhereElse},
	{"Mailman's notice, by SMTP", fromAmavis, NowhereElse},
	{"nothing", "", NowhereElse},
	{"Postfix's own bounce", byTheBounce, NowhereElse},
	{"the same, redirected", submitted + toDovecot + byTheBounce, NowhereElse},
	{"another filter on the way", fromAmavis + toAmavis + submitted, NowhereElse},
	{"Roundcube by sendmail", submitted + roundcubeLine, NowhereElse},
	{"Roundcube by SMTP, client hidden", fromAmavis + roundcubeHidden, NowhereElse},
	{"SquirrelMail", fromAmavis + squirrelMailLine, NowhereElse},
	{"Horde", submitted + hordeLine, NowhereElse},

	{"a list's post of a user's mail", fromAmavis + authenticated, ByUser},
	{"the same, redirected", submitted + toDovecot + authenticated, ByUser},
	{"the same, our own field removed by header_checks", authenticated, ByUser},
	{"a user's mail, Dovecot with another name for this host", submitted + dovecotOther + authenticated,
		ByUser},
	{"a list's post of mail from outside", fromAmavis + fromOutside + providerLine, ThroughServer},
	{"Sieve, Dovecot with another name for this host", submitted + dovecotOther + fromOutside,
		ThroughServer},
	{"a forged login below", submitted + toDovecot + fromOutside + authenticated, ThroughServer},
	{"a field that does not tell, above a login", submitted + "Received: mumble\n" + authenticated,
		ThroughServer},
	{"through an MX host of ours", fromAmavis + fromStorage + providerLine, ThroughServer},
	{"a program in another instance of Postfix", fromAmavis + strings.Replace(submitted, "mx.", "lists.", 1),
		ThroughServer},
	{"a host of ours, and a stranger's below", fromAmavis + strings.Replace(fromOutside, "by mx.", "by mx2.",
		1) + providerLine, ThroughServer},
	{"a container's name", fromAmavis + ssmtpLine, ThroughServer},
	{"a field that says nothing", submitted + "Received: mumble\n", ThroughServer},
	{"qmail's form", submitted + "Received: (qmail 12 invoked by uid 33); 1 Jan 2024 00:00:00 -0000\n",
		ThroughServer},
	{"an empty one", submitted + "Received:\n", ThroughServer},

	{"fetchmail", fromAmavis + fetchmailLine + providerLine, Elsewhere},
	{"fetchmail, sent on by Sieve", submitted + toDovecot + fromAmavis + fetchmailLine + providerLine,
		Elsewhere},
	{"fetchmail, invisible", fromAmavis + providerLine, Elsewhere},
	{"fetchmail, from Exim", fromAmavis + eximLine, Elsewhere},
	{"fetchmail, from Gmail", fromAmavis + gmailLines, Elsewhere},
	{"getmail, sent on by Sieve", submitted + getmailLine + providerLine, Elsewhere},
	{"getmail, of mail without any field", submitted + getmailLine, Elsewhere},
	{"the stranger's host, by its name alone", submitted +
		"Received: by mail.evil.example (Postfix, from userid 33)\n\tid 4; Mon, 1 Jan 2024 " +
		"00:00:00 +0000\n", Elsewhere},
	{"very many names", submitted + veryManyNames(), Elsewhere},
	{"fetchmail, invisible, from a provider's Dovecot", fromAmavis + strings.Replace(dovecotOther,
		"from mx.example.org", "from localhost", 1) +
		strings.Replace(providerLine, "by mx.provider.example", "by vm12.hoster.example", 1), Elsewhere},
	{"forged fields of ours below", fromAmavis + providerLine + submitted + fromOutside, Elsewhere},
	{"a forged login below", fromAmavis + providerLine + authenticated, Elsewhere},
	{"a login at another host", fromAmavis + strings.Replace(authenticated, "by mx.example.org",
		"by mx.provider.example", 1), Elsewhere},
	{"forged web mail below", fromAmavis + providerLine + roundcubeLine, Elsewhere},
	{"a login at another host, our own field removed by header_checks", strings.Replace(authenticated,
		"by mx.example.org", "by mx.provider.example", 1), Elsewhere},
	{"another host's field, ours removed", providerLine, Elsewhere},
	{"a provider's loopback", fromAmavis + strings.Replace(fromAmavis, "by mx.example.org",
		"by mx.provider.example", 1) + providerLine, Elsewhere},
	{"HELO with our name", fromAmavis + strings.Replace(providerLine, "from mail.evil.example",
		"from mx.example.org", 1), Elsewhere},
	{"HELO with clauses", fromAmavis + strings.Replace(providerLine, "from mail.evil.example",
		"from a by mx.example.org with HTTP (", 1), Elsewhere},
	{"HELO with clauses in a comment", fromAmavis +
		"Received: from unknown (HELO a) by mx.example.org with HTTP (b) (198.51.100.9)\n  by " +
		"mx.provider.example with SMTP; 1 Jan 2024 00:00:00 -0000\n", Elsewhere},
	{"a recipient with clauses", submitted + toDovecot + strings.Replace(fromOutside, "<x@example.org>",
		"<\"a by b with HTTP\"@example.org>", 1), ThroughServer},
}

func veryManyNames() string {
	var names strings.Builder
	for i := range 30 {
		fmt.Fprintf(&names,
			"Received: from mx.example.org by a%d.example.net with LMTP; 1 Jan 2024 00:00:00 -0000\n", i)
	}
	return names.String()
}

func TestThePathOfWhatAProgramHereSubmits(t *testing.T) {
	isOurs := func(name string) bool { return strings.HasSuffix(name, ".example.org") }
	for _, row := range paths {
		header, n := dkim.SplitHeader([]byte(row.header))
		if n != len(row.header) {
			t.Fatalf("%s: %d of %d octets are a header", row.name, n, len(row.header))
		}
		if got := PathOf(header, "mx.example.org", addressesOfTest, isOurs); got != row.want {
			t.Errorf("%s: got %d, want %d", row.name, got, row.want)
		}
	}
}
