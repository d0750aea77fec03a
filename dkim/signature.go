package dkim

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds on a signature field. Ordinary signatures are far below them.
const (
	maxTags          = 100  // of a tag list
	maxSignedNames   = 1000 // of h=
	maxNameLength    = 998  // octets of a name in h=: a line cannot hold more (RFC 5322 section 2.1.1)
	maxSignature     = 1024 // octets of b=: an RSA key of 8192 bits
	maxIdentity      = 512  // octets of i=
	maxAlgorithmName = 40   // octets of an unknown a= that are reported
)

// problem is a verdict other than pass, in the words of RFC 8601, and why. Its reason is printable ASCII.
type problem struct {
	status Status
	reason string
}

func permError(format string, args ...any) *problem {
	return &problem{PermError, fmt.Sprintf(format, args...)}
}

// tag is one tag of a tag list: its value without the white space around it, and the place of the value
// with that white space.
type tag struct {
	value      []byte
	start, end int
}

// parseTags reads a tag list (RFC 6376 section 3.2). It allows 8-bit octets, for RFC 8616; whoever uses a
// value checks it.
func parseTags(list []byte) (map[string]tag, *problem) {
	tags := map[string]tag{}
	for start := 0; start < len(list); {
		end := len(list)
		if n := bytes.IndexByte(list[start:], ';'); n >= 0 {
			end = start + n
		}
		spec := list[start:end]
		name, value, found := bytes.Cut(spec, []byte("="))
		switch name = trimFWS(name); {
		case !found && len(name) == 0 && end == len(list):
			return tags, nil // blanks after the last semicolon
		case !found || !isTagName(name):
			return nil, permError("not a tag list")
		case hasControl(value):
			return nil, permError("control character in a tag")
		}
		if _, twice := tags[string(name)]; twice {
			return nil, permError("a tag occurs twice")
		}
		if len(tags) == maxTags {
			return nil, permError("more than %d tags", maxTags)
		}
		tags[string(name)] = tag{trimFWS(value), end - len(value), end}
		start = end + 1
	}
	return tags, nil
}

// isTagName also allows hyphens: the RFC does not, but every other verifier does.
func isTagName(name []byte) bool {
	for i, c := range name {
		isLetter := 'a' <= lower(c) && lower(c) <= 'z'
		if !isLetter && (i == 0 || c != '_' && c != '-' && (c < '0' || '9' < c)) {
			return false
		}
	}
	return len(name) > 0
}

// isFWS takes each line end within a field for a fold (RFC 6376 section 2.8); SplitHeader guarantees that.
func isFWS(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimFWS(b []byte) []byte { return bytes.Trim(b, " \t\r\n") }

// withoutFWS copies b, and drops all folding white space.
func withoutFWS(b []byte) []byte {
	kept := make([]byte, 0, len(b))
	for _, c := range b {
		if !isFWS(c) {
			kept = append(kept, c)
		}
	}
	return kept
}

func hasControl(b []byte) bool {
	for _, c := range b {
		if c < ' ' && !isFWS(c) || c == 0x7f {
			return true
		}
	}
	return false
}

// form tells apart the fields that hold a signature as a tag list.
type form struct {
	version  bool // v=1 is wanted: DKIM-Signature
	identity bool // i= is an identity: DKIM-Signature. An instance in ARC (RFC 8617 section 4.1.2).
	message  bool // c=, h= and bh= are wanted: all but ARC-Seal
}

var (
	dkimSignature       = form{version: true, identity: true, message: true}
	arcMessageSignature = form{message: true}
	arcSeal             = form{}
)

// signature is a parsed signature field. Its texts are safe to print.
type signature struct {
	field          Field
	tags           map[string]tag
	bStart, bEnd   int // of the value of b= in field
	algorithm      string
	header, body   Canonicalization
	domain         string
	selector       string
	identity       string
	identityDomain string
	names          []string // h= in lower case, with repetitions
	bodyHash       []byte
	value          []byte // of b=, decoded
	text           string // of b=, without white space
	limited        bool
	limit          int64 // l=
	signedAt       int64 // t= in seconds since 1970, -1 if it is missing
	expiresAt      int64 // x=
}

// parseSignature reads a signature field (RFC 6376 section 6.1.1). If there is a problem, it returns as much
// as it could read.
func parseSignature(field Field, f form) (*signature, *problem) {
	s := &signature{field: field}
	tags, p := parseTags(field.Value())
	if p != nil {
		return s, p
	}
	s.tags = tags
	steps := []func(map[string]tag, form) *problem{s.readSigner, s.readAlgorithm, s.readValue, s.readTimes}
	if f.message {
		steps = append(steps, s.readNames, s.readBody)
	}
	for _, read := range steps {
		// The first problem counts. The rest is read all the same, for reports.
		if found := read(tags, f); p == nil {
			p = found
		}
	}
	return s, p
}

// readSigner reads v=, d=, s=, i= and q=.
func (s *signature) readSigner(tags map[string]tag, f form) *problem {
	if v, found := tags["v"]; f.version && (!found || string(v.value) != "1") {
		return permError("v= is not 1")
	}
	domain, selector := string(tags["d"].value), string(tags["s"].value)
	if !isDomainName(domain) {
		return permError("d= is not a domain name")
	}
	s.domain = domain
	if !isDomainName(selector) || !isDomainName(selector+"._domainkey."+domain) {
		return permError("s= is not a selector")
	}
	s.selector = selector
	if q, found := tags["q"]; found && !listHas(q.value, "dns/txt") {
		return permError("q= has no known query method")
	}
	if f.identity {
		return s.readIdentity(tags)
	}
	s.identityDomain = domain
	return nil
}

// readIdentity reads i=, whose domain is that of d= or below it. Its quoted-printable encoding is kept.
func (s *signature) readIdentity(tags map[string]tag) *problem {
	s.identity, s.identityDomain = "@"+s.domain, s.domain
	i, found := tags["i"]
	if !found {
		return nil
	}
	identity := string(withoutFWS(i.value))
	at := strings.LastIndexByte(identity, '@')
	if at < 0 || len(identity) > maxIdentity || !isPrintable(identity) || !isDomainName(identity[at+1:]) {
		return permError("i= is not an identity")
	}
	domain := identity[at+1:]
	if !strings.EqualFold(domain, s.domain) && !hasSuffixFold(domain, "."+s.domain) {
		return permError("i= is not in the domain of d=")
	}
	s.identity, s.identityDomain = identity, domain
	return nil
}

// hasSuffixFold is for domain names, which are ASCII here.
func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(s[len(s)-len(suffix):], suffix)
}

func isPrintable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// readAlgorithm reads c= and a=.
func (s *signature) readAlgorithm(tags map[string]tag, f form) *problem {
	if p := s.readForms(tags, f); p != nil {
		return p
	}
	algorithm := string(tags["a"].value)
	switch algorithm {
	case "rsa-sha256", "ed25519-sha256":
		s.algorithm = algorithm
		return nil
	case "rsa-sha1":
		s.algorithm = algorithm
		return permError("sha1 is not accepted (RFC 8301)")
	case "":
		return permError("a= is missing")
	}
	if len(algorithm) <= maxAlgorithmName && isToken(algorithm) {
		s.algorithm = algorithm
	}
	return permError("a= has an unknown algorithm")
}

// readForms reads c=. An ARC-Seal has none: it is relaxed (RFC 8617 section 4.1.3).
func (s *signature) readForms(tags map[string]tag, f form) *problem {
	if !f.message {
		s.header = Relaxed
		return nil
	}
	c := string(tags["c"].value)
	if _, found := tags["c"]; !found {
		c = string(Simple)
		if !f.identity {
			c = "relaxed/relaxed" // not in RFC 8617, but in its authors' test suite
		}
	}
	header, body, two := strings.Cut(c, "/")
	if s.header, s.body = Canonicalization(header), Canonicalization(body); !two {
		s.body = Simple // RFC 6376 section 3.5: so for c=relaxed, too
	}
	for _, c := range []*Canonicalization{&s.header, &s.body} {
		if *c != Simple && *c != Relaxed {
			s.header, s.body = "", ""
			return permError("c= has an unknown canonicalization")
		}
	}
	return nil
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if isLetter := 'a' <= lower(c) && lower(c) <= 'z'; !isLetter && c != '-' && (c < '0' || '9' < c) {
			return false
		}
	}
	return s != ""
}

// readValue reads b=.
func (s *signature) readValue(tags map[string]tag, _ form) *problem {
	b, found := tags["b"]
	if !found {
		return permError("b= is missing")
	}
	colon := len(s.field) - len(s.field.Value())
	s.bStart, s.bEnd = colon+b.start, colon+b.end
	text := withoutFWS(b.value)
	if base64.StdEncoding.DecodedLen(len(text)) > maxSignature+2 {
		return permError("b= is too long")
	}
	value, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(value) == 0 {
		return permError("b= is not base64")
	}
	s.value, s.text = value, string(text)
	return nil
}

// readTimes reads t= and x=.
func (s *signature) readTimes(tags map[string]tag, _ form) *problem {
	s.signedAt, s.expiresAt = -1, -1
	for name, at := range map[string]*int64{"t": &s.signedAt, "x": &s.expiresAt} {
		value, found := tags[name]
		if !found {
			continue
		}
		var isNumber bool
		if *at, isNumber = parseNumber(value.value); !isNumber {
			return permError("t= or x= is not a time")
		}
	}
	if s.signedAt >= 0 && s.expiresAt >= 0 && s.expiresAt <= s.signedAt {
		return permError("x= is not after t=") // RFC 6376 section 3.5
	}
	return nil
}

// parseNumber reads 1 to 76 digits (RFC 6376 section 3.5, l=). A number that is too large becomes the largest
// one.
func parseNumber(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 76 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || '9' < c {
			return 0, false
		}
		if digit := int64(c - '0'); n > (math.MaxInt64-digit)/10 {
			n = math.MaxInt64
		} else {
			n = n*10 + digit
		}
	}
	return n, true
}

// readNames reads h=.
func (s *signature) readNames(tags map[string]tag, _ form) *problem {
	h := tags["h"].value
	if bytes.Count(h, []byte(":")) >= maxSignedNames {
		return permError("h= has more than %d names", maxSignedNames)
	}
	var names []string
	hasFrom := false
	for name := range bytes.SplitSeq(h, []byte(":")) {
		if name = trimFWS(name); len(name) == 0 {
			continue // every verifier ignores an empty name
		}
		if !isFieldName(name) {
			return permError("h= contains an invalid field name")
		}
		names = append(names, strings.ToLower(string(name)))
		hasFrom = hasFrom || names[len(names)-1] == "from"
	}
	if !hasFrom {
		return permError("From: is not signed") // RFC 6376 section 5.4
	}
	s.names = names
	return nil
}

func isFieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) <= maxNameLength
}

// readBody reads bh= and l=.
func (s *signature) readBody(tags map[string]tag, _ form) *problem {
	if l, found := tags["l"]; found {
		s.limited = true
		var isNumber bool
		if s.limit, isNumber = parseNumber(l.value); !isNumber {
			return permError("l= is not a length")
		}
	}
	text := withoutFWS(tags["bh"].value)
	hash, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(hash) == 0 {
		return permError("bh= is missing or not base64")
	}
	s.bodyHash = hash
	return nil
}

// listHas looks for a value in a list with colons.
func listHas(list []byte, wanted string) bool {
	for value := range bytes.SplitSeq(list, []byte(":")) {
		if string(trimFWS(value)) == wanted {
			return true
		}
	}
	return false
}
