package setup

import (
	"fmt"
	"path/filepath"
	"strings"
)

// listenerOptions make the listener take back what postmend has mended, as it is: no second filter, no
// milter, no address mapping, no header completed after signing. docs/postfix.md shows it line by line.
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

// What postmend adds makes a message larger, and cleanup(8) has message_size_limit for the queue file. So the
// listener has a cleanup of its own without that limit: what was accepted once is not refused for our fields.
const (
	cleanupName    = "postmend-cleanup"
	CleanupService = cleanupName + "/unix"
	CleanupLine    = cleanupName + " unix n - n - 0 cleanup -o message_size_limit=0"
)

// Processes is how many messages are filtered at once. One may wait for DNS for as long as dns_deadline says, and takes little memory
// meanwhile (1 to 3 MB); local mail waits behind them only if all of them do.
const Processes = 100

// StatusPattern turns what Postfix makes of crashes, time-outs and configuration errors (5.3.x, 5.5.x) into
// deferrals. It is for a file.
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
	option := "pipe_delivery_status_filter=" + p.statusFilter()
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

// statusFilter is a table within the parameter, where every dollar is doubled, or before Postfix 3.7 a file.
// It is an option of one service, so that no other parameter refers to it, which would expand it once more.
func (p *Plan) statusFilter() string {
	if p.config.Version.AtLeast(3, 7) {
		return "regexp:{{" + strings.ReplaceAll(StatusPattern, "$", "$$") + "}}"
	}
	return p.table(statusFile, StatusPattern, "a table that Postfix before 3.7 cannot have within a parameter")
}

// table plans a file with one pattern in Postfix's configuration directory, and gives the table's name.
func (p *Plan) table(file, pattern, why string) string {
	path := filepath.Join(p.config.Dir, file)
	p.Files = append(p.Files, File{Path: path, Content: pattern + "\n", Mode: 0o644, Why: why})
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

// nextTransport is where mended mail goes in transport mode: to the transport that postmend took the place
// of. An empty next hop is the recipient's domain; relayhost does not apply to a content filter, so it is
// named.
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
