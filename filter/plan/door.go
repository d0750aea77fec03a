package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"postmend/filter/authn"
	"postmend/filter/cause"
)

// RefusedAtDoor gives the refusal of a message from outside, nil if it goes on.
func (p *Policy) RefusedAtDoor(env *Envelope, msg Facts, isOwnAuthor func(string) bool) *cause.Failure {
	d := msg.Proven.DMARC
	if msg.Authentic() {
		return nil
	}
	couldBeStrict := d.Policy.IsStrict() || d.Status == authn.TempError && d.Policy == ""
	forOwn := p.dmarc.OnOwnDomainForgery
	refusesOwn := forOwn == "reject" || forOwn == "policy" && couldBeStrict
	refusesAll := p.dmarc.OnDMARCFail == "reject" && couldBeStrict
	if !refusesOwn && !refusesAll {
		return nil
	}
	isOwn := func(aligned func(string) bool) bool {
		return p.claims(env, aligned) || slices.ContainsFunc(msg.Authors, isOwnAuthor)
	}
	switch {
	case d.Status == authn.TempError && msg.Patient && (refusesAll || isOwn(msg.couldAlign)):
		f := cause.DNSTrouble(d.Reason)
		f.Reason = "DNS did not answer for " + msg.claimedDomains() +
			", so this message cannot be authenticated now. Please try again later."
		return f
	case d.Status == authn.TempError: // it is not known to fail
		return nil
	case refusesOwn && isOwn(msg.aligns):
		return withFindings(cause.OwnDomainForged.Failure(nil, msg.claimedDomains()), msg)
	case refusesAll && p.mayBeVouchedFor(env, msg): // the filter decides
		return nil
	case refusesAll:
		return withFindings(cause.DMARCFailed.Failure(nil, msg.claimedDomains(), d.Policy), msg)
	}
	return nil
}

// mayBeVouchedFor tells whether somebody vouches for the author, or DNS may still tell that.
func (p *Policy) mayBeVouchedFor(env *Envelope, msg Facts) bool {
	v := p.vouch(env, msg)
	return v.why.Cause != 0 || v.trouble != ""
}

// withFindings tells the sender's postmaster what the message lacked.
func withFindings(f *cause.Failure, msg Facts) *cause.Failure {
	spf := msg.Proven.SPF
	found := "SPF: " + string(spf.Status)
	if spf.Domain != "" {
		found += " for " + shortName(spf.Domain)
	}
	var signers []string
	for _, v := range msg.Proven.DKIM[:min(len(msg.Proven.DKIM), 2)] {
		signers = append(signers, fmt.Sprintf("%s for %s", v.Status, shortName(v.Domain)))
	}
	if len(signers) == 0 {
		signers = []string{"no signature"}
	}
	f.Reason += fmt.Sprintf(" (%s; DKIM: %s; policy: %s)", found, strings.Join(signers, ", "),
		cmp.Or(msg.Proven.DMARC.Policy, authn.PolicyNone))
	return f
}
