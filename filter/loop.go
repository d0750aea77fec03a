package filter

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// A listener without -o content_filter= sends what we handed over through the filter again, and again, until Postfix counts too many hops
// and returns the mail. The second pass is known by the Received: field that the listener put on top: it names the queue id under which
// Postfix has the message now, so it was written for this very pass, and it says that the message came from the name that we
// give in EHLO to nobody but the listener. Mail that passes this host twice for good reasons, over other hosts, aliases or other
// filters, has got another field on top or another queue id meanwhile; what clients, scripts and other filters on this host
// bring has another name. Nothing is added to any message for it.

// handOverName is our name in EHLO to the listener.
func handOverName(hostname string) string { return "postmend." + hostname }

// loops tells whether a message comes straight from our own hand-over.
func (f *Filter) loops(env *Envelope, m *Message) bool {
	words := strings.Fields(m.received(0))
	id := slices.Index(words, "id")
	if env.QueueID == "" || id < 0 || id+1 == len(words) || strings.TrimSuffix(words[id+1], ";") != env.QueueID {
		return false
	}
	if strings.HasPrefix(f.config.Reinject.Target, "sendmail:") {
		// What pickup(8) took in names the user who brought it. Mail that this user wrote has no older Received: field.
		return words[0] == "by" && m.received(1) != "" && slices.Contains(words[:id], fmt.Sprintf("%d)", os.Geteuid()))
	}
	return words[0] == "from" && strings.EqualFold(words[1], handOverName(f.config.Hostname))
}

// loop is what becomes of such a message. It keeps coming here even when the listener is mended, for Postfix has noted in its queue file
// to filter it: that takes postsuper.
func (f *Filter) loop(env *Envelope) *Failure {
	service, text := "the re-injection listener", "mail loops: the re-injection listener lacks -o content_filter="
	if strings.HasPrefix(f.config.Reinject.Target, "sendmail:") {
		service, text = "pickup", "mail loops: pickup lacks -o content_filter="
	}
	return &Failure{Kind: Configuration, Reason: text, Err: fmt.Errorf(
		"what was handed over to %s came back: set -o content_filter= for %s in master.cf, with default_transport = postmend: set -o content_filter=smtp:, "+
			"then postfix reload, and postsuper -r %s", f.config.Reinject.Target, service, env.QueueID)}
}
