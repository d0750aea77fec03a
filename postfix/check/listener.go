package check

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"postmend/postfix/layout"
	"postmend/postfix/postconf"
)

// listenerOption is an option of the re-injection listener, and what is wrong with another value than
// layout's, or, if layout has none, than the default.
type listenerOption struct {
	name, byDefault string
	severity        Severity
	isGood          func(value string) bool // nil: only that value
	why             string
}

// overrides are the values of receive_override_options, with what happens without them.
var overrides = []struct{ option, harm string }{
	{"no_unknown_recipient_checks",
		"mail that was accepted can be refused here, and is then deferred until it bounces"},
	{"no_header_body_checks", "header and body checks are made twice, and may change signed text"},
	{"no_milters", "milters may change signed text, or sign it again"},
	{"no_address_mappings",
		"addresses are expanded twice, Bcc: copies are doubled, and signed fields are rewritten"},
}

const (
	refuses  = "the listener has to take back all mail: what it refuses is deferred, and bounces in the end"
	changes  = "a change after signing breaks the signature"
	handOver = "postmend hands mail back by plain SMTP on this host; otherwise all mail is deferred"
)

// listenerOptions are "The re-injection listener" in master.cf, but for what a rule of its own judges.
var listenerOptions = []listenerOption{
	{"smtpd_helo_restrictions", "", Error, nil, refuses},
	{"smtpd_client_restrictions", "", Error, nil, refuses},
	{"smtpd_sender_restrictions", "", Error, nil, refuses},
	{"smtpd_relay_restrictions", "", Warning, nil, refuses},
	{"smtpd_data_restrictions", "", Error, nil, refuses},
	{"smtpd_end_of_data_restrictions", "", Error, nil, refuses},
	{"smtpd_recipient_restrictions", "", Error, takesOnlyMyNetworks,
		"the listener has to take mail from this host, and from no other"},
	{"mynetworks", "", Error, onlyLoopback,
		"the listener has to take mail from this host, and from no other"},
	{"smtpd_authorized_xforward_hosts", "", Warning, coversLoopback,
		"without XFORWARD the log and later filters take this host for the client"},
	{"local_header_rewrite_clients", "", Error, nil,
		"Postfix completes the header after signing, which breaks the signature"},
	{"remote_header_rewrite_domain", "", Error, nil, changes},
	{"smtpd_proxy_filter", "", Error, nil, changes},
	{"smtpd_command_filter", "", Warning, nil, refuses},
	{"smtpd_upstream_proxy_protocol", "", Error, nil, handOver},
	{"smtpd_tls_security_level", "", Error, isNone, handOver},
	{"smtpd_tls_wrappermode", "no", Error, nil, handOver},
	{"smtpd_sasl_auth_enable", "", Warning, nil, handOver},
	{"smtpd_discard_ehlo_keywords", "", Error, keepsExtensions,
		"without 8BITMIME, SMTPUTF8 and XFORWARD, mail cannot be handed back unchanged"},
	{"syslog_name", "", Note, isNotPlain, "the log does not tell the second pass from the first"},
}

// listenerRules judge the smtpd(8) that takes mail back.
var listenerRules = []rule[*host]{
	{"listener-filter", Error, "the listener does not filter again",
		"mail loops until hopcount_limit, and then bounces", judgeListenerFilter},
	{"listener-overrides", Error, "the second pass repeats no check and no address mapping",
		"the second pass has to deliver mail unchanged", judgeOverrides},
	{"listener-milters", Error, "no milter sees the mail after it was signed",
		"a milter may change signed text, or sign it again", judgeListenerMilters},
	{"listener-size", Warning, "the listener accepts messages that postmend made larger",
		"a message just below message_size_limit cannot be handed back: it is deferred, and bounces in " +
			"the end",
		judgeListenerSize},
	{"listener-options", Error, "the listener takes all mail from this host, unchanged", "",
		judgeListenerOptions},
	// The last one, because it renames the service that all other commands name.
	{"listener-address", Warning, "the listener is open to this host only",
		"whoever reaches it bypasses every check of the first pass", judgeListenerAddress},
}

func judgeListenerOptions(h *host) []fault {
	var faults []fault
	for _, o := range listenerOptions {
		value, want := h.value(h.listener, o.name), o.right()
		if value == want || o.isGood != nil && o.isGood(value) {
			continue
		}
		faults = append(faults, fault{What: fmt.Sprintf("on %s, %s is %s", h.listener.ID(), o.name,
			shown(value)), Why: o.why,
			Mend: h.setOption(h.listener, o.name, want), Severity: o.severity})
	}
	return faults
}

// right is the value that the option should have.
func (o listenerOption) right() string {
	if value, found := layout.ListenerOption(o.name); found {
		return value
	}
	return o.byDefault
}

func shown(value string) string {
	if value == "" {
		return "empty"
	}
	return value
}

func isNotPlain(syslogName string) bool { return syslogName != "postfix" }

func isNone(value string) bool { return value == "" || value == "none" }

func judgeListenerFilter(h *host) []fault {
	value := h.value(h.listener, "content_filter")
	want := ""
	if h.isTransport() {
		want = "smtp:$relayhost" // transport_maps and relayhost do not apply to a content_filter
	}
	mend := h.setOption(h.listener, "content_filter", want)
	switch {
	case transport(value) == h.filterName():
		return one(h.listener.ID()+" filters again what the filter hands back: -o content_filter="+want+
			" is missing", mend)
	case h.isTransport() == h.isContentFilter() && (value == "" || h.hasTransport(value)):
		return nil // the route says so
	case h.isTransport() && value == "":
		return one(h.listener.ID()+" hands mail to default_transport, which is the filter: -o "+
			"content_filter="+want+" is missing", mend)
	case value != "" && !h.hasTransport(value):
		return one(h.listener.ID()+" passes mail to "+value+", and master.cf has no service "+
			transport(value)+": all mail is deferred", mend)
	case !h.isTransport() && value != "":
		return []fault{{What: h.listener.ID() + " passes mail to " + value + ", which may change it after " +
			"it was signed: put that filter before postmend (postmend setup --mode transport)",
			Severity: Warning}}
	}
	return nil
}

func judgeOverrides(h *host) []fault {
	const name = "receive_override_options"
	found := postconf.List(h.value(h.listener, name))
	all := slices.Clone(found)
	var faults []fault
	for _, o := range overrides {
		if !slices.Contains(found, o.option) {
			all = append(all, o.option)
		}
	}
	for _, o := range overrides {
		if !slices.Contains(found, o.option) {
			faults = append(faults, fault{What: fmt.Sprintf("on %s, %s lacks %s: %s", h.listener.ID(), name,
				o.option, o.harm),
				Mend: h.setOption(h.listener, name, strings.Join(all, ","))})
		}
	}
	return faults
}

// judgeListenerAddress looks at where an inet service listens; mynetworks is the second lock.
func judgeListenerAddress(h *host) []fault {
	if h.listener.Type != "inet" {
		return nil
	}
	bound, port := cutHost(h.listener.Name)
	if isLoopback(bound) || bound == "" && onlyLoopback(h.Main("inet_interfaces")) {
		return nil
	}
	_, address, _ := listenerAddress(h.Target)
	host, _ := cutHost(address)
	if host == "localhost" {
		host = "127.0.0.1"
	}
	name := host + ":" + port
	if strings.Contains(host, ":") {
		name = "[" + host + "]:" + port
	}
	return []fault{{What: h.listener.ID() + " listens on every address of this host",
		Mend: h.setField(h.listener.ID()+"/service", name)}}
}

func judgeListenerMilters(h *host) []fault {
	value := h.value(h.listener, "smtpd_milters")
	if value == "" {
		return nil
	}
	wrong := fault{What: fmt.Sprintf("on %s, smtpd_milters is %s", h.listener.ID(), value),
		Mend: h.setOption(h.listener, "smtpd_milters", ""), Severity: Warning}
	if !slices.Contains(postconf.List(h.value(h.listener, "receive_override_options")), "no_milters") {
		wrong.Severity = Error
	}
	return []fault{wrong}
}

// judgeListenerSize: smtpd(8) has a limit, and cleanup(8) behind it has one for the queue file.
func judgeListenerSize(h *host) []fault {
	limit := h.Main("message_size_limit")
	hasRoom := func(s *postconf.Service) bool { return exceeds(h.value(s, "message_size_limit"), limit) }
	if limit == "0" {
		return nil
	}
	name := h.value(h.listener, "cleanup_service_name")
	isBehind := func(s *postconf.Service) bool { return s.Name == name && hasRoom(s) }
	if hasRoom(h.listener) && slices.ContainsFunc(h.servicesOf("cleanup"), isBehind) {
		return nil
	}
	sizeLimit, _ := layout.ListenerOption("message_size_limit")
	cleanup, _ := layout.ListenerOption("cleanup_service_name")
	return one(fmt.Sprintf("%s and its cleanup(8) take at most message_size_limit, %s octets, but "+
		"messages come back larger", h.listener.ID(), limit),
		strings.Join([]string{
			h.config.SetServiceCommand(layout.CleanupID, layout.CleanupLine).String(),
			h.setOption(h.listener, "message_size_limit", sizeLimit),
			h.setOption(h.listener, "cleanup_service_name", cleanup),
		}, " && "))
}

// exceeds compares limits of sizes; 0 stands for no limit.
func exceeds(value, limit string) bool {
	n, err := strconv.ParseInt(value, 10, 64)
	least, _ := strconv.ParseInt(limit, 10, 64)
	return err == nil && (n == 0 || n > least)
}

// takesOnlyMyNetworks takes lists that let mynetworks in at once, and nobody else.
func takesOnlyMyNetworks(value string) bool {
	restrictions := postconf.List(value)
	return len(restrictions) > 1 && restrictions[0] == "permit_mynetworks" &&
		(restrictions[1] == "reject" || restrictions[1] == "defer")
}

// onlyLoopback takes networks and addresses of loopback, and its names.
func onlyLoopback(value string) bool {
	networks := postconf.List(value)
	for _, network := range networks {
		network = strings.NewReplacer("[", "", "]", "").Replace(network)
		if network == "localhost" || network == "loopback-only" {
			continue
		}
		address, _, _ := strings.Cut(network, "/")
		ip, err := netip.ParseAddr(address)
		if err != nil || !ip.IsLoopback() {
			return false
		}
	}
	return len(networks) > 0
}

// coversLoopback takes lists that name at least one network of loopback. What else they name is the
// operator's.
func coversLoopback(value string) bool {
	return slices.ContainsFunc(postconf.List(value), onlyLoopback)
}

// keepsExtensions takes lists that hide nothing which the hand-over needs.
func keepsExtensions(value string) bool {
	return !slices.ContainsFunc(postconf.List(strings.ToLower(value)), func(keyword string) bool {
		return slices.Contains([]string{"8bitmime", "smtputf8", "xforward"}, keyword)
	})
}

// addListener is the command for a listener that is not there.
func (h *host) addListener() string {
	kind, address, _ := listenerAddress(h.Target)
	if kind == "inet" {
		return h.planned(layout.CleanupID, address+"/inet")
	}
	queue := h.Main("queue_directory")
	for _, folder := range []string{"private", "public"} {
		name, found := strings.CutPrefix(address, filepath.Join(queue, folder)+"/")
		private := map[string]string{"private": "y", "public": "n"}[folder]
		line, _ := h.plannedLine(h.wanted.Listener + "/inet")
		if found && line != "" {
			columns := words(line)
			copy(columns, []string{name, "unix", private})
			return h.config.SetServiceCommand(name+"/unix", join(columns)).String()
		}
	}
	return ""
}
