package filter

import (
	"net"

	"postmend/filter/message"
	"postmend/filter/plan"
)

// maxHops is how many Received: fields Postfix lets a message have (hopcount_limit).
const maxHops = 50

// readLogin gives the envelope with what smtpd(8) wrote of a login into the header, if that is where to look.
// A Received: field counts only if this host wrote it for this very message: it names the message's queue id,
// which nobody else knows before, and stands on top, or below those of another filter on this host, or of
// pickup(8), which writes one each time that postsuper -r requeues the message (Postfix goes on to tell the
// queue id that smtpd gave it).
func (f *Filter) readLogin(env *plan.Envelope, m *message.Message) *plan.Envelope {
	if !env.LoginInReceived || env.QueueID == "" || !env.HasClient() {
		return env
	}
	read := *env
	read.Login = plan.LoginUnknown
	n := 0
	for ; n < maxHops; n++ {
		if _, _, isPickups := message.Submission(m.Received(n)); !isPickups {
			break
		}
	}
	own := message.OwnReceived(m.Header, f.config.Hostname, net.InterfaceAddrs)
	for _, received := range append([]string{m.Received(n)}, own...) {
		if protocol, id := message.Protocol(received); id == env.QueueID {
			if read.Login = plan.NotLoggedIn; message.IsLogin(protocol) {
				read.Login = plan.LoggedIn
			}
			break
		}
	}
	return &read
}

// readQueueID gives the envelope the queue id of a message that Postfix itself has made, a bounce for one:
// LMTP does not tell it.
func readQueueID(env *plan.Envelope, m *message.Message) {
	if env.LoginInReceived && env.QueueID == "" && !env.HasClient() {
		env.QueueID = message.OwnQueueID(m.Received(0))
	}
}
