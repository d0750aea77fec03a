// Package cause names why something was decided about a message, or why it was not handed back. The names,
// their codes in the log and their texts stand here alone.
package cause

import "fmt"

// Cause names why something was decided, or why a message was not handed back. The log line has its code,
// and postmend report goes by nothing else: the texts are for people, and stand here alone. 0 is no cause.
type Cause int

// The causes. Which of them report gives advice on is in postfix/maillog/tally.
const (
	// What happens to the recipient.
	SRSValid Cause = iota + 1
	SRSTakenBack
	SRSLeftToPostfix
	ForOthers
	StaysHere
	Requeued
	Unread
	Unchanged

	// Where mail of our own side came from, and the seal that tells.
	OriginSealed
	OriginChanged
	OriginExpired
	OriginUnknown
	ArrivalUnsealed

	// The envelope sender.
	SenderRewritten
	SenderDisowned
	SenderDoubtful
	SenderNull
	SenderWithoutSRS
	SenderLocal
	SenderOwnSRS
	SenderRouted
	SenderTooLong
	SenderStored
	SenderNotStored
	SenderUnusable

	// The author.
	OwnDomainClaimed
	SpamDiscarded
	SpamRedirected
	SpamNotSigned
	FailedDiscarded
	FailedUnsigned
	FailedUnchanged
	FromUnproved
	FromForbidden
	FromForced
	FromWithoutRecord
	FromWithoutProof
	FromDoubtful
	FromTrustedBySPF
	FromTrustedByNetwork
	FromTrustedBySealer
	ChainUntrusted
	FromNever
	FromPolicyNone
	FromOwnKey
	FromSurvivor
	FromRewritten
	FromCandidate
	FromNoAddress

	// Why no signature of the author's survives.
	NoneAligned
	LongLine
	KeyTesting
	KeyAmbiguous
	Ed25519Only
	SignatureDisputed
	CoverageUnknown
	BareCR
	SealCovered
	ResultsCovered
	DroppedCovered

	// Signature and seal.
	Folded
	UnsignedForbidden
	UnsignedInvalid
	UnsealedChain
	UnsealedDNS
	UnsealedForbidden
	UnsealedNoKey
	UnsealedNeedless
	UnsealedInvalid

	// How the run went.
	CutShort
	NextHop

	// The message was not handed back, because of the one that comes with it: first faults, and what may end
	// by itself.
	Failed
	UnknownError
	DeadlineExceeded
	NoSpace
	DNSFailed
	ConfigInvalid
	SecretsUnusable
	KeyUnusable
	AddressesUnknown
	TableFailed
	StoreFailed
	Looping
	LoginUnknown
	StdoutTarget
	Forsaken
	MessageEmpty
	MessageCut
	FromLine
	NoRecipient
	RecipientEmpty

	// Deliberate rejections, which strangers read in bounces.
	SenderInvalid
	RecipientInvalid
	SRSMalformed
	SRSForged
	SRSExpired
	SRSUnknown
	HeaderTooLong
	TooManyClaims
	WouldPass
	OwnDomainForged
	DMARCFailed

	// What the next hop said.
	NextHopReplied
	NextHopAddress
	NextHopFailed

	causeCount
)

var causes = [causeCount]struct{ code, format string }{
	SRSValid: {"srs-valid", "%s is a valid SRS address of this server"},
	SRSTakenBack: {"srs-taken-back",
		"%s, a valid SRS address of this server, was reversed by a lookup table"},
	SRSLeftToPostfix: {"srs-left-to-postfix", "%s is left for Postfix to reject: %s"},
	ForOthers: {"for-others",
		"accepted because of the other recipients; alone it would be rejected: %s"},
	StaysHere: {"local", "delivered on this server: handed back unchanged"},
	Requeued:  {"requeued", "mended before postsuper requeued it: handed back unchanged"},
	Unread:    {"header-too-long", "the header is too long to be read: forwarded unchanged"},
	Unchanged: {"unchanged", "forwarded unchanged"},

	OriginSealed: {"origin-sealed",
		"sent on by a program on this server; by the seal of its arrival it came from client %s"},
	OriginChanged: {"origin-changed",
		"sent on by a program on this server, which changed it; it came from outside at %s, and only DKIM " +
			"can authenticate it"},
	OriginExpired: {"origin-expired",
		"sent on by a program on this server; it came from outside at %s, longer ago than arrival.max_age, " +
			"and only DKIM can authenticate it"},
	OriginUnknown: {"origin-unknown",
		"sent on by a program on this server, without a seal of its arrival: it is not known where it " +
			"came from"},
	ArrivalUnsealed: {"arrival-unsealed", "delivered without a seal of arrival: %v"},

	SenderRewritten: {"sender-rewritten", "sender rewritten by SRS"},
	SenderDisowned: {"sender-disowned",
		"sender rewritten by SRS: SPF of %s allows this host, so the message, which is not authenticated, " +
			"would pass DMARC at the next hop"},
	SenderDoubtful: {"sender-doubtful",
		"sender rewritten by SRS: DNS does not tell whether SPF of %s allows this host; if so, the " +
			"message, which is not authenticated, would pass DMARC at the next hop"},
	SenderNull:       {"sender-null", "sender not rewritten: it is the null sender"},
	SenderWithoutSRS: {"sender-no-srs", "sender not rewritten: no [srs] is configured"},
	SenderLocal:      {"sender-local", "sender not rewritten: its domain is local"},
	SenderOwnSRS:     {"sender-own-srs", "sender not rewritten: it is in the SRS domain already"},
	SenderRouted: {"sender-routed",
		"sender not rewritten: it has an @, %% or ! before its last @, and Postfix would reject bounces to " +
			"its SRS form as sender-specified routing"},
	SenderTooLong: {"sender-too-long",
		"sender not rewritten: its SRS form has over 64 octets before the @"},
	SenderStored: {"sender-stored",
		"sender replaced by an alias, because it does not fit into an SRS address"},
	SenderNotStored: {"sender-not-stored",
		"sender not rewritten: it does not fit into an SRS address, and storing its alias has failed for " +
			"longer than store_patience: %v"},
	SenderUnusable: {"sender-unusable", "sender not rewritten: %v"},

	OwnDomainClaimed: {"own-domain", "unauthenticated From: %s, aligned with a domain of this server"},
	SpamDiscarded:    {"spam-discarded", "marked by an earlier filter in %s: discarded by [[spam]]"},
	SpamRedirected: {"spam-redirected",
		"marked by an earlier filter in %s: delivered to %s by [[spam]] instead of being forwarded"},
	SpamNotSigned: {"spam-unsigned",
		"marked by an earlier filter in %s: not signed and not sealed, by [[spam]]"},
	FailedDiscarded: {"failed-discarded", "DMARC failed on arrival: discarded by on_dmarc_fail"},
	FailedUnsigned:  {"failed-unsigned", "DMARC failed on arrival: not signed"},
	FailedUnchanged: {"failed-unchanged", "DMARC failed on arrival: forwarded unchanged"},
	FromUnproved: {"from-unproved",
		"From: stays: DMARC did not pass on arrival (%s)"},
	FromForbidden: {"from-forbidden", "From: stays: forbid_munge lists %s"},
	FromForced:    {"from-forced", "From: rewritten: the configuration requires it"},
	FromWithoutRecord: {"from-without-record",
		"From: rewritten: munge_from is \"always\", and %s has no DMARC record"},
	FromWithoutProof: {"from-without-proof",
		"From: rewritten: munge_from is \"always\", and %s has no DMARC record. Neither SPF nor DKIM " +
			"authenticates the message, but nothing failed"},
	FromDoubtful: {"from-doubtful",
		"From: stays although munge_from is \"always\": %s has no DMARC record, and %s"},
	FromTrustedBySPF: {"from-trusted-spf",
		"From: rewritten: DMARC failed on arrival, but trusted_authors lists %s, and SPF passed for %s"},
	FromTrustedByNetwork: {"from-trusted-network",
		"From: rewritten: DMARC failed on arrival, but trusted_authors lists %s, and the message " +
			"came from %s"},
	FromTrustedBySealer: {"from-trusted-sealer",
		"From: rewritten: DMARC failed on arrival, but the ARC chain is valid, and in it the trusted " +
			"sealer %s says that DMARC passed for %s"},
	ChainUntrusted: {"chain-untrusted",
		"the ARC chain does not authenticate the author: %s"},
	FromNever:      {"from-never", "From: stays: munge_from is \"never\""},
	FromPolicyNone: {"from-policy-none", "From: stays: the policy of %s is neither quarantine nor reject"},
	FromOwnKey:     {"from-own-key", "From: stays: this server signs for %s, and DMARC passed on arrival"},
	FromSurvivor: {"from-survivor",
		"From: stays: the signature of %s is still valid at the next hop, if that accepts 8-bit mail as " +
			"it is"},
	FromRewritten: {"from-rewritten", "From: rewritten: %s, and the policy of %s is %s"},
	FromCandidate: {"from-candidate",
		"%q cannot be the address in a rewritten From: field: %v"},
	FromNoAddress: {"from-no-address",
		"From: stays: this server has no key for the domain of from_address or of the alias"},

	NoneAligned: {"none-aligned", "no DKIM signature aligned with From: is valid"},
	LongLine:    {"long-line", "Postfix will fold a line of %v octets, which breaks signatures"},
	KeyTesting: {"key-testing",
		"the key of its signature is in testing mode, so receivers treat the mail as unsigned"},
	KeyAmbiguous: {"key-ambiguous",
		"the key of its signature has several DNS records, and a receiver may use another one"},
	Ed25519Only: {"ed25519-only", "its only signature is ed25519, which many receivers do not know"},
	SignatureDisputed: {"signature-disputed",
		"its signature is valid, but verifiers in wide use reject it: %s"},
	CoverageUnknown: {"coverage-unknown",
		"the trusted Authentication-Results do not say which DKIM-Signature is valid"},
	BareCR: {"bare-cr", "a line contains a bare CR, which Postfix replaces by a blank"},
	SealCovered: {"seal-covered",
		"its signature covers an X-Postmend-Arrival field, which postmend removes"},
	ResultsCovered: {"results-covered",
		"its signature covers an Authentication-Results field that falsely claims to be of this server"},
	DroppedCovered: {"dropped-covered", "its signature covers a %s field, which Postfix removes"},

	Folded: {"folded",
		"a line of %v octets is folded before signing, as smtp(8) would fold it later"},
	UnsignedForbidden: {"unsigned-forbidden",
		"not signed: the author's signature forbids another DKIM-Signature"},
	UnsignedInvalid:   {"unsigned-invalid", "not signed: %v"},
	UnsealedChain:     {"unsealed-chain", "not sealed: nothing can be added to the ARC chain: %s"},
	UnsealedDNS:       {"unsealed-dns", "not sealed: DNS does not tell whether the ARC chain is valid"},
	UnsealedForbidden: {"unsealed-forbidden", "not sealed: the author's signature forbids more ARC fields"},
	UnsealedNoKey:     {"unsealed-no-key", "not sealed: %s has no RSA key"},
	UnsealedNeedless: {"unsealed-needless",
		"not sealed: DMARC did not fail, and the signature of %s is still valid at the next hop"},
	UnsealedInvalid: {"unsealed-invalid", "not sealed: %v"},

	CutShort: {"cut-short", "%s"},
	NextHop:  {"next-hop", "%s"},

	Failed:           {"failed", "%v"},
	UnknownError:     {"unknown-error", "temporary failure"},
	DeadlineExceeded: {"deadline-exceeded", "deadline exceeded"},
	NoSpace:          {"no-space", "no space left for the message"},
	DNSFailed:        {"dns-failed", "DNS look-up failed, trying again later"},
	ConfigInvalid:    {"config-invalid", "configuration error"},
	SecretsUnusable:  {"secrets-unusable", "SRS secrets cannot be used"},
	KeyUnusable:      {"key-unusable", "DKIM key cannot be used"},
	AddressesUnknown: {"addresses-unknown", "the outbound addresses of this server are unknown"},
	TableFailed:      {"table-failed", "look-up of local domains failed"},
	StoreFailed:      {"store-failed", "the store of senders cannot be used"},
	LoginUnknown: {"login-unknown", "cannot tell whether the client logged in, because the Received: field " +
		"of this server is missing"},
	Looping:        {"looping", "mail loop: %s lacks -o content_filter=, or the mode was changed"},
	StdoutTarget:   {"stdout-target", `target "stdout:" is for trials by hand, not for master.cf`},
	Forsaken:       {"forsaken", "the process that started postmend has ended"},
	MessageEmpty:   {"message-empty", "empty message on standard input"},
	MessageCut:     {"message-cut", "message is incomplete: input ended after %v octets"},
	FromLine:       {"from-line", "message starts with a From_ line: remove F from flags= in master.cf"},
	NoRecipient:    {"no-recipient", "no recipient on the command line"},
	RecipientEmpty: {"recipient-empty", "recipient %v is empty"},

	SenderInvalid: {"sender-invalid",
		"The sender address of this message is not a valid e-mail address. Correct it and send the message " +
			"again."},
	RecipientInvalid: {"recipient-invalid",
		"The recipient address is not a valid e-mail address. Correct it and send the message again, or, " +
			"if you wrote to another address, tell the postmaster there that it forwards to this one."},
	SRSMalformed: {"srs-malformed",
		"This recipient is a temporary return address (SRS), and it is incomplete. To write to the author, " +
			"use the From: or Reply-To: address of the message; a bounce must go to its envelope sender " +
			"exactly as it is."},
	SRSForged: {"srs-forged",
		"This recipient is a temporary return address (SRS) that this server did not make, or no longer " +
			"accepts. To write to the author, use the From: or Reply-To: address of the message; a bounce " +
			"must go to its envelope sender exactly as it is."},
	SRSExpired: {"srs-expired",
		"This recipient is a temporary return address (SRS) that has expired. To write to the " +
			"author, use the From: or Reply-To: address of the message."},
	SRSUnknown: {"srs-unknown",
		"This recipient is a temporary return address (SRS), and this server no longer knows whose " +
			"it is. To write to the author, use the From: or Reply-To: address of the message."},
	HeaderTooLong: {"header-unverified",
		"The header of this message is too long, so its author cannot be verified. Shorten it, for example " +
			"the lists of addresses in To: and Cc:, and send the message again."},
	TooManyClaims: {"too-many-claims",
		"More than %v header fields of this message falsely claim that this server wrote them. Remove its " +
			"Authentication-Results and X-Postmend-Arrival fields and send it again."},
	WouldPass: {"would-pass",
		"Neither SPF nor DKIM proves that this message is from %s, its From: domain, and if this server " +
			"forwarded it, others would take it for genuine. Send it through that domain's mail server " +
			"with a login, or ask its postmaster to sign it with DKIM."},
	OwnDomainForged: {"own-domain-forged",
		"This message says it is from %s, a domain of this server, but neither SPF nor DKIM proves it. " +
			"Send it through that domain's mail server with a login, or ask its postmaster to sign it with " +
			"DKIM."},
	DMARCFailed: {"dmarc-failed",
		"This message does not pass DMARC: nothing proves that it is from %s, whose policy is %s. Send it " +
			"through that domain's mail server with a login, or ask its postmaster to sign it with DKIM."},

	NextHopReplied: {"next-hop-replied", "the next mail server replied at %s: %s"},
	NextHopAddress: {"next-hop-address", "an address is not valid in SMTP (%s)"},
	NextHopFailed:  {"next-hop-failed", "next hop failed at %s"},
}

// All gives all causes.
func All() []Cause {
	var list []Cause
	for c := SRSValid; c < causeCount; c++ {
		list = append(list, c)
	}
	return list
}

// Code is what stands for the cause in the log line. It never changes.
func (c Cause) Code() string { return causes[c].code }

// Reason is a cause, and its text about one message.
type Reason struct {
	Cause Cause
	// Why is the reason for the cause, if it has a name of its own. Its text is part of Text.
	Why  Cause
	Text string
}

// About gives the cause's text about one message. A Reason among the arguments is why.
func (c Cause) About(args ...any) Reason {
	reason := Reason{Cause: c, Text: fmt.Sprintf(causes[c].format, args...)}
	for _, arg := range args {
		if why, ok := arg.(Reason); ok {
			reason.Why = why.Cause
		}
	}
	return reason
}

func (r Reason) String() string { return r.Text }

// MarshalText gives the text, for explain --json.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.Text), nil }
