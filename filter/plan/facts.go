package plan

import (
	"slices"

	"postmend/dkim"
	"postmend/filter/authn"
	"postmend/filter/config"
	"postmend/filter/domain"
)

// Facts are what the plan needs to know about the message.
type Facts struct {
	// Authors are the canonical domains of the From: field.
	Authors []string
	// Oversized is set if the header was too long to be read.
	Oversized bool
	// Spam is the rule that the message matches; nil if none.
	Spam *config.Spam
	// Testimony is what the sealers of a chain say.
	Testimony Testimony
	// LocalAuthor is set if a table calls From: local, as far as that was asked.
	LocalAuthor bool
	// Proven is the authentication of the message on arrival; its zero value proves nothing.
	Proven Proof
	// Patient is set while DNS trouble may still keep the message in the queue.
	Patient bool
	// CameWithUTF8 is set if the message may have a header in UTF-8.
	CameWithUTF8 bool
	// LongestLine is in octets.
	LongestLine int
	// occurrences counts the fields of the names that we may add, and of those that cleanup(8) drops.
	occurrences map[string]int
	// Claimed counts the Authentication-Results that only claim to be ours.
	Claimed int
	// Redirected is the mailbox here by which Sieve sent the message on; "" if that is not known.
	Redirected string
	// Recalled is what the milter found; nil if nothing that is believed.
	Recalled *Recalled
	// Mended is set if we have mended the message before.
	Mended bool
	// Unsignable says why no signature over the message would be valid. It is nil if one would be, or if none
	// is wanted.
	Unsignable error
	// Sealing is about the key for ARC, if mail may be sealed.
	Sealing SealingKey
	// Origin is where mail of our own side came from; nil for other mail.
	Origin *Origin
	// Unsealable says why mail that is delivered here gets no seal of its arrival; nil if it does.
	Unsealable error
	// UnreadSealed is set if the milter has sealed a message whose header is too long to be read.
	UnreadSealed bool
}

// addedFields are those that we may add.
var addedFields = [...]string{"dkim-signature", "authentication-results", "x-forwarded-to", "x-forwarded-for",
	"arc-authentication-results", "arc-message-signature", "arc-seal", sealField}

// Count notes a field of the message, if the plan depends on how often there is one.
func (f *Facts) Count(field dkim.Field) {
	for _, names := range [...][]string{addedFields[:], droppedFields[:]} {
		for _, name := range names {
			if field.Is(name) {
				if f.occurrences == nil {
					f.occurrences = map[string]int{}
				}
				f.occurrences[name]++
			}
		}
	}
}

// HasSeal tells whether the message has a seal of arrival, valid or not.
func (f *Facts) HasSeal() bool { return f.occurrences[sealField] > 0 }

// couldAlign tells whether a receiver could find a domain aligned with From:, in relaxed mode, which the
// strict one implies. Receivers find organisational domains by the public suffix list or by the tree walk
// (RFC 9989 section 4.10.2): either is enough. Missing DNS answers, or more authors than are looked up, count
// as aligned, too.
func (f Facts) couldAlign(name string) bool {
	mayAlign := func(author string) bool { return domain.MayAlign(author, name) }
	return f.aligns(name) || f.Proven.DMARC.CouldAlign(name) ||
		name != "" && len(f.Authors) > authn.MaxAuthors && slices.ContainsFunc(f.Authors, mayAlign)
}

// aligns is couldAlign without what is unknown.
func (f Facts) aligns(name string) bool {
	return alignedWithAny(name, f.Authors) || f.Proven.DMARC.Aligns(name)
}

// isStrict tells whether the domain of From: asks receivers to act on mail that fails DMARC.
func (f Facts) isStrict() bool { return f.Proven.DMARC.Policy.IsStrict() }

// Authentic tells whether From: is authenticated.
func (f Facts) Authentic() bool { return f.Proven.DMARC.Status == authn.Pass }

func alignedWithAny(name string, authors []string) bool {
	return slices.ContainsFunc(authors, func(author string) bool { return domain.Aligned(name, author) })
}

// authorSignatures are the valid ones of the author's organisation, whether its domain has a DMARC record or
// not.
func (f Facts) authorSignatures() []dkim.Verification {
	return slices.DeleteFunc(slices.Clone(f.Proven.signatures()), func(v dkim.Verification) bool {
		return v.Status != dkim.Pass || !f.couldAlign(domain.Canonical(v.Domain))
	})
}

// SealingKey is the key for ARC. RFC 8617 knows only RSA.
type SealingKey struct {
	Key  *dkim.Key   // nil if the domain has no RSA key, or err is set
	Keys []*dkim.Key // all of the domain
	Err  error
}
