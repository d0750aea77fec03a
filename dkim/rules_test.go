package dkim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// rule is a message and what RFC 6376 and its updates say of it.
type rule struct {
	why    string // with the section
	tags   string // "" is an ordinary signature's
	header string // "" is ruleHeader
	body   string // "" is ruleBody
	from   string // after signing, this is replaced
	to     string
	want   string // the statuses are RFC 8601's
}

func at(hours int) string { return fmt.Sprint(now.Add(time.Duration(hours) * time.Hour).Unix()) }

func names(n int) string { return "h=from" + strings.Repeat(":x", n-1) }

func manyTags(n int) string {
	var tags strings.Builder
	for i := range n {
		fmt.Fprintf(&tags, "; y%d=1", i)
	}
	return tags.String()
}

var rules = slices.Concat(canonicalRules, tagListRules, tagRules, identityRules, limitRules, keyRules)

// Canonicalisation: section 3.4.
var canonicalRules = []rule{
	{why: "3.4: relaxed/relaxed", want: "pass"},
	{why: "3.4: simple/simple", tags: with("c=simple/simple"), want: "pass"},
	{why: "3.4: relaxed/simple", tags: with("c=relaxed/simple"), want: "pass"},
	{why: "3.4: simple/relaxed", tags: with("c=simple/relaxed"), want: "pass"},
	{why: "3.5: c=relaxed is relaxed/simple", tags: with("c=relaxed"), want: "pass"},
	{why: "3.5: no c= is simple/simple", tags: with("-c"), want: "pass"},
	{why: "3.4.3: an empty simple body is a line end", tags: with("c=simple/simple"), body: "\r\n",
		from: "\r\n\r\n\r\n", to: "\r\n\r\n", want: "pass"},
	{why: "3.4.4: an empty relaxed body is nothing", body: "\r\n", from: "\r\n\r\n\r\n", to: "\r\n\r\n",
		want: "pass"},
	{why: "3.4.2: blanks and folds may change", from: "Hello \t world\r\n folded",
		to: "Hello\r\n\t world folded \t", want: "pass"},
	{why: "3.4.2: blanks may not appear within a word", from: "folded", to: "fol ded",
		want: "fail signature did not verify"},
	{why: "3.4.2: a field's name may change its case and get a blank", from: "Subject:", to: "SUBJECT:",
		want: "pass"},
	{why: "3.4.1: simple: blanks may not change", tags: with("c=simple/simple"), from: "Hello \t world",
		to: "Hello  world", want: "fail signature did not verify"},
	{why: "3.4.1: simple: blanks at the end may not come", tags: with("c=simple/simple"),
		from: "a@example.com", to: "a@example.com ", want: "fail signature did not verify"},
	{why: "3.4.1: simple: case may not change", tags: with("c=simple/simple"), from: "Subject:",
		to: "SUBJECT:", want: "fail signature did not verify"},
	{why: "3.4.4: blanks in the body may change", from: "how\tare you?", to: "how  are\tyou? ",
		want: "pass"},
	{why: "3.4.3: simple: blanks in the body may not", tags: with("c=simple/simple"), from: "there,  ",
		to: "there, ", want: "fail body hash did not verify"},
	{why: "3.4.3: empty lines at the end may come", tags: with("c=simple/simple"), from: "you?\r\n",
		to: "you?\r\n\r\n\r\n", want: "pass"},
	{why: "3.4.4: empty lines at the end may go", from: "you?\r\n\r\n\r\n", to: "you?\r\n", want: "pass"},
	{why: "3.4.4: empty lines within may not", from: "\r\n\r\n how", to: "\r\n how",
		want: "fail body hash did not verify"},
	{why: "a changed body", from: "you?", to: "You?", want: "fail body hash did not verify"},
	{why: "a changed field", from: "a@example.com", to: "b@example.com",
		want: "fail signature did not verify"},
	{why: "a field that is not signed may change", from: "X-Other: 1", to: "X-Other: 2\r\nX-More: 3",
		want: "pass"},
	{why: "a field that is not signed may move", from: "To: a@example.com\r\n",
		to: "X-Between: 1\r\nTo: a@example.com\r\n", want: "pass"},
	{why: "signed fields may change places", from: "From: Joe <joe@example.org>\r\nTo: a@example.com\r\n",
		to: "To: a@example.com\r\nFrom: Joe <joe@example.org>\r\n", want: "pass"},
}

// Tag lists: section 3.2.
var tagListRules = []rule{
	{why: "3.2: tags in any order, without final semicolon",
		tags: "b=SIGNATURE; bh=BODYHASH; h=from:to:subject; s=rsa; d=example.org; c=simple/simple; " +
			"a=rsa-sha256; v=1", want: "pass"},
	{why: "3.2: a final semicolon", tags: with() + ";", want: "pass"},
	{why: "3.2: a final semicolon and blanks", tags: with() + "; ", want: "pass"},
	{why: "3.2: no blanks at all", tags: strings.ReplaceAll(with(), " ", ""), want: "pass"},
	{why: "3.2: folds around everything", want: "pass",
		tags: "v = 1;\r\n\ta\t=\r\n rsa-sha256;c= relaxed/relaxed ;d =example.org; s\r\n = rsa;\r\n h " +
			"= from :\r\n\tto\t: subject;bh= BODYHASH;\r\n b =\r\n\tSIGNATURE"},
	{why: "3.7: b= within, with blanks after it, simple", tags: "v=1; a=rsa-sha256; b=SIGNATURE\r\n\t; " +
		"c=simple/simple; d=example.org; s=rsa; h=from:to; bh=BODYHASH", want: "pass"},
	{why: "3.7: b= within, without blanks, relaxed",
		tags: "v=1; a=rsa-sha256; b=SIGNATURE;c=relaxed/relaxed; d=example.org; s=rsa; h=from:to; " +
			"bh=BODYHASH", want: "pass"},
	{why: "3.7: b= in the value of another tag", tags: with("n1=b=abc", "z=Subject: b=hello|b=x"),
		want: "pass"},
	{why: "3.7: b= in the value of i=", tags: with("i=b=41@example.org", "c=simple/simple"),
		want: "pass"},
	{why: "3.7: a tag whose name ends with b", tags: with("xb=1", "b2=2"), want: "pass"},
	{why: "3.5: blanks within b= do not count", tags: with("b=SIGNATURE"), from: "; b=", to: "; b=\r\n ",
		want: "pass"},
	{why: "3.5: unknown tags do not count", tags: with("foo=bar", "r=y"), want: "pass"},
	{why: "3.2: a tag twice", tags: with() + "; d=example.org", want: "permerror a tag occurs twice"},
	{why: "3.2: an unknown tag twice", tags: with("foo=1") + "; foo=1",
		want: "permerror a tag occurs twice"},
	{why: "3.2: names of tags have a case", tags: with("-d", "D=example.org"),
		want: "permerror d= is not a domain name"},
	{why: "3.2: an empty tag", tags: strings.Replace(with(), "; d=", ";; d=", 1),
		want: "permerror not a tag list"},
	{why: "3.2: a word that is no tag", tags: with() + "; word", want: "permerror not a tag list"},
	{why: "3.2: a name with a hyphen, as everybody reads it", tags: with("x-y=1"), want: "pass"},
	{why: "a control character", tags: with("foo=a\x01b"), want: "permerror control character in a tag"},
	{why: "more tags than anybody needs", tags: with() + manyTags(100),
		want: "permerror more than 100 tags"},
}

// The tags v= to h=: sections 3.5 and 5.4.
var tagRules = []rule{
	{why: "3.5 v=: missing", tags: with("-v"), want: "permerror v= is not 1"},
	{why: "3.5 v=: another", tags: with("v=1.0"), want: "permerror v= is not 1"},
	{why: "3.5 a=: missing", tags: with("-a"), want: "permerror a= is missing"},
	{why: "3.5 a=: unknown", tags: with("a=rsa-md5"), want: "permerror a= has an unknown algorithm"},
	{why: "3.5 a=: an invalid name", tags: with("a=rsa/\u00e4"),
		want: "permerror a= has an unknown algorithm"},
	{why: "RFC 8301 3.1: sha1", tags: with("a=rsa-sha1"),
		want: "permerror sha1 is not accepted (RFC 8301)"},
	{why: "3.5 b=: missing", tags: with("-b"), want: "permerror b= is missing"},
	{why: "3.5 b=: empty", tags: with("b="), want: "permerror b= is not base64"},
	{why: "3.5 b=: no base64", tags: with("b=SIGNATURE"), from: "; b=", to: "; b=%",
		want: "permerror b= is not base64"},
	{why: "3.5 b=: another", tags: with("b=AAAA"), want: "fail signature did not verify"},
	{why: "3.5 bh=: missing", tags: with("-bh"), want: "permerror bh= is missing or not base64"},
	{why: "3.5 bh=: no base64", tags: with("bh=%"), want: "permerror bh= is missing or not base64"},
	{why: "3.5 bh=: another", tags: with("bh=AAAA"), want: "fail body hash did not verify"},
	{why: "3.5 c=: unknown", tags: with("c=nowsp"), want: "permerror c= has an unknown canonicalization"},
	{why: "3.5 c=: unknown for the body", tags: with("c=simple/nowsp"),
		want: "permerror c= has an unknown canonicalization"},
	{why: "3.5 c=: too many", tags: with("c=simple/simple/simple"),
		want: "permerror c= has an unknown canonicalization"},
	{why: "3.5 d=: missing", tags: with("-d"), want: "permerror d= is not a domain name"},
	{why: "3.5 d=: an address", tags: with("d=joe@example.org"),
		want: "permerror d= is not a domain name"},
	{why: "3.5 d=: a final dot", tags: with("d=example.org."), want: "permerror d= is not a domain name"},
	{why: "3.5 d=: in another case", tags: with("d=EXAMPLE.Org"), want: "pass"},
	{why: "3.5 s=: missing", tags: with("-s"), want: "permerror s= is not a selector"},
	{why: "3.5 s=: a blank in it", tags: with("s=r sa"), want: "permerror s= is not a selector"},
	{why: "3.5 s=: a name that DNS does not hold",
		tags: with("s=" + strings.Repeat("a234567890.", 21) + "a"),
		want: "permerror s= is not a selector"},
	{why: "3.5 h=: missing", tags: with("-h"), want: "permerror From: is not signed"},
	{why: "3.5 h=: without from", tags: with("h=to:subject"), want: "permerror From: is not signed"},
	{why: "3.5 h=: names in another case", tags: with("h=FROM:To"), want: "pass"},
	{why: "3.5 h=: an empty name", tags: with("h=from::to"), want: "pass"},
	{why: "3.5 h=: an invalid name", tags: with("h=from:t o"),
		want: "permerror h= contains an invalid field name"},
	{why: "3.5 h=: a thousand names", tags: with(names(1000)), want: "pass"},
	{why: "3.5 h=: more", tags: with(names(1001)), want: "permerror h= has more than 1000 names"},
	{why: "3.2: an invalid name", tags: with("x.y=1"), want: "permerror not a tag list"},
	{why: "5.4.2: a name without field adds nothing", tags: with("h=from:cc:to:cc"), want: "pass"},
	{why: "5.4.2: a name without field keeps one out", tags: with("h=from:cc:to:cc"), from: "X-Other",
		to: "Cc", want: "fail signature did not verify"},
	{why: "8.15: a second From: below", from: "X-Other: 1", to: "From: eve@example.net",
		want: "fail signature did not verify"},
	{why: "8.15: a second From: on top, not oversigned", from: "From: Joe",
		to: "From: eve@example.net\r\nFrom: Joe", want: "pass"},
	{why: "8.15: a second From: on top, oversigned", tags: with("h=from:from:to"), from: "From: Joe",
		to: "From: eve@example.net\r\nFrom: Joe", want: "fail signature did not verify"},
	{why: "5.4.2: two fields of a name, from the bottom", tags: with("h=from:comments:comments"),
		header: "Comments: 1\r\nFrom: a@example.org\r\ncomments: 2\r\n", want: "pass"},
	{why: "5.4.2: two fields of a name, the lower one signed", tags: with("h=from:comments"),
		header: "Comments: 1\r\nFrom: a@example.org\r\ncomments: 2\r\n", from: "Comments: 1",
		to: "Comments: 3", want: "pass"},
	{why: "5.4.2: two fields of a name change places", tags: with("h=from:comments:comments"),
		header: "Comments: 1\r\nFrom: a@example.org\r\nComments: 2\r\n",
		from:   "Comments: 1\r\nFrom: a@example.org\r\nComments: 2", to: "Comments: 2\r\n" +
			"From: a@example.org\r\nComments: 1", want: "fail signature did not verify"},
	{why: "5.4: a signature that lists itself", tags: with("h=from:dkim-signature"),
		want: "fail signature did not verify"},
	{why: "6.1.1: no From: field at all", header: "To: a@example.com\r\n", want: "pass"},
}

// The identity: i= and t=s.
var identityRules = []rule{
	{why: "3.5 i=: in another case", tags: with("i=Joe@Example.ORG"), want: "pass"},
	{why: "3.5 i=: a subdomain", tags: with("i=@mail.example.org"), want: "pass"},
	{why: "3.5 i=: an encoded local part", tags: with("i=j=3Boe@example.org"), want: "pass"},
	{why: "RFC 8616: UTF-8 in i=", tags: with("i=j\u00f6@example.org"), want: "pass"},
	{why: "3.5 i=: octets that are not UTF-8", tags: with("i=\xff@example.org"),
		want: "permerror i= is not an identity"},
	{why: "3.5 i=: what cannot be printed", tags: with("i=\u009b@example.org"),
		want: "permerror i= is not an identity"},
	{why: "3.5 i=: a quoted local part", tags: with(`i="a@b"@example.org`), want: "pass"},
	{why: "3.5 i=: a neighbour", tags: with("i=joe@notexample.org"),
		want: "permerror i= is not in the domain of d="},
	{why: "3.5 i=: another domain", tags: with("i=joe@example.com"),
		want: "permerror i= is not in the domain of d="},
	{why: "3.5 i=: a parent", tags: with("i=joe@org"), want: "permerror i= is not in the domain of d="},
	{why: "3.5 i=: no address", tags: with("i=joe_example.org"), want: "permerror i= is not an identity"},
	{why: "3.6.1 t=s: i= equal", tags: with("s=strict", "i=joe@EXAMPLE.org"), want: "pass"},
	{why: "3.6.1 t=s: no i=", tags: with("s=strict"), want: "pass"},
	{why: "3.6.1 t=s: i= below", tags: with("s=strict", "i=joe@mail.example.org"),
		want: "permerror the key is not for subdomains in i="},
	{why: "3.6.1 t=s: among others", tags: with("s=flags", "i=@mail.example.org"),
		want: "permerror the key is not for subdomains in i="},
}

// Lengths, query methods and times.
var limitRules = []rule{
	{why: "3.5 l=: the whole body", tags: with("l=28"), want: "pass"},
	{why: "3.5 l=: a part", tags: with("l=5"), want: "pass"},
	{why: "3.5 l=: nothing", tags: with("l=0"), want: "pass"},
	{why: "3.5 l=: text was added", tags: with("l=28"), from: "you?\r\n", to: "you?\r\n-- \r\nadded\r\n",
		want: "pass"},
	{why: "3.5 l=: the part was changed", tags: with("l=5"), from: "\r\nHi there", to: "\r\nHo there",
		want: "fail body hash did not verify"},
	{why: "3.5 l=: more than there is", tags: with("l=29"),
		want: "permerror l= is more than the body has"},
	{why: "3.5 l=: text was cut off", tags: with("l=28"), from: "you?", to: "you",
		want: "permerror l= is more than the body has"},
	{why: "3.5 l=: more than a number holds", tags: with("l=99999999999999999999999"),
		want: "permerror l= is more than the body has"},
	{why: "3.5 l=: negative", tags: with("l=-1"), want: "permerror l= is not a length"},
	{why: "3.5 l=: no number", tags: with("l=five"), want: "permerror l= is not a length"},
	{why: "3.5 l=: 77 digits", tags: with("l=" + strings.Repeat("0", 77)),
		want: "permerror l= is not a length"},
	{why: "3.5 q=: the known method", tags: with("q=dns/txt"), want: "pass"},
	{why: "3.5 q=: among others", tags: with("q=http/x:dns/txt"), want: "pass"},
	{why: "3.5 q=: another", tags: with("q=http/x"), want: "permerror q= has no known query method"},
	{why: "3.5 t=: now", tags: with("t=" + at(0)), want: "pass"},
	{why: "3.5 t=: a clock that is ahead", tags: with("t=" + at(4)), want: "pass"},
	{why: "3.5 t=: in the future", tags: with("t=" + at(60)), want: "fail signed in the future"},
	{why: "3.5 t=: no number", tags: with("t=now"), want: "permerror t= or x= is not a time"},
	{why: "3.5 x=: to come", tags: with("t="+at(-1), "x="+at(1)), want: "pass"},
	{why: "3.5 x=: past", tags: with("t="+at(-60), "x="+at(-30)), want: "fail signature expired"},
	{why: "3.5 x=: not after t=", tags: with("t="+at(1), "x="+at(1)),
		want: "permerror x= is not after t="},
	{why: "3.5 x=: no number", tags: with("x=1e99"), want: "permerror t= or x= is not a time"},
}

// Keys: sections 3.6.1 and 6.1.2.
var keyRules = []rule{
	{why: "RFC 8463: ed25519", tags: with("a=ed25519-sha256", "s=ed"), want: "pass"},
	{why: "RFC 8463: ed25519, changed", tags: with("a=ed25519-sha256", "s=ed"), from: "Joe <", to: "Jo <",
		want: "fail signature did not verify"},
	{why: "RFC 8463: a= and k= differ", tags: with("a=ed25519-sha256"),
		want: "permerror the key is not for the algorithm of a="},
	{why: "RFC 8463: a key of wrong length", tags: with("a=ed25519-sha256", "s=ed44"),
		want: "permerror key record: p= is not an ed25519 key"},
	{why: "RFC 8301 3.2: 1024 bits", tags: with("s=rsa1024"), want: "pass"},
	{why: "RFC 8301 3.2: fewer", tags: with("s=rsa1016"),
		want: "policy RSA key under 1024 bits (RFC 8301)"},
	{why: "RFC 8301 3.2: more than verifiers need to take", tags: with("s=huge"),
		want: "policy RSA key over 8192 bits"},
	{why: "erratum 3017: RSAPublicKey", tags: with("s=pkcs1"), want: "pass"},
	{why: "3.6.1 p=: octets behind the key, as OpenSSL reads it", tags: with("s=tail"), want: "pass"},
	{why: "3.6.1: p= alone", tags: with("s=bare"), want: "pass"},
	{why: "3.6.1: a final semicolon", tags: with("s=trailing"), want: "pass"},
	{why: "3.6.1: blanks, notes", tags: with("s=blanks"), want: "pass"},
	{why: "3.6.1: unknown tags", tags: with("s=extra"), want: "pass"},
	{why: "3.6.1: lists of h= and s=", tags: with("s=both"), want: "pass"},
	{why: "3.6.1 s=: all services", tags: with("s=star"), want: "pass"},
	{why: "3.6.1 h=: another hash", tags: with("s=sha1only"),
		want: "permerror the key is not for the hash of a="},
	{why: "3.6.1 s=: another service", tags: with("s=tlsrpt"), want: "permerror the key is not for mail"},
	{why: "3.6.1 s=: no service", tags: with("s=noservice"), want: "permerror the key is not for mail"},
	{why: "3.6.1 h=: no hash", tags: with("s=nohash"),
		want: "permerror the key is not for the hash of a="},
	{why: "3.6.1 t=y: the result is the same", tags: with("s=testing"), want: "pass"},
	{why: "3.6.1 p=: revoked", tags: with("s=revoked"), want: "fail key revoked"},
	{why: "3.6.1 p=: missing", tags: with("s=nokey"), want: "permerror key record: p= is missing"},
	{why: "3.6.1 p=: no base64", tags: with("s=nobase64"),
		want: "permerror key record: p= is not base64"},
	{why: "3.6.1 p=: no key", tags: with("s=noder"), want: "permerror key record: p= is not an RSA key"},
	{why: "3.6.1 v=: not first, as everybody reads it", tags: with("s=notfirst"), want: "pass"},
	{why: "3.6.1 v=: another", tags: with("s=v2"), want: "permerror key record: not of version DKIM1"},
	{why: "3.6.1 k=: unknown", tags: with("s=ecdsa"), want: "permerror key record: unknown key type"},
	{why: "3.6.1: no tag list", tags: with("s=notags"), want: "permerror key record: not a tag list"},
	{why: "3.6.1: a tag twice", tags: with("s=twice"), want: "permerror key record: a tag occurs twice"},
	{why: "6.1.2: no key", tags: with("s=missing"), want: "permerror no key record"},
	{why: "6.1.2: another key", tags: with("s=other"), want: "fail signature did not verify"},
	{why: "6.1.2: DNS is in trouble", tags: with("s=broken"), want: "temperror key look-up failed"},
	{why: "DNS trouble does not matter to what fails anyway", tags: with("s=broken"), from: "you?",
		to: "You?", want: "fail body hash did not verify"},
	{why: "a CR within a signed field", from: "world", to: "wor\rld",
		want: "neutral CR within a line of a signed field"},
	{why: "a CR within the body", from: "there", to: "the\rre",
		want: "neutral CR within a line of the body"},
}
