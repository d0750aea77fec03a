package setup

import (
	"slices"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// Spawned is what spawn(8) starts: the milter for each SMTP session, the filter for each connection of
// lmtp(8).
const Spawned = "spawn"

// addMilter adds the milter, or changes the way in which it runs. Without an address, one that is there
// stays, and runs this program.
func (p *Plan) addMilter() {
	address := p.wanted.Milter
	const spawns = "spawn(8) starts the milter for each SMTP session; mail goes on without it"
	switch _, isThere := p.config.Service(layout.MilterID); {
	case address == "" && isThere:
		p.setService(layout.MilterID, p.program().MilterLine(), spawns)
		return
	case address == "":
		return
	case address == Spawned:
		address = layout.MilterAddress
		p.setService(layout.MilterID, p.program().MilterLine(), spawns)
		p.set(layout.MilterTimeLimit.Name, layout.MilterTimeLimit.Value, "as long as an SMTP session")
	}
	p.set("smtpd_milters", p.milters(address), milterWhy)
	p.removeSpawned(address)
	for _, s := range p.entrances() {
		if _, isSet := s.Options["smtpd_milters"]; isSet {
			p.note("%s in master.cf has its own -o smtpd_milters=: mail that it accepts does not pass "+
				"the milter",
				s.ID())
		}
	}
}

// milters is smtpd_milters with our entry in front of the others: those that change mail come behind what
// judges it. An entry of ours stays where it is, and of several only one stays, because each would judge.
func (p *Plan) milters(address string) string {
	entry, value := layout.MilterEntry(address), p.config.Get("smtpd_milters")
	isOurs := func(other string) bool {
		at, _ := layout.MilterOf(other)
		return at == address || at == layout.MilterAddress || slices.Contains(layout.ResidentMilters, at)
	}
	entries := postconf.List(value)
	first := slices.IndexFunc(entries, isOurs)
	switch {
	case value == "":
		return entry
	case first < 0:
		return entry + ", " + value
	case !slices.ContainsFunc(entries[first+1:], isOurs):
		return strings.Replace(value, entries[first], entry, 1)
	}
	entries[first] = entry
	rest := slices.DeleteFunc(entries[first+1:], isOurs)
	return strings.Join(entries[:first+1+len(rest)], ", ")
}

// removeSpawned takes the spawn(8) service away where a resident milter takes its place.
func (p *Plan) removeSpawned(address string) {
	service, found := p.config.Service(layout.MilterID)
	if address == layout.MilterAddress || !found {
		return
	}
	const why = "a resident milter takes its place"
	p.Changes = append(p.Changes, Change{Service: true, Name: layout.MilterID, Was: &service.Line, ours: true,
		Why: why})
	p.unset(layout.MilterTimeLimit.Name, why)
}

const milterWhy = "judges mail at SMTP time"
