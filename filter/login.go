package filter

import (
	"errors"
	"fmt"
	"net"

	"postmend/filter/cause"
	"postmend/filter/message"
)

// login is what Received: fields tell about the client of a message.
type login int

const (
	loginNotAsked login = iota
	loginUnknown        // this host's own field is not there
	notLoggedIn
	loggedIn
)

// maxHops is how many Received: fields Postfix lets a message have (hopcount_limit).
const maxHops = 50

// readLogin gives the envelope with what smtpd(8) wrote of a login into the header, if that is where to look.
// A Received: field counts only if this host wrote it for this very message: it names the message's queue id,
// which nobody else knows before, and stands on top, or below those of another filter on this host, or of
// pickup(8), which writes one each time that postsuper -r requeues the message (Postfix goes on to tell the
// queue id that smtpd gave it).
func (f *Filter) readLogin(env *Envelope, m *message.Message) *Envelope {
	if !env.LoginInReceived || env.QueueID == "" || !env.HasClient() {
		return env
	}
	read := *env
	read.login = loginUnknown
	n := 0
	for ; n < maxHops; n++ {
		if _, _, isPickups := message.Submission(m.Received(n)); !isPickups {
			break
		}
	}
	own := message.OwnReceived(m.Header, f.config.Hostname, net.InterfaceAddrs)
	for _, received := range append([]string{m.Received(n)}, own...) {
		if protocol, id := message.Protocol(received); id == env.QueueID {
			if read.login = notLoggedIn; message.IsLogin(protocol) {
				read.login = loggedIn
			}
			break
		}
	}
	return &read
}

// readQueueID gives the envelope the queue id of a message that Postfix itself has made, a bounce for one:
// LMTP does not tell it.
func readQueueID(env *Envelope, m *message.Message) {
	if env.LoginInReceived && env.QueueID == "" && !env.HasClient() {
		env.QueueID = message.OwnQueueID(m.Received(0))
	}
}

// refusal is what becomes of a refusal: no mail is returned, or discarded, for want of a proof that a login
// would have made needless, if it is not known whether there was one. A user's mail waits for the operator.
func (e *Envelope) refusal(f *cause.Failure) *cause.Failure {
	if e.login == loginUnknown && f.Kind == cause.Policy {
		return e.withoutLogin(f)
	}
	return f
}

// discarded is refusal for what the configuration discards; nil lets it be.
func (e *Envelope) discarded() error {
	if e.login == loginUnknown {
		return e.withoutLogin(nil)
	}
	return nil
}

func (e *Envelope) withoutLogin(otherwise error) *cause.Failure {
	err := fmt.Errorf("no Received: field has the queue id %s: let no header_checks remove it", e.QueueID)
	return cause.LoginUnknown.Failure(errors.Join(err, otherwise))
}
