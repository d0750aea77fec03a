package authn

import "strings"

// Policy is what a domain's owner asks receivers to do with mail that fails DMARC. The zero value is no
// policy at all.
type Policy string

// The policies of RFC 9989 section 4.7, in order of strictness.
const (
	PolicyNone       Policy = "none"
	PolicyQuarantine Policy = "quarantine"
	PolicyReject     Policy = "reject"
)

// strictness orders policies: none at all, none, quarantine, reject.
func (p Policy) strictness() int {
	switch p {
	case PolicyNone:
		return 1
	case PolicyQuarantine:
		return 2
	case PolicyReject:
		return 3
	}
	return 0
}

func stricter(a, b Policy) Policy {
	if b.strictness() > a.strictness() {
		return b
	}
	return a
}

// IsStrict tells whether the owner asks receivers to act: quarantine or reject.
func (p Policy) IsStrict() bool { return p == PolicyQuarantine || p == PolicyReject }

// lowered is the policy one step down, for t=y (RFC 9989 section 4.7).
func (p Policy) lowered() Policy {
	switch p {
	case PolicyReject:
		return PolicyQuarantine
	case PolicyQuarantine:
		return PolicyNone
	}
	return p
}

// Record is a DMARC policy record (RFC 9989 section 4.7). Tags that say where reports go are not kept.
type Record struct {
	Policy          Policy // p=; "" if the record is there but not to be applied
	Subdomains      Policy // sp=; "" if absent
	Nonexistent     Policy // np=; "" if absent
	StrictDKIM      bool   // adkim=s
	StrictSPF       bool   // aspf=s
	Testing         bool   // t=y
	PublicSuffix    bool   // psd=y
	NotPublicSuffix bool   // psd=n: the domain is an organisational domain, whatever is above it

	// Perhaps is the strictest policy in a record with a mistake, which some receivers apply all the same; ""
	// if there is no mistake in p=, sp= and np=.
	Perhaps Policy
}

// maxRecord bounds the octets of a record that are read. Real ones have some hundred.
const maxRecord = 16 << 10

// ParseRecord reads a TXT record. ok is false if it is not a DMARC record, because it does not begin with
// v=DMARC1. Unknown tags and invalid values are ignored (RFC 9989 section 4.8). Receivers differ on a tag
// that occurs twice: the stricter value counts.
func ParseRecord(text string) (Record, bool) {
	if len(text) > maxRecord {
		text = text[:maxRecord]
	}
	version, rest, _ := strings.Cut(text, ";")
	name, value, ok := cutTag(version)
	if !ok || name != "v" || value != "DMARC1" || strings.IndexAny(version, " \t") == 0 {
		return Record{}, false
	}
	r := Record{Policy: PolicyNone} // without p=, section 4.7
	broken, reports, untested, perhaps := false, false, false, Policy("")
	add := func(to Policy, value string) Policy {
		p := parsePolicy(value)
		broken = broken || p == ""
		perhaps = stricter(stricter(p, perhaps), parsePolicy(strings.TrimFunc(value, isNoLetter)))
		return stricter(p, to)
	}
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, ok := cutTag(tag)
		if !ok {
			continue
		}
		switch name {
		case "p":
			r.Policy = add(r.Policy, value)
		case "sp":
			r.Subdomains = add(r.Subdomains, value)
		case "np":
			r.Nonexistent = add(r.Nonexistent, value)
		case "rua":
			reports = reports || hasURI(value)
		case "adkim":
			r.StrictDKIM = r.StrictDKIM || strings.EqualFold(value, "s")
		case "aspf":
			r.StrictSPF = r.StrictSPF || strings.EqualFold(value, "s")
		case "t":
			r.Testing = strings.EqualFold(value, "y")
			untested = untested || !r.Testing
		case "psd":
			r.PublicSuffix, r.NotPublicSuffix = strings.EqualFold(value, "y"), strings.EqualFold(value, "n")
		default:
			if strings.TrimFunc(name, isNoLetter) == "p" { // some drop a no-break space
				r.Perhaps = stricter(r.Perhaps, parsePolicy(strings.TrimFunc(value, isNoLetter)))
			}
		}
	}
	r.Testing = r.Testing && !untested
	if broken { // RFC 9989 section 4.10.1
		r.Policy, r.Subdomains, r.Nonexistent = "", "", ""
		r.Perhaps = stricter(r.Perhaps, perhaps)
		if reports {
			r.Policy = PolicyNone
		}
	}
	return r, true
}

func isNoLetter(c rune) bool { return c < 'A' || 'Z' < c && c < 'a' || 'z' < c }

// cutTag cuts "name = value"; names are compared without case.
func cutTag(tag string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(tag, "=")
	return strings.ToLower(strings.Trim(name, " \t")), strings.Trim(value, " \t"), ok
}

func parsePolicy(value string) Policy {
	p := Policy(strings.ToLower(value))
	if p.strictness() == 0 {
		return ""
	}
	return p
}

// hasURI looks for one URI in a list (RFC 3986 section 3): a scheme, a colon, and something after it.
func hasURI(list string) bool {
	for uri := range strings.SplitSeq(list, ",") {
		scheme, rest, ok := strings.Cut(strings.Trim(uri, " \t"), ":")
		if ok && rest != "" && scheme != "" &&
			strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-.") == "" {
			return true
		}
	}
	return false
}

// findRecord picks the DMARC record of a name's TXT records; nil if none applies. Several are none (RFC 9989
// section 4.10 step 2). It is odd if there is something all the same that a receiver could take for one.
func findRecord(texts []string) (found *Record, odd bool) {
	several := false
	for _, text := range texts {
		r, ok := ParseRecord(text)
		switch {
		case !ok:
			odd = odd || resemblesRecord(text)
		case found != nil:
			several = true
		default:
			found = &r
		}
	}
	if several {
		return nil, true
	}
	return found, found == nil && odd || found != nil && found.Policy == ""
}

// resemblesRecord takes whatever speaks of DMARC or of a policy.
func resemblesRecord(text string) bool {
	text = strings.ToLower(text[:min(len(text), maxRecord)])
	return strings.Contains(text, "dmarc") || strings.Contains(text, string(PolicyReject)) ||
		strings.Contains(text, string(PolicyQuarantine))
}
