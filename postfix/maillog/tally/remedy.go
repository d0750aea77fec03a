package tally

import (
	"cmp"
	"fmt"
	"slices"

	"postmend/filter/cause"
	"postmend/postfix/maillog"
	"postmend/postfix/maillog/refusal"
)

// remedy is a cause that refusals have in common, and what to do about it.
type remedy struct {
	class     int
	text      string
	n         int64
	domains   *names
	receivers *names
}

// remedyKey tells remedies apart.
type remedyKey struct {
	class       int
	cause, text string
}

// maxRemedies bounds the causes; user rules may add some.
const maxRemedies = 256

// prescribe finds the advice that fits what postmend knew of the message.
func (t *Tally) prescribe(o *maillog.Outcome, verdict refusal.Verdict) {
	class := t.rules.Classes[verdict.Class]
	cause, text := class.Name, verdict.Advice
	if a := adviceOn(o, class); a.cause != "" {
		cause, text = a.cause, a.text
	}
	key := remedyKey{verdict.Class, cause, text}
	r := t.remedies[key]
	if r == nil {
		if len(t.remedies) >= maxRemedies {
			return
		}
		r = &remedy{class: verdict.Class, text: text, domains: newNames(), receivers: newNames()}
		t.remedies[key] = r
	}
	r.n++
	r.domains.add(cmp.Or(maillog.Domain(o.Sender), "<>"))
	r.receivers.add(t.Receiver(o))
}

// advice is what to do about a cause, which has a name for programs.
type advice struct{ cause, text string }

// Advice that needs nothing of the message.
const (
	deferredHere = "postmend could not process these messages yet; its log lines say why."

	localForward = "postmend did not see these messages: alias(5) and .forward files pass no content " +
		"filter. Use virtual_alias_maps instead, or transport mode: postmend setup --undo && postmend " +
		"setup --apply --mode transport."

	unseen = "postmend logged nothing about these messages: either its log lines are missing here, or such " +
		"mail does not pass it. See: postmend check."

	redirected = "A local program, such as Sieve, sent these messages on. postmend did not see what they " +
		"proved on arrival, so From: stays, and only the author's signature can make them pass. An " +
		"alias in virtual_alias_maps is better. In transport mode, the milter seals such mail on arrival: " +
		"postmend setup --apply --milter."

	dmarcFailed = "The messages had failed DMARC when they arrived, and nothing can make them pass. If you " +
		"have the milter, set on_dmarc_fail = \"reject\" in [dmarc]: it rejects such mail at SMTP time. " +
		"If not, get it first (postmend setup --apply --milter), because without it \"reject\" makes " +
		"Postfix return the message to a sender who may be forged."

	forbidden = "From: was not rewritten, because [dmarc] forbid_munge lists these domains. Remove them."
)

// adviceOn gives better advice than the class's own; the zero advice if there is none.
func adviceOn(o *maillog.Outcome, class refusal.Class) advice {
	switch {
	case o.ByFilter && o.Status == maillog.Deferred:
		return advice{"deferred-here", deferredHere}
	case !class.Authentication || class.Name == "auth-temporary":
		return advice{}
	case o.Run == nil && o.FromLocal:
		return advice{"local-forward", class.Advice + " " + localForward}
	case o.Run == nil:
		return advice{"unseen", class.Advice + " " + unseen}
	case class.Name == "spf":
		return adviceOnSPF(o.Run)
	case class.Name == "dkim":
		return adviceOnDKIM(o.Run)
	}
	return adviceOnDMARC(o.Run, class.Advice)
}

func adviceOnSPF(r *maillog.Run) advice {
	if r.Sender != "" {
		domain := maillog.Domain(r.Sender)
		return advice{"srs", fmt.Sprintf("The messages left with a sender in %s, whose SPF record has "+
			"to allow this host. See: postmend check, or dig TXT %[1]s.", domain)}
	}
	cause, why := explain(r, senderCauses[:])
	text := "The sender was not rewritten" + why + ", so SPF fails at the next hop."
	return advice{cmp.Or(cause, "not-rewritten"), text}
}

func adviceOnDKIM(r *maillog.Run) advice {
	if r.Signed != "" {
		return advice{"signed", fmt.Sprintf("postmend signed as %s. Either that key is not published "+
			"(postmend dkim record), or something between postmend and the receiver changes messages.",
			r.Signed)}
	}
	cause, why := explain(r, unsignedCauses[:])
	return advice{cmp.Or(cause, "unsigned"), "postmend did not sign these messages" + why + "."}
}

func adviceOnDMARC(r *maillog.Run, otherwise string) advice {
	switch {
	case r.NewFrom != "":
		return advice{"from-rewritten", fmt.Sprintf("From: was rewritten to an address in %s, and signed as "+
			"%s. Check that the key is published, and that nothing changes messages after postmend.",
			maillog.Domain(r.NewFrom), cmp.Or(r.Signed, "nobody"))}
	case r.Class == "outgoing" && r.Sender != "":
		return advice{"redirected", redirected}
	case r.DMARC == "fail":
		return advice{"dmarc-failed", dmarcFailed}
	case r.DMARC == "pass" && r.Has(cause.FromForbidden):
		return advice{cause.FromForbidden.Code(), forbidden}
	case r.DMARC == "pass":
		cause, why := explain(r, fromCauses[:])
		return advice{cmp.Or(cause, "from-stays"), "From: was not rewritten" + why +
			". To have it rewritten, list these domains in force_munge_file of [dmarc]: postmend report " +
			"--strict-domains FILE adds them to that file."}
	case r.DMARC != "":
		text := fmt.Sprintf("DMARC was %q when they arrived, so From: was not rewritten. %s",
			r.DMARC, otherwise)
		return advice{"dmarc-" + r.DMARC, text}
	}
	return advice{}
}

// known is a cause that postmend logs, in words that fit every message; the text in the log is about one
// message.
type known struct {
	cause cause.Cause
	words string
}

var senderCauses = [...]known{
	{cause.SenderNull, "it is the null sender"},
	{cause.SenderWithoutSRS, "no [srs] is configured"},
	{cause.SenderLocal, "its domain is local"},
	{cause.SenderOwnSRS, "it is in the SRS domain already"},
	{cause.SenderRouted, "its local part has an @, % or !, and [srs] store is not set"},
	{cause.SenderTooLong, "its SRS form would be too long, and [srs] store is not set"},
	{cause.SenderNotStored, "its alias could not be stored"},
	{cause.SenderUnusable, "it has no SRS form"},
	{cause.FailedUnchanged, "the messages had failed DMARC on arrival"},
	{cause.Unread, "the header was too long to be read"},
}

var unsignedCauses = [...]known{
	{cause.UnsignedForbidden, "the author's signature forbids another one"},
	{cause.UnsignedInvalid, "the messages cannot be signed as they are"},
	{cause.FailedUnsigned, "they had failed DMARC on arrival"},
	{cause.FailedUnchanged, "they had failed DMARC on arrival"},
	{cause.OwnDomainClaimed, "they claim a domain of this server without proof"},
	{cause.OriginUnknown, "nothing proves that they were written on this server"},
	{cause.OriginChanged, "a program on this server changed them after they had arrived from outside"},
	{cause.OriginExpired, "they had arrived from outside longer ago than max_age of [arrival]"},
	{cause.SpamNotSigned, "an earlier filter on this server had marked them, see [[spam]]"},
	{cause.Unread, "the header was too long to be read"},
}

var fromCauses = [...]known{
	{cause.FromNever, "munge_from is \"never\""},
	{cause.FromPolicyNone, "its domain's policy was neither quarantine nor reject"},
	{cause.FromOwnKey, "this server signs for its domain"},
	{cause.FromSurvivor, "the author's signature was expected to survive"},
	{cause.FromNoAddress, "this server has no key for the domain of from_address or the alias"},
}

// explain gives the first of the causes that postmend logged, by its code and as " (words)"; nothing if it
// logged none of them.
func explain(r *maillog.Run, causes []known) (code, words string) {
	for _, k := range causes {
		if r.Has(k.cause) {
			return k.cause.Code(), " (" + k.words + ")"
		}
	}
	return "", ""
}

// names counts a few names, for examples.
type names struct{ counts map[string]int64 }

const maxNamed = 256

func newNames() *names { return &names{map[string]int64{}} }

func (n *names) add(name string) {
	if _, known := n.counts[name]; known || len(n.counts) < maxNamed {
		n.counts[name]++
	}
}

// most gives the names that occur most.
func (n *names) most(limit int) []string {
	list := make([]string, 0, len(n.counts))
	for name := range n.counts {
		list = append(list, name)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(n.counts[b], n.counts[a]), cmp.Compare(a, b))
	})
	return list[:min(limit, len(list))]
}
