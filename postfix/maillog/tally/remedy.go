package tally

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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
	class int
	cause string
}

// maxRemedies bounds the causes; user rules may add some.
const maxRemedies = 256

// prescribe finds the advice that fits what postmend knew of the message.
func (t *Tally) prescribe(o *maillog.Outcome, verdict refusal.Verdict) {
	cause, text := t.cause(o, verdict)
	key := remedyKey{verdict.Class, cause}
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

// cause tells what is behind a refusal, by a short key and in words.
func (t *Tally) cause(o *maillog.Outcome, verdict refusal.Verdict) (key, text string) {
	class, m := t.rules.Classes[verdict.Class], o.Mend
	switch {
	case o.ByFilter && o.Status == maillog.Deferred:
		return "deferred here", "postmend could not deal with these messages yet; its log lines say why."
	case !class.Authentication:
		return verdict.Advice, verdict.Advice
	case m == nil:
		return "unseen", class.Advice + " No log line of postmend is about these messages: see that content_filter is set where they come in, and that its log is among those read."
	case class.Name == "spf":
		return spfCause(m)
	case class.Name == "dkim":
		return dkimCause(m)
	case class.Name == "auth-temporary":
		return verdict.Advice, verdict.Advice
	}
	return dmarcCause(m, verdict.Advice)
}

func spfCause(m *maillog.Mend) (key, text string) {
	if m.Sender != "" {
		domain := maillog.Domain(m.Sender)
		return "srs", fmt.Sprintf("The messages left with a sender in %s: its SPF record has to name the address of this host. See: postmend check, or dig TXT %[1]s.", domain)
	}
	if note := noteOn(m, "sender stays"); note != "" {
		return "stays", fmt.Sprintf("The sender was not rewritten (%s), so SPF fails at the next hop.", note)
	}
	return "not rewritten", "The sender was not rewritten, so SPF fails at the next hop."
}

func dkimCause(m *maillog.Mend) (key, text string) {
	if m.Signed == "" {
		note := cmp.Or(noteOn(m, "not signed"), "see its notes in the log")
		return "unsigned", fmt.Sprintf("postmend did not sign these messages (%s).", note)
	}
	return "signed", fmt.Sprintf("postmend signed as %s. Either that key is not published (postmend dkim record), or something between postmend and the receiver changes messages.", m.Signed)
}

func dmarcCause(m *maillog.Mend, advice string) (key, text string) {
	switch {
	case m.NewFrom != "":
		return "rewritten", fmt.Sprintf("From: was rewritten to an address in %s, and signed as %s: see that the key is published, and that nothing changes messages behind postmend.",
			maillog.Domain(m.NewFrom), cmp.Or(m.Signed, "nobody"))
	case m.DMARC == "fail":
		return "failed", "The messages failed DMARC when they arrived, and nothing can make them pass. on_dmarc_fail = \"reject\" would refuse them at once, instead of later by a bounce."
	case m.DMARC == "pass" && strings.Contains(m.Notes, "forbid_munge"):
		return "forbidden", "From: was not rewritten, because [dmarc] forbid_munge has these domains. Take them out."
	case m.DMARC == "pass":
		note := cmp.Or(noteOn(m, "From: stays"), "no reason is logged")
		return "stays", fmt.Sprintf("From: was not rewritten (%s). --strict-domains writes these domains for [dmarc] force_munge_file.", note)
	case m.DMARC != "":
		return "none", fmt.Sprintf("DMARC was %q when they arrived, so that From: was not rewritten. %s", m.DMARC, advice)
	}
	return "unproven", advice
}

// noteOn gives the note of postmend's that begins so, without that beginning.
func noteOn(m *maillog.Mend, start string) string {
	for note := range strings.SplitSeq(m.Notes, "; ") {
		if rest, found := strings.CutPrefix(note, start); found {
			return strings.TrimPrefix(rest, ": ")
		}
	}
	return ""
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
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(n.counts[b], n.counts[a]), cmp.Compare(a, b)) })
	return list[:min(limit, len(list))]
}
