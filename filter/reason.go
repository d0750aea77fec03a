package filter

import "fmt"

// Cause names why something was decided. The log line has its code, and postmend report goes by nothing
// else: the texts are for people, and stand here alone.
type Cause int

// The causes. Which of them report gives advice on is in postfix/maillog/tally.
const (
	// What happens to the recipient.
	SRSValid Cause = iota
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
	SenderNull
	SenderWithoutSRS
	SenderLocal
	SenderOwnSRS
	SenderRouted
	SenderTooLong
	SenderUnusable

	// The author.
	OwnDomainClaimed
	FailedDiscarded
	FailedUnsigned
	FailedUnchanged
	FromUnproved
	FromForbidden
	FromForced
	FromNever
	FromPolicyNone
	FromOwnKey
	FromSurvivor
	FromRewritten
	FromCandidate
	FromNoAddress

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
	Failed

	causeCount
)

var causes = [causeCount]struct{ code, format string }{
	SRSValid:         {"srs-valid", "%s is a valid SRS address of this server"},
	SRSTakenBack:     {"srs-taken-back", "%s, a valid SRS address of this server, was reversed by a lookup table"},
	SRSLeftToPostfix: {"srs-left-to-postfix", "%s is left for Postfix to reject: %s"},
	ForOthers:        {"for-others", "accepted because of the other recipients; alone it would be rejected: %s"},
	StaysHere:        {"local", "delivered on this server: handed back unchanged"},
	Requeued:         {"requeued", "mended before postsuper requeued it: handed back unchanged"},
	Unread:           {"header-too-long", "the header is too long to be read: forwarded unchanged"},
	Unchanged:        {"unchanged", "forwarded unchanged"},

	OriginSealed: {"origin-sealed", "sent on by a program on this server; by the seal of its arrival it came " +
		"from client %s"},
	OriginChanged: {"origin-changed", "sent on by a program on this server, which changed it; it came from " +
		"outside at %s, and nothing is proved"},
	OriginExpired: {"origin-expired", "sent on by a program on this server; it came from outside at %s, longer " +
		"ago than arrival.max_age, and nothing is proved"},
	OriginUnknown: {"origin-unknown", "sent on by a program on this server, without a seal of its arrival: it is " +
		"not known where it came from"},
	ArrivalUnsealed: {"arrival-unsealed", "delivered without a seal of arrival: %v"},

	SenderRewritten:  {"sender-rewritten", "sender rewritten by SRS"},
	SenderDisowned:   {"sender-disowned", "sender rewritten by SRS: %s %s"},
	SenderNull:       {"sender-null", "sender not rewritten: it is the null sender"},
	SenderWithoutSRS: {"sender-no-srs", "sender not rewritten: no [srs] is configured"},
	SenderLocal:      {"sender-local", "sender not rewritten: its domain is local"},
	SenderOwnSRS:     {"sender-own-srs", "sender not rewritten: it is in the SRS domain already"},
	SenderRouted: {"sender-routed", "sender not rewritten: Postfix would reject bounces to its SRS form, because " +
		"it reads an @, %% or ! before the last @ as routing by the sender"},
	SenderTooLong:  {"sender-too-long", "sender not rewritten: its SRS form has over 64 octets before the @"},
	SenderUnusable: {"sender-unusable", "sender not rewritten: %v"},

	OwnDomainClaimed: {"own-domain", "unauthenticated From: %s, aligned with a domain of this server"},
	FailedDiscarded:  {"failed-discarded", "DMARC failed on arrival: discarded by on_dmarc_fail"},
	FailedUnsigned:   {"failed-unsigned", "DMARC failed on arrival: not signed"},
	FailedUnchanged:  {"failed-unchanged", "DMARC failed on arrival: forwarded unchanged"},
	FromUnproved:     {"from-unproved", "From: stays: DMARC on arrival is %s, and the domain requests no action"},
	FromForbidden:    {"from-forbidden", "From: stays: forbid_munge lists %s"},
	FromForced:       {"from-forced", "From: rewritten: the configuration requires it"},
	FromNever:        {"from-never", "From: stays: munge_from is \"never\""},
	FromPolicyNone:   {"from-policy-none", "From: stays: the policy of %s is neither quarantine nor reject"},
	FromOwnKey:       {"from-own-key", "From: stays: this server signs for %s, and DMARC passed on arrival"},
	FromSurvivor: {"from-survivor", "From: stays: the signature of %s is still valid at the next hop, if that " +
		"accepts 8-bit mail as it is"},
	FromRewritten: {"from-rewritten", "From: rewritten: %s, and the policy of %s is %s"},
	FromCandidate: {"from-candidate", "%q cannot be the new author: %v"},
	FromNoAddress: {"from-no-address", "From: stays: this server has no key for the domain of from_address or " +
		"of the alias"},

	Folded:            {"folded", "a line of %v octets is folded before signing, as smtp(8) would fold it later"},
	UnsignedForbidden: {"unsigned-forbidden", "not signed: the author's signature forbids another DKIM-Signature"},
	UnsignedInvalid:   {"unsigned-invalid", "not signed: %v"},
	UnsealedChain:     {"unsealed-chain", "not sealed: nothing can be added to the ARC chain: %s"},
	UnsealedDNS:       {"unsealed-dns", "not sealed: DNS does not tell whether the ARC chain is valid"},
	UnsealedForbidden: {"unsealed-forbidden", "not sealed: the author's signature forbids more ARC fields"},
	UnsealedNoKey:     {"unsealed-no-key", "not sealed: %s has no RSA key"},
	UnsealedNeedless: {"unsealed-needless", "not sealed: DMARC did not fail, and the signature of %s is still " +
		"valid at the next hop"},
	UnsealedInvalid:   {"unsealed-invalid", "not sealed: %v"},

	CutShort: {"cut-short", "%s"},
	NextHop:  {"next-hop", "%s"},
	Failed:   {"failed", "%v"},
}

// Causes gives all causes.
func Causes() []Cause {
	var list []Cause
	for c := range causeCount {
		list = append(list, c)
	}
	return list
}

// Code is what stands for the cause in the log line. It never changes.
func (c Cause) Code() string { return causes[c].code }

// Reason is a cause, and its text about one message.
type Reason struct {
	Cause Cause
	Text  string
}

// about gives the cause's text about one message.
func (c Cause) about(args ...any) Reason { return Reason{c, fmt.Sprintf(causes[c].format, args...)} }

func (r Reason) String() string { return r.Text }

// MarshalText gives the text, for explain --json.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.Text), nil }
