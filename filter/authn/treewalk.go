package authn

import (
	"strings"

	"postmend/filter/domain"
)

// maxWalk is how many names a tree walk asks at most (RFC 9989 section 4.10).
const maxWalk = 8

// walkNames are the domains whose _dmarc name a tree walk asks, the longest first: the domain itself and all
// above it; below seven labels none but the domain itself (RFC 9989 section 4.10).
func walkNames(domain string) []string {
	names := []string{domain}
	dots := strings.Count(domain, ".")
	for rest := domain; dots > 0; dots-- {
		_, rest, _ = strings.Cut(rest, ".")
		if dots < maxWalk {
			names = append(names, rest)
		}
	}
	return names
}

// view is what is known of DNS, or assumed for the moment: the DMARC records by domain, and whether the
// author domain exists.
type view struct {
	records map[string]*Record
	gone    bool
}

// organisational selects the organisational domain of a domain by the tree walk (RFC 9989 section 4.10.2),
// and gives the domain with psd=y that ended the walk, if one did.
func (v *view) organisational(domain string) (organisational, suffix string) {
	organisational = domain
	for _, name := range walkNames(domain) {
		r := v.records[name]
		switch {
		case r == nil:
		case r.NotPublicSuffix:
			return name, ""
		case r.PublicSuffix && name == domain:
			return domain, ""
		case r.PublicSuffix:
			return oneLabelMore(domain, name), name
		default:
			organisational = name
		}
	}
	return organisational, ""
}

// oneLabelMore is the domain directly below parent on the way to domain.
func oneLabelMore(domain, parent string) string {
	above := strings.TrimSuffix(domain, "."+parent)
	return above[strings.LastIndexByte(above, '.')+1:] + "." + parent
}

// applied is the policy that one of the two ways of finding it comes to.
type applied struct {
	record *Record // nil: DMARC does not apply
	domain string  // where it was found
	policy Policy
	asked  Policy // the strictest policy that receivers apply, see DMARC.MayApply
}

// byTree finds the policy by the tree walk: that of the author domain, of its organisational domain, or of
// the public suffix domain above (RFC 9989 section 4.10.1).
func (v *view) byTree(author string) applied {
	organisational, suffix := v.organisational(author)
	a := v.first(author, organisational, suffix)
	if a.record != nil && a.domain != author && v.gone && a.record.Nonexistent != "" {
		a.policy = a.record.Nonexistent
	}
	return a.tested()
}

// byList finds the policy as receivers do that go by the public suffix list: that of the author domain or of
// its organisational domain, without np= (RFC 7489 section 6.6.3). t=y applies, because the owner asked for
// it.
func (v *view) byList(author string) applied {
	return v.first(author, domain.Organisational(author)).tested()
}

// first takes the record of the author domain, or else the first of the other domains that has one: p= is for
// that domain itself, sp= for those below it.
func (v *view) first(author string, others ...string) applied {
	for _, domain := range append([]string{author}, others...) {
		r := v.records[domain]
		if r == nil {
			continue
		}
		if r.Policy == "" {
			return applied{}
		}
		a := applied{record: r, domain: domain, policy: r.Policy}
		if domain != author && r.Subdomains != "" {
			a.policy = r.Subdomains
		}
		return a
	}
	return applied{}
}

func (a applied) tested() applied {
	if a.record == nil {
		return a
	}
	a.asked = stricter(a.policy, a.record.Perhaps)
	if a.record.Testing {
		a.policy = a.policy.lowered()
	}
	return a
}

// strict tells whether the record asks for strict alignment of an identifier (RFC 9989 section 4.7).
func (a applied) strict(id identifier) bool {
	if id.isSPF {
		return a.record.StrictSPF
	}
	return a.record.StrictDKIM
}

// aligned tells whether an identifier is aligned with the author domain under every way that finds a policy.
func (v *view) aligned(author string, id identifier, tree, list applied) bool {
	if id.domain == author {
		return true
	}
	if tree.record != nil {
		ours, _ := v.organisational(author)
		theirs, _ := v.organisational(id.domain)
		if tree.strict(id) || ours != theirs {
			return false
		}
	}
	return list.record == nil ||
		!list.strict(id) && domain.Organisational(author) == domain.Organisational(id.domain)
}

// judge evaluates DMARC on what the view shows. Identifiers that are pending count as passed if benefit is
// true.
func (v *view) judge(author string, ids []identifier, benefit bool) DMARC {
	d := DMARC{Status: None, Domain: author}
	tree, list := v.byTree(author), v.byList(author)
	switch {
	case tree.record == nil && list.record == nil:
		d.Organisational = domain.Organisational(author)
		return d
	case tree.record == nil:
		d.Organisational = domain.Organisational(author)
	default:
		d.Organisational, _ = v.organisational(author)
	}
	applies := tree
	if list.policy.strictness() > tree.policy.strictness() {
		applies = list
	}
	d.Status, d.Policy, d.PolicyName = Fail, applies.policy, "_dmarc."+applies.domain
	d.MayApply = stricter(tree.asked, list.asked)
	for _, id := range ids {
		switch {
		case !v.aligned(author, id, tree, list):
		case id.pending && !benefit:
			d.Pending = append(d.Pending, id.label)
		default:
			d.AlignedBy = append(d.AlignedBy, id.label)
			d.Status = Pass
		}
	}
	return d
}
