package setup

import (
	"fmt"
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
	case filter == "":
		return p.lateMappings()
	case p.wanted.Mode == ContentFilter:
		return fmt.Errorf("%s is %s already, and Postfix has only one content filter for a message; use "+
			"--mode transport, which runs postmend after it", where, filter)
	case !p.tellsClient(filter):
		// To postmend, all mail would come from this host, so that it would sign for strangers.
		return fmt.Errorf("%s is %s, which does not pass the client's address on to postmend; add -o "+
			"smtp_send_xforward_command=yes to its entry in master.cf, and -o "+
			"smtpd_authorized_xforward_hosts=127.0.0.0/8 to the listener that it returns mail to, or run "+
			"that filter as a milter", where, filter)
	}
	return nil
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

// tellsClient tells whether a filter passes the client's address on.
func (p *Plan) tellsClient(filter string) bool {
	name, _, _ := strings.Cut(filter, ":")
	service, found := p.config.Service(name + "/unix")
	if !found || service.Options["smtp_send_xforward_command"] != "yes" &&
		service.Options["lmtp_send_xforward_command"] != "yes" {
		return false
	}
	for _, s := range p.entrances() {
		if s.Options["smtpd_authorized_xforward_hosts"] != "" {
			return true
		}
	}
	return p.config.Get("smtpd_authorized_xforward_hosts") != ""
}
