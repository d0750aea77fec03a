package authn

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"postmend/dkim"
	"postmend/filter/domain"
	"postmend/filter/domain/publicsuffix"
)

// DMARC is the result for the author domain, that of From:, and the policy that its owner asks for.
//
// Receivers find organisational domains in two ways: by RFC 9989's tree walk, or by the public suffix list,
// as RFC 7489 has it. We take the worse of both: Status is Pass only if an identifier is aligned under each
// way that finds a policy, and Policy is the stricter one. So nothing passes here that could fail elsewhere.
type DMARC struct {
	Status Status `json:"status"`           // None, Pass, Fail, TempError, PermError
	Domain string `json:"domain,omitempty"` // the author domain; "" if there is not exactly one

	Policy     Policy `json:"policy,omitempty"`      // after sp=, np= and t=y; "" if none applies or is known
	PolicyName string `json:"policy_name,omitempty"` // the name of its record, such as _dmarc.example.org

	// MayApply is the strictest policy that receivers may apply: those that go on without the answers that
	// are missing, that do not know t=y, or that read a record with an invalid sp= in another way.
	MayApply Policy `json:"-"`

	AlignedBy []string `json:"aligned_by,omitempty"` // what makes it pass: "spf", "dkim d=example.org"
	Pending   []string `json:"pending,omitempty"`    // what might, but DNS did not answer about it

	// Odd is set if Status is None although something is published that other receivers could take for a
	// DMARC record of Domain's.
	Odd bool `json:"odd_record,omitempty"`

	Organisational string `json:"organisational,omitempty"` // the organisational domain of Domain
	Reason         string `json:"reason,omitempty"`         // why it is not Pass, in a few printable words

	organisations []string // the organisational domains of all authors whose policy was looked up
	unknown       []string // domains above an author's that may be organisational: DNS did not answer
}

// Aligns tells whether a domain is below the organisational domain, by the tree walk, of an author domain, be
// it one of several.
func (d DMARC) Aligns(name string) bool { return d.above(d.organisations, name) }

// CouldAlign is Aligns, or where answers are missing that could make it so. That a top-level domain is
// organisational is not taken into account.
func (d DMARC) CouldAlign(name string) bool {
	return d.Aligns(name) || (d.Status == TempError || d.Status == PermError) && d.above(d.unknown, name)
}

func (d DMARC) above(names []string, name string) bool {
	return slices.ContainsFunc(names, func(above string) bool { return domain.Within(name, above) })
}

// Applied is the strictest policy that receivers may apply, as far as it is known.
func (d DMARC) Applied() Policy { return cmp.Or(d.MayApply, d.Policy) }

const (
	// MaxAuthors is how many author domains' policies are looked up.
	MaxAuthors     = 4
	maxIdentifiers = 16 // different domains that signed
	maxUnknown     = 2  // DNS names without answer that we look behind, see unsettled
)

// EvaluateDMARC evaluates DMARC for the domains of From: (RFC 9989 section 5.3), on results of SPF and DKIM.
//
// With no author domain, or several, there is nothing that could pass: the result is PermError, and of
// several domains (the first four) the strictest policy. TempError is for answers missing in DNS that could
// change Status or Policy, and for these only: a message that passes by one identifier passes, whatever
// became of the others.
func EvaluateDMARC(
	ctx context.Context, r *Resolver, authors []string, spf SPF, signatures []dkim.Verification,
) DMARC {
	domains, areNames := authorDomains(authors)
	all := DMARC{Status: PermError}
	switch {
	case len(authors) == 0:
		all.Reason = "From: has no domain"
	case !areNames:
		all.Reason = "From: contains an invalid domain name"
	case len(domains) > 1:
		all.Reason = "From: has several domains"
	default:
		return evaluate(ctx, r, domains[0], identifiers(spf, signatures))
	}
	// At the same time: a forger's domain that never answers must not use up the time of the others.
	found := make([]DMARC, min(len(domains), MaxAuthors))
	var evaluating sync.WaitGroup
	for i := range found {
		evaluating.Go(func() { found[i] = evaluate(ctx, r, domains[i], nil) })
	}
	evaluating.Wait()
	for _, d := range found {
		all.organisations = append(all.organisations, d.organisations...)
		all.unknown = append(all.unknown, d.unknown...)
		if d.Status == TempError {
			all.Status, all.Reason = TempError, d.Reason
		}
		if d.Policy.strictness() > all.Policy.strictness() {
			all.Policy, all.PolicyName = d.Policy, d.PolicyName
		}
		all.MayApply = stricter(all.MayApply, d.MayApply)
	}
	return all
}

// authorDomains makes domains comparable and drops repetitions. Of what is not a domain name, the name above
// it counts, whose policy a receiver may find; areNames tells that there is no such author.
func authorDomains(authors []string) (domains []string, areNames bool) {
	areNames = true
	for _, author := range authors {
		name := domain.Name(author)
		if name == "" {
			areNames = false
			name = domain.Above(author)
		}
		if name != "" && !slices.Contains(domains, name) {
			if domains = append(domains, name); len(domains) > MaxAuthors {
				break
			}
		}
	}
	return domains, areNames
}

// identifier is a domain that is authenticated, or could be if DNS had answered (pending).
type identifier struct {
	label   string
	domain  string
	isSPF   bool
	pending bool
}

// signerLabel is the label of a domain that signed.
func signerLabel(name string) string { return ofSigner + domain.Name(name) }

const ofSigner = "dkim d="

// IsAlignedSigner tells whether a signature of a domain is one by which DMARC passed.
func (d DMARC) IsAlignedSigner(name string) bool {
	return slices.Contains(d.AlignedBy, signerLabel(name))
}

// identifiers collects what RFC 9989 section 4.3 calls authenticated identifiers, each once, the passed ones
// first.
func identifiers(spf SPF, signatures []dkim.Verification) []identifier {
	var passed, pending []identifier
	add := func(id identifier, status Status) {
		id.domain = domain.Name(id.domain)
		same := func(other identifier) bool { return other.label == id.label && other.domain == id.domain }
		switch {
		case id.domain == "" || slices.ContainsFunc(passed, same):
		case status == Pass && len(passed) < maxIdentifiers:
			passed = append(passed, id)
		case status == TempError && len(pending) < maxIdentifiers && !slices.ContainsFunc(pending, same):
			id.pending = true
			pending = append(pending, id)
		}
	}
	add(identifier{label: "spf", domain: spf.Domain, isSPF: true}, spf.Status)
	for _, status := range []Status{Pass, TempError} {
		for _, s := range signatures {
			if Status(s.Status) == status {
				add(identifier{label: signerLabel(s.Domain), domain: s.Domain}, status)
			}
		}
	}
	return append(passed, pending...)
}

// lookups is what DNS says, as far as it answered.
type lookups struct {
	view
	failed  map[string]error // by domain
	odd     map[string]bool  // domains that publish something other than a record
	goneErr error            // whether the author domain exists could matter, and could not be found out
}

func newLookups() *lookups {
	known := view{records: map[string]*Record{}}
	return &lookups{view: known, failed: map[string]error{}, odd: map[string]bool{}}
}

// evaluate evaluates DMARC for one author domain.
func evaluate(ctx context.Context, r *Resolver, author string, ids []identifier) DMARC {
	l := newLookups()
	l.fetch(ctx, r, recordNames(author))
	var names []string
	for _, id := range ids {
		if l.couldAlign(author, id.domain) {
			names = append(names, walkNames(id.domain)...)
		}
	}
	l.fetch(ctx, r, names)
	l.findGone(ctx, r, author)

	d := l.judge(author, ids, false)
	d.Odd = d.Status == None && l.hasOdd(recordNames(author))
	d.organisations = []string{d.Organisational}
	for name := range l.failed {
		if domain.Within(author, name) && strings.Contains(name, ".") {
			d.unknown = append(d.unknown, name)
		}
	}
	if changed, known := l.unsettled(author, ids, d); changed {
		d = l.temporary(d, known)
	} else if d.Status == Fail {
		d.Reason = "nothing that passed is aligned with From:"
		if len(ids) == 0 {
			d.Reason = "neither SPF nor DKIM passed"
		}
	} else if d.Status == None {
		d.Reason = "no DMARC record applies"
		if d.Odd {
			d.Reason = "the DMARC record is invalid"
		}
	}
	return d
}

// recordNames are the domains whose DMARC records the two ways of finding a policy ask for.
func recordNames(author string) []string {
	return append(walkNames(author), domain.Organisational(author))
}

// prefetch looks up what EvaluateDMARC always needs, while SPF and DKIM are being checked.
func prefetch(ctx context.Context, r *Resolver, authors []string) {
	domains, _ := authorDomains(authors)
	var fetching sync.WaitGroup
	for _, author := range domains {
		fetching.Go(func() {
			l := newLookups()
			l.fetch(ctx, r, recordNames(author))
		})
	}
	fetching.Wait()
}

// fetch looks up the DMARC records of domains, side by side.
func (l *lookups) fetch(ctx context.Context, r *Resolver, domains []string) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	slices.Sort(domains)
	for _, domain := range slices.Compact(domains) {
		asking.Go(func() {
			texts, err := r.LookupTXT(ctx, "_dmarc."+domain)
			mu.Lock()
			defer mu.Unlock()
			if err != nil && !isNotFound(err) {
				l.failed[domain] = err
				return
			}
			l.records[domain], l.odd[domain] = findRecord(texts)
		})
	}
	asking.Wait()
}

// hasOdd tells whether one of the domains publishes what resembles a record and is not applied.
func (l *lookups) hasOdd(domains []string) bool {
	return slices.ContainsFunc(domains, func(domain string) bool { return l.odd[domain] })
}

// couldAlign tells whether the tree walk of a domain, other, matters: only if it is below the author's
// organisational domain. As long as that is unknown, a common top-level domain is enough.
func (l *lookups) couldAlign(author, other string) bool {
	if len(l.failed) > 0 {
		return author[strings.LastIndexByte(author, '.')+1:] == other[strings.LastIndexByte(other, '.')+1:]
	}
	organisational, _ := l.organisational(author)
	return domain.Within(other, organisational)
}

// findGone finds out whether the author domain exists, if its policy depends on it.
func (l *lookups) findGone(ctx context.Context, r *Resolver, author string) {
	gone := l.view
	gone.gone = true
	if l.byTree(author).policy == gone.byTree(author).policy {
		return
	}
	exists, err := r.Exists(ctx, author)
	l.gone, l.goneErr = err == nil && !exists, err
}

// unsettled tells whether missing answers could change the result, by trying what they could have been. Known
// is what does not depend on them.
func (l *lookups) unsettled(author string, ids []identifier, found DMARC) (changed bool, known DMARC) {
	known = found
	missing := slices.Sorted(maps.Keys(l.failed))
	if len(missing) > maxUnknown {
		return true, DMARC{Domain: author}
	}
	try := func(v *view) {
		for _, benefit := range []bool{false, true} {
			other := v.judge(author, ids, benefit)
			changed = changed || other.Status != found.Status || other.Policy != found.Policy
			if other.Policy != found.Policy {
				known = DMARC{Domain: author}
			}
		}
	}
	tryAnswers(&l.view, missing, try)
	if l.goneErr != nil {
		gone := l.view
		gone.gone = true
		tryAnswers(&gone, missing, try)
	}
	return changed, known
}

// tryAnswers calls try with each combination of answers that the missing names could have given.
func tryAnswers(v *view, missing []string, try func(*view)) {
	if len(missing) == 0 {
		try(v)
		return
	}
	name := missing[0]
	for _, r := range possible(name) {
		assumed := &view{records: maps.Clone(v.records), gone: v.gone}
		assumed.records[name] = r
		tryAnswers(assumed, missing[1:], try)
	}
}

// possible are the answers that differ in what follows from them. That a public suffix publishes anything but
// nothing or psd=y is not taken into account: it would be a mistake (RFC 9989 section 5.2), and the servers
// of a top-level domain are no reason to defer mail.
func possible(domain string) []*Record {
	psd := &Record{Policy: PolicyReject, PublicSuffix: true}
	if suffix, _ := publicsuffix.PublicSuffix(domain); suffix == domain {
		return []*Record{nil, psd}
	}
	return []*Record{nil, psd, {Policy: PolicyNone}, {Policy: PolicyReject},
		{Policy: PolicyReject, NotPublicSuffix: true, StrictDKIM: true, StrictSPF: true}}
}

// temporary is the result where answers are missing.
func (l *lookups) temporary(d, known DMARC) DMARC {
	d.Status, d.AlignedBy = TempError, nil
	d.Policy, d.PolicyName, d.Reason = known.Policy, known.PolicyName, "DNS did not answer about SPF or DKIM"
	if l.goneErr != nil {
		d.Reason = "DNS did not answer whether " + d.Domain + " exists"
	}
	for _, domain := range slices.Sorted(maps.Keys(l.failed)) {
		d.Reason = "DNS did not answer for _dmarc." + domain
		if errors.Is(l.failed[domain], ErrTooManyLookups) {
			d.Status, d.Reason = PermError, ErrTooManyLookups.Error()
			break
		}
	}
	return d
}
