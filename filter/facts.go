package filter

import (
	"errors"
	"slices"
	"time"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/config"
	"postmend/filter/domain"
	"postmend/filter/message"
)

// facts are what the plan needs to know about the message.
type facts struct {
	// authors are the canonical domains of the From: field.
	authors []string
	// oversized is set if the header was too long to be read.
	oversized bool
	// spam is the rule that the message matches; nil if none.
	spam *config.Spam
	// testimony is what the sealers of a chain say.
	testimony testimony
	// localAuthor is set if a table calls From: local, as far as that was asked.
	localAuthor bool
	// proven is the authentication of the message on arrival; its zero value proves nothing.
	proven proof
	// patient is set while DNS trouble may still keep the message in the queue.
	patient bool
	// cameWithUTF8 is set if the message may have a header in UTF-8.
	cameWithUTF8 bool
	// longestLine is in octets.
	longestLine int
	// occurrences counts the fields of the names that we may add, and of those that cleanup(8) drops.
	occurrences map[string]int
	// claimed counts the Authentication-Results that only claim to be ours.
	claimed int
	// redirected is the mailbox here by which Sieve sent the message on; "" if that is not known.
	redirected string
	// recalled is what the milter found; nil if nothing that is believed.
	recalled *recalled
	// mended is set if we have mended the message before.
	mended bool
	// unsignable says why no signature over the message would be valid. It is nil if one would be, or if none
	// is wanted.
	unsignable error
	// sealing is about the key for ARC, if mail may be sealed.
	sealing sealingKey
	// origin is where mail of our own side came from; nil for other mail.
	origin *origin
	// unsealable says why mail that is delivered here gets no seal of its arrival; nil if it does.
	unsealable error
	// unreadSealed is set if the milter has sealed a message whose header is too long to be read.
	unreadSealed bool
}

// couldAlign tells whether a receiver could find a domain aligned with From:, in relaxed mode, which the
// strict one implies. Receivers find organisational domains by the public suffix list or by the tree walk
// (RFC 9989 section 4.10.2): either is enough. Missing DNS answers, or more authors than are looked up, count
// as aligned, too.
func (f facts) couldAlign(name string) bool {
	mayAlign := func(author string) bool { return domain.MayAlign(author, name) }
	return f.aligns(name) || f.proven.DMARC.CouldAlign(name) ||
		name != "" && len(f.authors) > authn.MaxAuthors && slices.ContainsFunc(f.authors, mayAlign)
}

// aligns is couldAlign without what is unknown.
func (f facts) aligns(name string) bool {
	return alignedWithAny(name, f.authors) || f.proven.DMARC.Aligns(name)
}

// isStrict tells whether the domain of From: asks receivers to act on mail that fails DMARC.
func (f facts) isStrict() bool { return f.proven.DMARC.Policy.IsStrict() }

// authentic tells whether From: is authenticated.
func (f facts) authentic() bool { return f.proven.DMARC.Status == authn.Pass }

// facts gathers what the plan needs to know about the message.
func (f *Filter) facts(p *policy, env *Envelope, m *message.Message, proven proof) (facts, error) {
	known := facts{
		authors:      p.authors(env, m),
		oversized:    m.Oversized,
		proven:       proven,
		patient:      f.age(m).Abs() < time.Duration(f.config.Limits.DNSPatience),
		cameWithUTF8: m.CameWithUTF8(),
		longestLine:  m.LongestLine,
		occurrences:  map[string]int{},
		mended:       f.mendedBefore(m),
		origin:       env.origin,
		unsealable:   f.unsealable(),
		unreadSealed: f.isSealedUnread(m),
		recalled:     env.recalled,
		spam:         f.spamRule(m),
		testimony:    f.testimony(m, proven),
	}
	if o := env.origin; o != nil && o.outside && o.intact {
		known.redirected = p.redirectedFrom(m)
	}
	for _, field := range m.Header {
		if env.recalled.covers(field) {
			continue
		}
		for _, name := range [...]string{"dkim-signature", "authentication-results", "x-forwarded-to",
			"x-forwarded-for", "arc-authentication-results", "arc-message-signature", "arc-seal", sealField} {
			if field.Is(name) {
				known.occurrences[name]++
			}
		}
		for _, name := range droppedFields {
			if field.Is(name) {
				known.occurrences[name]++
			}
		}
		if f.claimsToBeOurs(field) {
			known.claimed++
		}
	}
	if err := f.learnToSign(&known, p, env, m); err != nil {
		return facts{}, err
	}
	return known, nil
}

// learnToSign finds out whether signatures would be valid, and which key seals, for mail that may get them.
func (f *Filter) learnToSign(known *facts, p *policy, env *Envelope, m *message.Message) error {
	isOurs := env.isOurs(p.trusted)
	if m.Oversized || len(f.config.DKIM.Keys) == 0 || !p.signs(env) {
		return nil
	}
	if !isOurs && p.sealer != "" {
		known.sealing = f.sealingKey()
	}
	if isOurs && env.Sender != "" && p.authorSigner(known.authors) == "" {
		return nil
	}
	known.unsignable = unsignable(m, f.config.MostKeys())
	if known.unsignable != nil && !errors.Is(known.unsignable, dkim.ErrUnsignable) {
		return known.unsignable
	}
	return nil
}

func alignedWithAny(name string, authors []string) bool {
	return slices.ContainsFunc(authors, func(author string) bool { return domain.Aligned(name, author) })
}

// authorSignatures are the valid ones of the author's organisation, whether its domain has a DMARC record or
// not.
func (f facts) authorSignatures() []dkim.Verification {
	return slices.DeleteFunc(slices.Clone(f.proven.signatures()), func(v dkim.Verification) bool {
		return v.Status != dkim.Pass || !f.couldAlign(domain.Canonical(v.Domain))
	})
}
