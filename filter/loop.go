package filter

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"postmend/filter/cause"
	"postmend/filter/message"
	"postmend/filter/plan"
	"postmend/reinject"
)

// A listener without -o content_filter= sends what we handed over through the filter again, and again, until
// Postfix counts too many hops and returns the mail. The second pass is known by the Received: field that the
// listener put on top: it names the queue id under which Postfix has the message now, so it was written for
// this very pass, and it says that the message came from the name that we give in EHLO to nobody but the
// listener. Mail that passes this host twice for good reasons, over other hosts, aliases or other filters,
// has another field on top or another queue id by then; mail from clients, scripts and other filters on this
// host has another name. So no marker has to be added to messages.

// handOverName is our name in EHLO to the listener.
func handOverName(hostname string) string { return "postmend." + hostname }

// handOver gives the queue id of a Received: field that was written for a hand-over of ours by SMTP. A
// stranger can greet with our name, but not from this host.
func (f *Filter) handOver(received string) (queueID string, ok bool) {
	helo, address := message.Client(received)
	_, queueID = message.Protocol(received)
	return queueID, strings.EqualFold(helo, handOverName(f.config.Hostname)) && address.IsLoopback()
}

func (f *Filter) usesSendmail() bool { return f.target.Scheme == reinject.Sendmail }

// loops tells whether a message comes straight from our own hand-over.
func (f *Filter) loops(env *plan.Envelope, m *message.Message) bool {
	if env.QueueID == "" {
		return false
	}
	newest := m.Received(0)
	if f.usesSendmail() {
		// What our own user wrote has no older Received: field.
		id, uid, ok := message.Submission(newest)
		return ok && id == env.QueueID && uid == os.Geteuid() && m.Received(1) != ""
	}
	id, ok := f.handOver(newest)
	// By LMTP, the queue id may be of another filter's first pass.
	return ok && (id == env.QueueID || env.LoginInReceived)
}

// loop defers such a message. Postfix has recorded the filter in its queue file, so it returns here even when
// the listener is corrected, until postsuper requeues it.
func (f *Filter) loop(env *plan.Envelope) *cause.Failure {
	service := "the re-injection listener"
	if f.usesSendmail() {
		service = "pickup"
	}
	return cause.Looping.Failure(fmt.Errorf("what was handed over to %s came back. If the mode was changed "+
		"while the message was in the queue: postsuper -r %s. Else set -o content_filter= for %s in "+
		"master.cf (with default_transport = postmend: -o content_filter=smtp:), then postfix reload, and "+
		"postsuper -r %[2]s",
		f.config.Reinject.Target, env.QueueID, service), service)
}

// mendedBefore tells whether postsuper -r has let a message out of the loop: then it was mended before, by
// SMTP. Its newest field is by pickup(8), which took it from Postfix's own user; below is that of our
// hand-over.
func (f *Filter) mendedBefore(m *message.Message) bool {
	_, uid, requeued := message.Submission(m.Received(0))
	if _, ours := f.handOver(m.Received(1)); !requeued || !ours {
		return false
	}
	owner, err := user.Lookup("postfix")
	return err == nil && owner.Uid == strconv.Itoa(uid)
}
