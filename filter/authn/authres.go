package authn

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"postmend/dkim"
	"postmend/filter/domain"
)

// AuthRes is an Authentication-Results field (RFC 8601 section 2.2).
type AuthRes struct {
	ID      string // authserv-id: who checked; in lower case, unquoted
	Results []Result
}

// Result is what one method found. Its texts are unquoted; those of a field that was parsed are whatever
// their author wrote, without CR, LF and NUL.
type Result struct {
	Method string // in lower case, without version
	Status Status // in lower case; may be none of the words known here
	Reason string
	Props  []Prop
}

// Prop is a property of a result, such as header.d=example.org.
type Prop struct{ Type, Name, Value string }

// Prop gives the value of the first property with a name such as "header.d"; "" if there is none.
func (r Result) Prop(name string) string {
	for _, p := range r.Props {
		if p.Type+"."+p.Name == name {
			return p.Value
		}
	}
	return ""
}

const (
	maxLine       = 78  // octets of a line, where a fold is possible (RFC 5322 section 2.1.1)
	maxValue      = 260 // octets of a value that is written, above any domain name; longer ones are cut
	maxSignatures = 20  // results for signatures that are written
)

// Format writes the value of an Authentication-Results field, without name and final line end: authserv-id,
// then spf, dkim, dmarc and arc. Each result begins a line; folds are CRLF and a tab; there are no comments.
// With nothing checked it says none.
//
// Whatever the values are, they stay within their place: characters that are not printable ASCII become
// question marks, and what is not a token is quoted. With "i=1; " before it, the value is that of an
// ARC-Authentication-Results field.
func Format(authservID string, r Results) string {
	var f folder
	f.b.WriteString(pvalue(authservID))
	results := r.list()
	for _, result := range results {
		f.result(result)
	}
	if len(results) == 0 {
		f.b.WriteString("; none")
	}
	return f.b.String()
}

// list gives the results in the form of a field.
func (r Results) list() []Result {
	var list []Result
	if r.SPF.Status != "" {
		spf := Result{Method: "spf", Status: r.SPF.Status, Reason: r.SPF.Reason}
		if r.SPF.Domain != "" {
			name := "mailfrom"
			if r.SPF.Identity == "helo" {
				name = "helo"
			}
			spf.Props = []Prop{{"smtp", name, r.SPF.Domain}}
		}
		list = append(list, spf)
	}
	for _, v := range r.DKIM[:min(len(r.DKIM), maxSignatures)] {
		list = append(list, signatureResult(v))
	}
	if len(r.DKIM) == 0 && len(list) > 0 {
		list = append(list, Result{Method: "dkim", Status: None})
	}
	if r.DMARC.Status != "" {
		dmarc := Result{Method: "dmarc", Status: r.DMARC.Status, Reason: r.DMARC.Reason}
		if r.DMARC.Domain != "" {
			dmarc.Props = append(dmarc.Props, Prop{"header", "from", r.DMARC.Domain})
		}
		if r.DMARC.Policy != "" {
			dmarc.Props = append(dmarc.Props, Prop{"policy", "dmarc", string(r.DMARC.Policy)})
		}
		list = append(list, dmarc)
	}
	if r.ARC.Status != "" {
		list = append(list, chainResult(r.ARC))
	}
	return list
}

// chainResult has the properties of RFC 8617 section 10.2.
func chainResult(a ARC) Result {
	r := Result{Method: "arc", Status: Status(a.Status), Reason: a.Reason}
	if a.OldestPass != nil {
		r.Props = append(r.Props, Prop{"header", "oldest-pass", strconv.Itoa(*a.OldestPass)})
	}
	if a.RemoteIP.IsValid() {
		r.Props = append(r.Props, Prop{"smtp", "remote-ip", a.RemoteIP.String()})
	}
	return r
}

// signatureResult has enough of b= to tell signatures of a domain apart (RFC 6008 section 4).
func signatureResult(v dkim.Verification) Result {
	r := Result{Method: "dkim", Status: Status(v.Status), Reason: v.Reason}
	for _, p := range []Prop{
		{"header", "d", v.Domain}, {"header", "i", v.Identity}, {"header", "s", v.Selector},
		{"header", "a", v.Algorithm}, {"header", "b", v.Signature[:min(len(v.Signature), 8)]},
	} {
		if p.Value != "" {
			r.Props = append(r.Props, p)
		}
	}
	return r
}

// folder writes words and begins a new line where one would get too long.
type folder struct {
	b      strings.Builder
	column int
}

func (f *folder) result(r Result) {
	f.b.WriteString(";\r\n\t")
	f.column = 8
	f.word(keyword(r.Method) + "=" + keyword(string(r.Status)))
	if r.Reason != "" && r.Status != Pass && r.Status != None {
		f.word("reason=" + quoted(r.Reason))
	}
	for _, p := range r.Props {
		f.word(keyword(p.Type) + "." + keyword(p.Name) + "=" + pvalue(p.Value))
	}
}

func (f *folder) word(w string) {
	switch {
	case f.column == 8:
	case f.column+1+len(w) >= maxLine:
		f.b.WriteString("\r\n\t")
		f.column = 8
	default:
		f.b.WriteByte(' ')
		f.column++
	}
	f.b.WriteString(w)
	f.column += len(w)
}

// keyword makes a word of letters, digits and hyphens (RFC 5321 section 4.1.2); others become hyphens.
func keyword(s string) string {
	s = strings.Map(func(r rune) rune {
		if isAlnum(r) || r == '-' {
			return r
		}
		return '-'
	}, s[:min(len(s), 40)])
	if s == "" {
		return "unknown"
	}
	return s
}

func isAlnum(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// pvalue writes a value as it is if it is a token, or a domain or address made of such; else quoted
// (RFC 8601 section 2.2).
func pvalue(s string) string {
	s = printable(s, maxValue)
	local, domain, hasAt := strings.Cut(s, "@")
	if !hasAt {
		local, domain = "", s
	}
	if isToken(domain) && (local == "" || isToken(local)) {
		return s
	}
	return quoted(s)
}

// isToken is RFC 2045 section 5.1's token, without the apostrophe and the like that nobody needs bare.
func isToken(s string) bool {
	for _, r := range s {
		if !isAlnum(r) && !strings.ContainsRune("-._+", r) {
			return false
		}
	}
	return s != ""
}

// quoted writes a quoted-string (RFC 5322 section 3.2.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable(s, maxValue)) + `"`
}

// Names tells whether a has a result by a method, such as "dkim".
func (a *AuthRes) Names(method string) bool {
	return a != nil && slices.ContainsFunc(a.Results, func(r Result) bool { return r.Method == method })
}

// Above is what two fields say together, of which a stands above the other: that one counts for methods only
// that a does not name. A nil a says nothing.
func (a *AuthRes) Above(below *AuthRes) *AuthRes {
	if a == nil {
		return below
	}
	both := *a
	for _, r := range below.Results {
		if !a.Names(r.Method) && len(both.Results) < maxResults {
			both.Results = append(slices.Clip(both.Results), r)
		}
	}
	return &both
}

// FromTrusted turns what somebody says whom we believe back into results; words that are not known to us
// count as None. Whether the field is of whom it claims to be is the caller's concern.
func FromTrusted(a *AuthRes) Results {
	var results Results
	for _, r := range a.Results {
		switch r.Method {
		case "spf":
			if results.SPF.Identity != "mailfrom" { // a result for HELO may stand beside it
				results.SPF = trustedSPF(r)
			}
		case "dkim":
			if v := trustedSignature(r); v.Status != dkim.None && len(results.DKIM) < maxSignatures {
				results.DKIM = append(results.DKIM, v)
			}
		case "dmarc":
			results.DMARC = DMARC{Status: word(r.Status), Domain: domain.Name(r.Prop("header.from")),
				Policy: parsePolicy(r.Prop("policy.dmarc")), Reason: printable(r.Reason, 100)}
		case "arc":
			results.ARC = trustedChain(r)
		}
	}
	return results
}

func trustedSPF(r Result) SPF {
	spf := SPF{Status: word(r.Status), Identity: "mailfrom", Reason: printable(r.Reason, 100)}
	address := strings.Trim(r.Prop("smtp.mailfrom"), "<>")
	if address == "" && r.Prop("smtp.helo") != "" {
		spf.Identity, address = "helo", r.Prop("smtp.helo")
	}
	spf.Domain = domain.Name(address[strings.LastIndexByte(address, '@')+1:])
	return spf
}

// trustedSignature leaves the domain empty if only header.i is told, as by Gmail: d= may be any domain above
// that of i=.
func trustedSignature(r Result) dkim.Verification {
	v := dkim.Verification{Status: dkim.Status(word(r.Status)), Reason: printable(r.Reason, 100),
		Domain: domain.Name(r.Prop("header.d")), Identity: printable(r.Prop("header.i"), maxValue),
		Selector: printable(r.Prop("header.s"), 253), Algorithm: printable(r.Prop("header.a"), 40),
		Signature: printable(r.Prop("header.b"), 1000)}
	return v
}

// trustedChain is the zero value if the result does not describe a chain, and for temperror: then the chain
// is verified again.
func trustedChain(r Result) ARC {
	var a ARC
	switch status := word(r.Status); status {
	case None, Pass, Fail:
		a.Status, a.Reason = dkim.Status(status), printable(r.Reason, 100)
	default:
		return a
	}
	a.RemoteIP, _ = netip.ParseAddr(r.Prop("smtp.remote-ip"))
	oldest, err := strconv.Atoi(r.Prop("header.oldest-pass"))
	if err == nil && oldest >= 0 && a.Status == dkim.Pass {
		a.OldestPass = &oldest
	}
	return a
}

// word maps a result to one that we know. hardfail is an old name of fail (RFC 8601 section 2.7.2).
func word(s Status) Status {
	switch s {
	case Pass, Fail, SoftFail, Neutral, TempError, PermError, Status(dkim.Policy):
		return s
	case "hardfail":
		return Fail
	}
	return None
}
