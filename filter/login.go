package filter

import (
	"net"

	"postmend/filter/message"
	"postmend/filter/plan"
)

// readLogin gives the envelope with what smtpd(8) wrote of a login into the header, where Postfix does not
// tell: by LMTP, and by pipe(8) if another filter on this host had the message before.
func (f *Filter) readLogin(env *plan.Envelope, m *message.Message) *plan.Envelope {
	if env.SASLUsername != "" || !env.HasClient() {
		return env
	}
	read := *env
	own := message.OwnReceived(message.BelowMoves(m.Top()), f.config.Hostname, net.InterfaceAddrs)
	switch {
	case env.LoginInReceived && env.QueueID != "":
		read.Login = loginByID(own, env)
	case !env.LoginInReceived && len(own) > 1 && !isThisHost(env):
		read.Login = loginBehindFilter(own, env)
	}
	return &read
}

// loginByID reads the field that names a queue id, which nobody else knows before. Postfix goes on to tell
// the one that smtpd gave the message, unless another filter did not tell it (XFORWARD).
func loginByID(own []string, env *plan.Envelope) plan.Login {
	for _, received := range own {
		protocol, id := message.Protocol(received)
		switch {
		case id != env.QueueID:
		case len(own) > 1 && !isThisHost(env) && !tellsOf(received, env):
			return loginBehindFilter(own, env)
		default:
			return loginOf(protocol)
		}
	}
	return plan.LoginUnknown
}

// loginBehindFilter reads the last of this host's own fields: that for the arrival from the client, of which
// the other filter has told.
func loginBehindFilter(own []string, env *plan.Envelope) plan.Login {
	last := own[len(own)-1]
	protocol, _ := message.Protocol(last)
	if protocol == "" || !tellsOf(last, env) {
		return plan.LoginUnknown
	}
	return loginOf(protocol)
}

// tellsOf tells whether a Received: field is about the client of an envelope.
func tellsOf(received string, env *plan.Envelope) bool {
	ip, ok := env.ClientIP()
	_, address := message.Client(received)
	return ok && address == ip
}

func loginOf(protocol string) plan.Login {
	if message.IsLogin(protocol) {
		return plan.LoggedIn
	}
	return plan.NotLoggedIn
}

// readQueueID gives the envelope the queue id of a message that Postfix itself has made, a bounce for one:
// LMTP does not tell it.
func readQueueID(env *plan.Envelope, m *message.Message) {
	if env.LoginInReceived && env.QueueID == "" && !env.HasClient() {
		env.QueueID = message.OwnQueueID(m.Received(0))
	}
}
