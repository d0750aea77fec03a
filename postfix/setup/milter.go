package setup

import (
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// Spawned is what spawn(8) starts: the milter for each SMTP session, the filter for each connection of
// lmtp(8).
const Spawned = "spawn"

// addMilter puts the milter into smtpd_milters, in front of the others: those that change mail come behind
// what judges it. One that is there stays where it is.
func (p *Plan) addMilter() {
	address := p.wanted.Milter
	if address == "" {
		return
	}
	if address == Spawned {
		address = layout.MilterAddress
		p.setService(layout.MilterID, p.program().MilterLine(),
			"spawn(8) starts the milter for each SMTP session; mail goes on without it")
		p.set(layout.MilterTimeLimit.Name, layout.MilterTimeLimit.Value, "as long as an SMTP session")
	}
	entry := layout.MilterEntry(address)
	value := p.config.Get("smtpd_milters")
	for _, other := range postconf.List(value) {
		if at, _ := layout.MilterOf(other); at == address {
			p.set("smtpd_milters", strings.Replace(value, other, entry, 1), milterWhy)
			return
		}
	}
	if value != "" {
		entry += ", " + value
	}
	p.set("smtpd_milters", entry, milterWhy)
	for _, s := range p.entrances() {
		if _, isSet := s.Options["smtpd_milters"]; isSet {
			p.note("%s in master.cf has its own -o smtpd_milters=: mail that it accepts does not pass "+
				"the milter",
				s.ID())
		}
	}
}

const milterWhy = "judges mail at SMTP time"
