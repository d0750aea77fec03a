package setup

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// obstacle finds what cannot be decided without the operator.
func (p *Plan) obstacle() error {
	if err := p.otherMode(); err != nil {
		return err
	}
	if err := p.otherListener(); err != nil {
		return err
	}
	where, filter := otherFilter(p.config, p.wanted.Listener)
	switch {
	case filter == "" && p.wanted.LMTP == "":
		return p.lateMappings()
	case filter == "":
		return cmp.Or(p.lateMappings(), p.hiddenLogins())
	case p.wanted.Mode == ContentFilter:
		return fmt.Errorf("%s is %s already, and Postfix has only one content filter for a message; use "+
			"--mode transport, which runs postmend after it", where, filter)
	}
	if hint := p.hidesClient(where, filter); hint != "" {
		// To postmend, all mail would come from this host, so that it would sign for strangers.
		return fmt.Errorf("%s is %s, and postmend would not learn from it which client a message came "+
			"from; %s", where, filter, hint)
	}
	return p.hiddenLogins()
}

func (p *Plan) otherMode() error {
	inFilter := strings.HasPrefix(p.config.Get("content_filter"), layout.DefaultTransport)
	inTransport := strings.HasPrefix(p.config.Get("default_transport"), layout.DefaultTransport)
	if inFilter && p.wanted.Mode == Transport || inTransport && p.wanted.Mode == ContentFilter {
		return fmt.Errorf("postmend is set up in the other mode; undo that first: postmend setup --undo, " +
			"then run this again")
	}
	return nil
}

// hiddenLogins finds services whose Received: field does not tell of a login, where postmend has to read it
// there: by LMTP, and behind another filter. Users' mail would count as mail from outside. Debian 13 has that
// option in the submission services that are comments in its master.cf.
func (p *Plan) hiddenLogins() error {
	const option = "smtpd_hide_client_session"
	var names, commands []string
	for _, s := range p.entrances() {
		if s.Program == "smtpd" && p.valueOf(s, option) == "yes" {
			names = append(names, s.ID())
			commands = append(commands, p.config.SetOptionCommand(s.ID(), option, "no").String())
		}
	}
	if names == nil {
		return nil
	}
	return fmt.Errorf("%s has %s=yes, so that postmend would not learn which mail your users have sent; "+
		"run %s && %s, then run this again", strings.Join(names, " and "), option,
		strings.Join(commands, " && "), p.config.PostfixCommand("reload"))
}

// lateMappings finds aliases that would be expanded after the filter: never, because the listener maps no
// addresses.
func (p *Plan) lateMappings() error {
	if p.wanted.Mode != ContentFilter {
		return nil
	}
	const option, value = "receive_override_options", "no_address_mappings"
	where := ""
	if strings.Contains(p.config.Get(option), value) {
		where = "main.cf"
	}
	for _, s := range p.entrances() {
		if strings.Contains(s.Options[option], value) {
			where = s.ID() + " in master.cf"
		}
	}
	if where == "" {
		return nil
	}
	return fmt.Errorf("%s has %s with %s, so that aliases would be expanded neither before postmend nor "+
		"after it; remove that first", where, option, value)
}

// entrances are the services that take mail in, the listener aside.
func (p *Plan) entrances() []postconf.Service { return entrances(p.config, p.wanted.Listener) }

func entrances(c *postconf.Config, listener string) []postconf.Service {
	var services []postconf.Service
	for _, s := range c.Services() {
		if s.Name != listener && !isOurListener(s) && (s.Program == "smtpd" || s.Program == "pickup") {
			services = append(services, s)
		}
	}
	return services
}

// otherListener finds another service in the listener's place.
func (p *Plan) otherListener() error {
	port := p.wanted.Listener[strings.LastIndexByte(p.wanted.Listener, ':')+1:]
	for _, s := range p.config.Services() {
		if s.Type != "inet" || s.Name[strings.LastIndexByte(s.Name, ':')+1:] != port {
			continue
		}
		_, filters := s.Options["content_filter"]
		if s.Name != p.wanted.Listener || s.Program != "smtpd" || !filters {
			return fmt.Errorf("port %s belongs to the service %s of master.cf, which is not postmend's "+
				"listener; choose another port in [reinject] of postmend's configuration",
				port, s.ID())
		}
	}
	return nil
}

// otherFilter finds a filter that is not postmend, and where it is set.
func otherFilter(c *postconf.Config, listener string) (where, filter string) {
	isOther := func(value string) bool {
		return value != "" && !strings.HasPrefix(value, layout.DefaultTransport)
	}
	for _, name := range []string{"content_filter", "smtpd_proxy_filter"} {
		if value := c.Get(name); isOther(value) {
			return name, value
		}
	}
	for _, s := range entrances(c, listener) {
		for _, name := range []string{"content_filter", "smtpd_proxy_filter"} {
			if value := s.Options[name]; isOther(value) {
				return name + " of " + s.ID(), value
			}
		}
	}
	return "", ""
}

// hidesClient says what to do where another filter does not pass the client's address on; "" if it does.
func (p *Plan) hidesClient(where, filter string) string {
	const option = "smtpd_authorized_xforward_hosts"
	var commands []string
	name, hop, _ := strings.Cut(filter, ":")
	if strings.HasPrefix(where, "smtpd_proxy_filter") { // smtpd(8) tells its proxy by itself
		hop = filter
	} else {
		service, found := p.config.Service(strings.TrimSpace(name) + "/unix")
		if !found || service.Program != "smtp" && service.Program != "lmtp" {
			return "only a filter that smtp(8) or lmtp(8) leads to can tell: run that filter as a " +
				"milter, then run this again"
		}
		if tell := service.Program + "_send_xforward_command"; p.valueOf(service, tell) != "yes" {
			commands = append(commands, p.config.SetOptionCommand(service.ID(), tell, "yes").String())
		}
	}
	told := func(s postconf.Service) bool { return p.valueOf(s, option) != "" }
	returns := p.returns()
	for _, s := range returns {
		if !told(s) {
			commands = append(commands, p.config.SetOptionCommand(s.ID(), option, networkOf(hop)).String())
		}
	}
	hint := ""
	if commands != nil {
		hint = "run " + strings.Join(append(commands, p.config.PostfixCommand("reload").String()), " && ")
	}
	if len(returns) == 0 && !slices.ContainsFunc(p.entrances(), told) {
		hint = strings.TrimPrefix(hint+", and add -o "+option+"="+networkOf(hop)+" to the smtpd entry of "+
			"master.cf that takes mail back from that filter", ", and ")
	}
	if hint != "" {
		hint += ", or run that filter as a milter; then run this again"
	}
	return hint
}

// networkOf is where a filter sends mail from: loopback, unless its own address is elsewhere.
func networkOf(hop string) string {
	host := strings.TrimPrefix(hop, "inet:")
	if at := strings.LastIndexByte(host, ':'); at >= 0 {
		host = host[:at]
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && !ip.IsLoopback() {
		return ip.String()
	}
	return "127.0.0.0/8"
}

var publicPorts = []string{"smtp", "25", "submission", "587", "submissions", "smtps", "465"}

// returns are the services that take mail back from another filter: they filter nothing, and do not take
// mail from users.
func (p *Plan) returns() []postconf.Service {
	return slices.DeleteFunc(p.entrances(), func(s postconf.Service) bool {
		value, isSet := s.Options["content_filter"]
		isPublic := slices.Contains(publicPorts, s.Name)
		return s.Program != "smtpd" || !isSet || value != "" || isPublic
	})
}

// valueOf is a parameter as a service sees it.
func (p *Plan) valueOf(s postconf.Service, name string) string {
	if value, found := s.Options[name]; found {
		return value
	}
	return p.config.Get(name)
}
