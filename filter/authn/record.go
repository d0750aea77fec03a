package authn

import "strings"

// Policy is what a domain's owner asks receivers to do with mail that fails DMARC. The zero value: no owner asks for anything.
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
}

// maxRecord bounds what is read of a record, in octets. Real ones have some hundred.
const maxRecord = 16 << 10

// ParseRecord reads a TXT record. It is false if it is no DMARC record: anything that does not begin with v=DMARC1. Unknown tags and
// values that make no sense are passed over (RFC 9989 section 4.8). Of a tag that occurs twice the last counts, as with most receivers.
func ParseRecord(text string) (Record, bool) {
	if len(text) > maxRecord {
		text = text[:maxRecord]
	}
	version, rest, _ := strings.Cut(text, ";")
	if name, value, ok := cutTag(version); !ok || name != "v" || value != "DMARC1" || strings.IndexAny(version, " \t") == 0 {
		return Record{}, false
	}
	r := Record{Policy: PolicyNone} // without p=, section 4.7
	broken, reports := false, false
	for tag := range strings.SplitSeq(rest, ";") {
		name, value, ok := cutTag(tag)
		if !ok {
			continue
		}
		switch name {
		case "p":
			r.Policy = parsePolicy(value)
			broken = broken || r.Policy == ""
		case "sp":
			r.Subdomains = parsePolicy(value)
			broken = broken || r.Subdomains == ""
		case "np":
			r.Nonexistent = parsePolicy(value)
			broken = broken || r.Nonexistent == ""
		case "rua":
			reports = hasURI(value)
		case "adkim":
			r.StrictDKIM = strings.EqualFold(value, "s")
		case "aspf":
			r.StrictSPF = strings.EqualFold(value, "s")
		case "t":
			r.Testing = strings.EqualFold(value, "y")
		case "psd":
			r.PublicSuffix, r.NotPublicSuffix = strings.EqualFold(value, "y"), strings.EqualFold(value, "n")
		}
	}
	if broken { // RFC 9989 section 4.10.1
		r.Policy, r.Subdomains, r.Nonexistent = "", "", ""
		if reports {
			r.Policy = PolicyNone
		}
	}
	return r, true
}

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
		if ok && rest != "" && scheme != "" && strings.Trim(strings.ToLower(scheme), "abcdefghijklmnopqrstuvwxyz0123456789+-.") == "" {
			return true
		}
	}
	return false
}

// findRecord picks the DMARC record of a name's TXT records. Several are none (RFC 9989 section 4.10 step 2).
func findRecord(texts []string) *Record {
	var found *Record
	for _, text := range texts {
		if r, ok := ParseRecord(text); ok {
			if found != nil {
				return nil
			}
			found = &r
		}
	}
	return found
}
