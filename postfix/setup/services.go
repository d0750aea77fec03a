package setup

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// listenerOptions make the listener take back what postmend has mended, as it is: no second filter, no milter, no address mapping, no
// header completed after signing. docs/postfix.md shows it line by line.
var listenerOptions = []string{
	"syslog_name=" + listenerName,
	"content_filter=",
	"receive_override_options=no_unknown_recipient_checks,no_header_body_checks,no_milters,no_address_mappings",
	"smtpd_milters=",
	"smtpd_helo_restrictions=",
	"smtpd_client_restrictions=",
	"smtpd_sender_restrictions=",
	"smtpd_relay_restrictions=",
	"smtpd_data_restrictions=",
	"smtpd_end_of_data_restrictions=",
	"smtpd_recipient_restrictions=permit_mynetworks,reject",
	"mynetworks=127.0.0.0/8",
	"smtpd_authorized_xforward_hosts=127.0.0.0/8",
	"local_header_rewrite_clients=",
	"smtpd_tls_security_level=none",
	"smtpd_sasl_auth_enable=no",
	"message_size_limit=0",
	"cleanup_service_name=" + cleanupName,
}

// What postmend adds makes a message larger, and cleanup(8) has message_size_limit for the queue file. So the listener has a cleanup of its own
// without that limit: what was accepted once is not refused for our fields.
const (
	cleanupName    = "postmend-cleanup"
	CleanupService = cleanupName + "/unix"
	CleanupLine    = cleanupName + " unix n - n - 0 cleanup -o message_size_limit=0"
)

// Processes is how many messages are filtered at once. One may wait for DNS for as long as dns_deadline says, and takes little memory
// meanwhile (1 to 3 MB); local mail waits behind them only if all of them do.
const Processes = 100

// StatusPattern turns what Postfix makes of crashes, time-outs and configuration errors (5.3.x, 5.5.x) into deferrals. It is for a file.
const StatusPattern = `/^5(\.[35]\.[0-9]+ .*)/ 4$1`

func (p *Plan) addServices() {
	p.setService(filterService, p.filterLine(), "pipe(8) starts postmend for each message; its status filter keeps faults from bouncing mail")
	p.setService(CleanupService, CleanupLine, "lets messages grow by what postmend adds")
	p.setService(p.wanted.Listener+"/inet", p.listenerLine(), "takes the mended messages back")
	p.set(transportName+"_destination_recipient_limit", "1", "each recipient has a status of its own")
	p.set(transportName+"_time_limit", "300s", "mail that reaches it bounces: far above postmend's own deadline")
}

func (p *Plan) filterLine() string {
	argv := p.argv("filter") + " -f ${sender} --queue-id=${queue_id} --client-address=${client_address}" +
		" --client-name=${client_hostname} --client-port=${client_port} --client-protocol=${client_protocol}" +
		" --helo=${client_helo} --sasl-username=${sasl_username} --size=${size} --original-recipient=${original_recipient}"
	if p.config.Version.AtLeast(3, 9) {
		argv += " --envid=${envid}"
	} else {
		p.note("Postfix %s has no ${envid} (3.9 has): the envelope id of a sender who asked for delivery reports is lost", p.config.Version)
	}
	option := "pipe_delivery_status_filter=" + p.regexpTable(statusFile, StatusPattern)
	if strings.Contains(option, " ") {
		option = "{" + option + "}" // as postconf(1) prints it, so that a second run finds no difference
	}
	return fmt.Sprintf("%s unix - n n - %d pipe -o %s flags=q user=%s null_sender= argv=%s -- ${recipient}",
		transportName, Processes, option, p.wanted.User, argv)
}

// argv is the start of a command of postmend's.
func (p *Plan) argv(command string) string {
	argv := p.wanted.Program + " " + command
	if p.wanted.ConfigFile != "" {
		argv += " -c " + p.wanted.ConfigFile
	}
	return argv
}

// regexpTable gives the name of a table with one pattern: a table within the parameter, where every dollar is doubled, or before Postfix 3.7
// a file.
func (p *Plan) regexpTable(file, pattern string) string {
	if p.config.Version.AtLeast(3, 7) {
		return "regexp:{{" + strings.ReplaceAll(pattern, "$", "$$") + "}}"
	}
	path := filepath.Join(p.config.Dir, file)
	p.Files = append(p.Files, File{Path: path, Content: pattern + "\n", Mode: 0o644})
	return "regexp:" + path
}

func (p *Plan) listenerLine() string {
	words := []string{p.wanted.Listener, "inet", "n", "-", "n", "-", "-", "smtpd"}
	for _, option := range listenerOptions {
		if p.wanted.Mode == Transport && option == "content_filter=" {
			option += p.nextTransport()
		}
		words = append(words, "-o", option)
	}
	return strings.Join(words, " ")
}

// nextTransport is where mended mail goes in transport mode: to the transport that postmend took the place of. An empty next hop is the
// recipient's domain; relayhost does not apply to a content filter, so it is named.
func (p *Plan) nextTransport() string {
	transport := p.config.Get("default_transport")
	if transport == transportName+":" {
		if listener, found := p.config.Service(p.wanted.Listener + "/inet"); found && listener.Options["content_filter"] != "" {
			return listener.Options["content_filter"]
		}
		transport = "smtp"
	}
	if name, nexthop, _ := strings.Cut(transport, ":"); nexthop == "" {
		return name + ":$relayhost"
	}
	return transport
}

// addSRS makes bounces to SRS addresses come home: a table verifies them at RCPT TO and gives the original recipient to cleanup(8).
//
// It stands in virtual_alias_maps, which disturbs least: recipient_canonical_maps would rewrite headers too, unless
// recipient_canonical_classes is changed for the operator's own tables as well. The regular expression in front of it keeps every other
// address from asking, so that trouble with the table delays bounces and nothing else.
func (p *Plan) addSRS(domains *Domains) {
	domain := p.wanted.SRSDomain
	if domain == "" {
		p.note("the configuration has no SRS domain: senders stay as they are, and no table is set up")
		return
	}
	p.setService(lookupService, fmt.Sprintf("%s unix - n n - 0 spawn user=%s argv=%s --protocol socketmap",
		strings.TrimSuffix(lookupService, "/unix"), p.wanted.User, p.argv("lookup reverse")),
		"spawn(8) starts postmend to answer for SRS addresses")

	if _, found := withoutOurs(p.config.Get("recipient_canonical_maps")); !found {
		p.addTable(domain)
	}
	if class := domains.Class(domain); class == "" {
		p.set("virtual_alias_domains", joined(p.config.Get("virtual_alias_domains"), domain), "mail for the SRS domain is taken; unknown addresses are refused")
	} else if class == "relay_domains" {
		p.note("%s stands in relay_domains already: forged SRS addresses may be taken at RCPT TO, and are refused later. In virtual_alias_domains they would be refused at once", domain)
	}
	p.replacePostSRSd()
}

func (p *Plan) addTable(domain string) {
	pattern := fmt.Sprintf(`/^(SRS[01][-+=].*@%s)$/ $1`, regexp.QuoteMeta(domain))
	table := fmt.Sprintf("pipemap:{%s, socketmap:unix:private/%s:reverse}", p.regexpTable(srsFile, pattern), strings.TrimSuffix(lookupService, "/unix"))
	aliases := p.config.Get("virtual_alias_maps")
	if !slices.Contains(splitList(aliases), table) {
		rest, _ := withoutOurs(aliases)
		aliases = joined(rest, table)
	}
	p.set("virtual_alias_maps", aliases, "bounces to SRS addresses of ours are verified, and go to the original sender")
}

// withoutOurs takes our table out of a list.
func withoutOurs(list string) (rest string, found bool) {
	var kept []string
	for _, item := range splitList(list) {
		if isOurs(item) {
			found = true
			continue
		}
		kept = append(kept, item)
	}
	if !found {
		return list, false
	}
	return strings.Join(kept, ", "), true
}

func isOurs(table string) bool {
	return strings.Contains(table, "socketmap:unix:private/"+strings.TrimSuffix(lookupService, "/unix")+":")
}

func joined(list, item string) string {
	if list == "" {
		return item
	}
	return list + ", " + item
}

// replacePostSRSd takes the table out that rewrites senders before postmend sees them: SPF and DMARC would be judged for the wrong
// sender. Its table for recipients stays, and answers for the addresses that it made.
func (p *Plan) replacePostSRSd() {
	var kept, taken []string
	for _, table := range splitList(p.config.Get("sender_canonical_maps")) {
		if isPostSRSd(table) {
			taken = append(taken, table)
		} else {
			kept = append(kept, table)
		}
	}
	if len(taken) == 0 {
		return
	}
	const why = "postmend rewrites the senders now; PostSRSd would hide them from it"
	if len(kept) > 0 {
		p.set("sender_canonical_maps", strings.Join(kept, ", "), why)
	} else {
		p.unset("sender_canonical_maps", why)
	}
	p.note("PostSRSd's table %s is taken out of sender_canonical_maps; the one in recipient_canonical_maps stays for bounces to the addresses it made. "+
		"When those are three weeks old, take it out too and stop PostSRSd", strings.Join(taken, ", "))
}

// isPostSRSd knows the table of PostSRSd 1 by its port, and that of PostSRSd 2 by its name.
func isPostSRSd(table string) bool {
	return strings.HasPrefix(table, "tcp:") && strings.HasSuffix(table, ":10001") ||
		strings.HasPrefix(table, "socketmap:") && strings.HasSuffix(table, ":forward")
}

// addSwitch is the change that sends mail through postmend: the last one.
func (p *Plan) addSwitch() {
	if p.wanted.Mode == Transport {
		p.set("default_transport", transportName+":", "whatever leaves for a remote domain passes postmend")
		for _, name := range []string{"transport_maps", "sender_dependent_default_transport_maps"} {
			if p.config.Get(name) != "" {
				p.note("what %s sends elsewhere does not pass postmend", name)
			}
		}
		return
	}
	for _, s := range p.entrances() {
		if value, isSet := s.Options["content_filter"]; isSet && value == "" {
			p.note("%s in master.cf has -o content_filter= of its own: what it takes in does not pass postmend", s.ID())
		}
	}
	p.set("content_filter", transportName+":dummy", "whatever comes in by smtpd(8) and pickup(8) passes postmend")
	p.note("forwards made by alias(5) and .forward do not pass a content filter; if there are such, use --mode transport")
}
