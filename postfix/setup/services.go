package setup

import (
	"fmt"
	"path/filepath"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

func (p *Plan) addServices() {
	if p.wanted.LMTP != "" {
		p.addLMTP()
	} else {
		p.addPipe()
	}
	p.setService(layout.CleanupID, layout.CleanupLine, "allows messages to grow by what postmend adds")
	next := ""
	if p.wanted.Mode == Transport {
		next = p.nextTransport()
	}
	p.setService(p.wanted.Listener+"/inet", layout.ListenerLine(p.wanted.Listener, next),
		"takes the mended messages back")
	for _, s := range p.config.Services() {
		if isOurListener(s) && s.Name != p.wanted.Listener {
			was := s.Line
			p.Changes = append(p.Changes, Change{Service: true, Name: s.ID(), Was: &was, ours: true,
				Why: "a listener of postmend's at another port than [reinject] has"})
		}
	}
}

// addPipe has pipe(8) start postmend.
func (p *Plan) addPipe() {
	p.setService(layout.FilterID, p.program().FilterLine(p.statusFilter(), p.config.Version.AtLeast),
		"pipe(8) starts postmend for each message; its status filter keeps faults from bouncing mail")
	limit := layout.Recipients(p.wanted.Mode == Transport)
	p.set(limit.Name, limit.Value, map[bool]string{
		true:  "the recipients of one domain share a run: their outcomes do not differ",
		false: "one recipient for each run: an exit status counts for all",
	}[p.wanted.Mode == Transport])
	p.set(layout.TimeLimit.Name, layout.TimeLimit.Value, "more time than postmend's own deadline")
	for _, m := range layout.Macros {
		if !p.config.Version.AtLeast(m.Major, m.Minor) {
			p.Details = append(p.Details,
				fmt.Sprintf("Postfix %s has no ${%s} (%d.%d has): the envelope id of a sender who requested"+
					" delivery reports is lost", p.config.Version, m.Name, m.Major, m.Minor))
		}
	}
}

// isOurListener knows a listener that setup made, wherever it was moved to.
func isOurListener(s postconf.Service) bool {
	cleanup, _ := layout.ListenerOption("cleanup_service_name")
	return s.Program == "smtpd" && s.Options["syslog_name"] == layout.ListenerLog &&
		s.Options["cleanup_service_name"] == cleanup
}

func (p *Plan) program() layout.Program {
	return layout.Program{Path: p.wanted.Program, ConfigFile: p.wanted.ConfigFile, User: p.wanted.User}
}

// statusFilter is a table within the parameter, or before Postfix 3.7 a file. It is an option of one service,
// so that no other parameter refers to it, which would expand it once more.
func (p *Plan) statusFilter() string {
	if p.config.Version.AtLeast(3, 7) {
		return layout.StatusFilter()
	}
	return p.table(layout.StatusFile, layout.StatusPattern,
		"a table, which Postfix before 3.7 does not support within a parameter")
}

// table plans a file with one pattern in Postfix's configuration directory, and gives the table's name.
func (p *Plan) table(file, pattern, why string) string {
	path := filepath.Join(p.config.Dir, file)
	p.Files = append(p.Files, File{Path: path, Content: pattern + "\n", Mode: 0o644, Why: why})
	return "regexp:" + path
}

// nextTransport is where mended mail goes in transport mode: to the transport that postmend took the place
// of. An empty next hop is the recipient's domain; relayhost does not apply to a content filter, so it is
// named.
func (p *Plan) nextTransport() string {
	transport := p.config.Get("default_transport")
	if strings.HasPrefix(transport, layout.DefaultTransport) {
		listener, found := p.config.Service(p.wanted.Listener + "/inet")
		if found && listener.Options["content_filter"] != "" {
			return listener.Options["content_filter"]
		}
		transport = "smtp"
	}
	if name, nexthop, _ := strings.Cut(transport, ":"); nexthop == "" {
		return name + ":$relayhost"
	}
	return transport
}

// addSwitch is the change that sends mail through postmend: the last one.
func (p *Plan) addSwitch(domains *Domains) {
	if p.wanted.Mode == Transport {
		p.set("default_transport", p.nextHop(), "all mail for remote domains passes postmend")
		for _, name := range []string{"transport_maps", "sender_dependent_default_transport_maps"} {
			if p.config.Get(name) != "" {
				p.note("mail that %s routes to another transport does not pass postmend", name)
			}
		}
		return
	}
	for _, s := range p.entrances() {
		if value, isSet := s.Options["content_filter"]; isSet && value == "" {
			p.note("%s in master.cf has its own -o content_filter=: mail that it accepts does not pass "+
				"postmend", s.ID())
		}
	}
	p.set("content_filter", p.nextHop(), "all mail from smtpd(8) and pickup(8) passes postmend")
	if found, _ := Forwards(p.config, domains); len(found) > 0 {
		p.note("forwards that do not pass a content filter: %s; --mode transport mends them, too",
			ShowForwards(found, 5))
	}
}
