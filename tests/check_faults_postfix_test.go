package tests

import (
	"slices"
	"strings"
)

// serviceFaults are in the filter's entry of master.cf.
var serviceFaults = []misconfiguration{
	{name: "a chroot", script: `pc -F ` + filterID + `/chroot=y`, finding: "filter-master-columns",
		says: "chroot"},
	{name: "no privileges", script: `pc -F ` + filterID + `/unprivileged=y`, finding: "filter-master-columns",
		says: "privileges"},
	{name: "flag R", script: `m s/flags=q/flags=Rq/`, finding: "filter-flags", says: "R adds a Return-Path"},
	{name: "flags D, O and F", script: `m s/flags=q/flags=DOFq/`, finding: "filter-flags",
		says: "D adds a Delivered-To"},
	{name: "flag u", script: `m s/flags=q/flags=uq/`, finding: "filter-flags", says: "SRS"},
	{name: "no flag q", script: `m 's/flags=q //'`, finding: "filter-flags", says: "lacks q"},
	{name: "null_sender left out", script: `m 's/null_sender=//'`, finding: "filter-null-sender",
		says: "MAILER-DAEMON"},
	{name: "null_sender set", script: `m 's/null_sender=/&postmaster/'`, finding: "filter-null-sender",
		says: "not empty"},
	{name: "-f and sender in one word", script: `m 's/-f \${sender}/-f${sender}/'`, finding: "filter-sender",
		says: "two words"},
	{name: "no -- before the recipients", script: `m 's/-- \${recipient}/${recipient}/'`,
		finding: "filter-recipients", says: "--"},
	{name: "folded recipients", script: `m 's/-- \${recipient}/-- ${user}@${domain}/'`,
		finding: "filter-macros", says: "${user}", also: []string{"filter-recipients"}},
	{name: "a macro that does not exist", script: `m 's/--size=/--envid=${orcpt} &/'`,
		finding: "filter-macros", says: "${orcpt}"},
	{name: "no client address", script: `m 's/--client-address=\${client_address}//'`,
		finding: "filter-arguments", says: "this host's own"},
	{name: "no user name", script: `m 's/--sasl-username=\${sasl_username}//'`, finding: "filter-arguments",
		says: "users who log in"},
	{name: "an unknown attribute", script: `m 's/flags=q/& colour=red/'`, finding: "filter-attributes",
		says: "colour"},
	{name: "an option behind the attributes",
		script:  `m '/-o { pipe_delivery/d'; m 's/flags=q/& -o soft_bounce=yes/'`,
		finding: "filter-attributes", says: "-o soft_bounce=yes", also: []string{"filter-status-filter"}},
	{name: "root as user", script: `m '/flags=q/s/user=postmend-test/user=root/'`, finding: "filter-user",
		says: "root"},
	{name: "Postfix as user", script: `m '/flags=q/s/user=postmend-test/user=postfix/'`,
		finding: "filter-user", says: "Postfix's own"},
	{name: "nobody as user", script: `m '/flags=q/s/user=postmend-test/user=nobody/'`, finding: "filter-user",
		says: "programs without an account"},
	{name: "a general account as user", script: `m '/flags=q/s/user=postmend-test/user=www-data/'`,
		finding: "filter-user", says: "general accounts"},
	{name: "an account of the system as user",
		script: `m '/flags=q/s/user=postmend-test/user=daemon:daemon/'`, finding: "filter-user",
		says: "general accounts"},
	{name: "an account that another service runs as",
		script:  `pc -M 'vmail/unix=vmail unix - n n - - pipe user=postmend-test argv=/bin/cat'`,
		finding: "filter-user", says: "vmail/unix in master.cf",
		also: []string{"srs-table", "srs-secrets", "dkim-keys", "spool", "srs-store"}, ownEtc: true},
	{name: "nobody as user, with all that is its own",
		script: `m 's/user=postmend-test/user=nobody/'
		chown nobody "$HOME_DIR/srs.secrets" "$HOME_DIR"/dkim/*.pem "$HOME_DIR/spool" "$HOME_DIR/srs"`,
		finding: "filter-user", says: "programs without an account",
		also: []string{"srs-table", "srs-secrets", "dkim-keys", "spool", "srs-store"}, ownEtc: true},
	{name: "a user that does not exist", script: `m '/flags=q/s/user=postmend-test/user=nosuchuser/'`,
		finding: "filter-user", says: "nosuchuser"},
	{name: "no user", script: `m '/flags=q/s/user=postmend-test//'`, finding: "filter-user", says: "missing"},
	{name: "no program", script: `own; rm "$DIR/postmend"`, finding: "filter-program", says: "does not exist",
		also: []string{"srs-table"}},
	{name: "an empty program", script: `own; : > "$DIR/postmend"`, finding: "filter-program",
		says: "is empty"},
	{name: "a program that others may change", script: `own; chmod g+w "$DIR/postmend"`,
		finding: "filter-program", says: "can be changed"},
	{name: "a program that the user may not run", script: `own; chmod 700 "$DIR/postmend"`,
		finding: "filter-program", says: "may not run"},
	{name: "a program in a folder that anybody may write to", script: `own; chmod 777 "$DIR"`,
		finding: "filter-program", says: "can be replaced", also: []string{"config-writable"}},
	{name: "a program that does not run",
		script:  `own; printf '#!/bin/sh\necho broken >&2; exit 1\n' > "$DIR/postmend"`,
		finding: "filter-trial", says: "broken", byHand: true},
	{name: "a program without a path", script: `m "s|argv=$PROGRAM filter|argv=postmend filter|"`,
		finding: "filter-program", says: "absolute"},
	{name: "no status filter", script: `m '/-o { pipe_delivery/d'`, finding: "filter-status-filter",
		says: "not set"},
	{name: "a status filter that holds refusals", script: `m 's/\^5([^)]*)/^5(.*)/'`,
		finding: "filter-status-filter", says: "deferred instead"},
	{name: "a status filter that does not exist", script: `m 's/= regexp:.*}}/= regexp:\/nonexistent/'`,
		finding: "filter-status-filter", says: "/nonexistent"},
	{name: "a time limit below our deadline", script: `pc -e postmend_time_limit=30s`,
		finding: "filter-time-limit", says: "30s"},
	{name: "a time limit that the reply to the final dot may pass", script: `pc -e postmend_time_limit=100`,
		finding: "filter-time-limit", says: "a run may take"},
	{name: "many recipients in a run", script: `pc -e postmend_destination_recipient_limit=50`,
		finding: "filter-recipient-limit", says: "50"},
	{name: "few runs at once", script: `pc -F -e postmend/unix/process_limit=20`, finding: "filter-processes",
		says: "20"},
	{name: "another configuration in master.cf", script: `m 's| filter -c [^ ]*| filter|'`,
		finding: "filter-config-file", says: "/etc/postmend/postmend.toml"},
}

// listenerFaults are in the listener's entry of master.cf.
var listenerFaults = slices.Concat([]misconfiguration{
	{name: "a listener that filters again", script: `pc -PX ` + listenerID + `/content_filter`,
		finding: "listener-filter", says: "filters again"},
	{name: "a second filter behind the listener", script: `pc -P ` + listenerID +
		`/content_filter=amavis:x; pc -M 'amavis/unix=amavis unix - - n - 2 smtp'`,
		finding: "listener-filter", says: "amavis", byHand: true},
	{name: "a filter behind the listener that master.cf lacks", script: `pc -P ` + listenerID +
		`/content_filter=amavis:x`, finding: "listener-filter", says: "no service amavis"},
	{name: "a listener on all addresses", script: `m 's/^127.0.0.1:10026/10026/'; pc -e inet_interfaces=all`,
		finding: "listener-address", says: "every address"},
	{name: "a listener with Postfix's size limit", script: `pc -PX ` + listenerID + `/message_size_limit`,
		finding: "listener-size", says: "larger"},
	{name: "the listener's cleanup with Postfix's size limit",
		script: `pc -PX postmend-cleanup/unix/message_size_limit`, finding: "listener-size", says: "larger"},
	{name: "Postfix's own cleanup behind the listener", script: `pc -PX ` + listenerID +
		`/cleanup_service_name`, finding: "listener-size", says: "larger"},
	{name: "no cleanup for the listener", script: `pc -MX postmend-cleanup/unix`, finding: "listener-size",
		says: "larger"},
	{name: "OpenDKIM behind the listener", script: `pc -P ` + listenerID +
		`/smtpd_milters=inet:127.0.0.1:8891`, finding: "listener-milters", says: "8891"},
	listenerFault("mynetworks", "0.0.0.0/0", "127.0.0.1:10026"),
	listenerFault("smtpd_recipient_restrictions", "permit_sasl_authenticated,reject", "permit_sasl"),
	listenerFault("smtpd_authorized_xforward_hosts", "", "empty"),
	listenerFault("local_header_rewrite_clients", "permit_mynetworks", "permit_mynetworks"),
	listenerFault("smtpd_tls_security_level", "encrypt", "encrypt"),
	listenerFault("smtpd_sasl_auth_enable", "yes", "yes"),
	listenerFault("smtpd_proxy_filter", "127.0.0.1:10024", "10024"),
	listenerFault("smtpd_discard_ehlo_keywords", "8bitmime", "8bitmime"),
	listenerFault("smtpd_relay_restrictions", "permit_mynetworks,reject_unauth_destination", "reject_unauth"),
}, overrideFaults(), restrictionFaults())

func listenerFault(option, value, says string) misconfiguration {
	return misconfiguration{name: option + " of the listener", script: "pc -P " + listenerID + "/" + option +
		"=" + value, finding: "listener-options", says: says}
}

// overrideFaults leave one value out of receive_override_options each.
func overrideFaults() []misconfiguration {
	var faults []misconfiguration
	all := []string{"no_unknown_recipient_checks", "no_header_body_checks", "no_milters",
		"no_address_mappings"}
	for i, option := range all {
		rest := slices.Delete(slices.Clone(all), i, i+1)
		faults = append(faults, misconfiguration{name: "a listener without " + option, script: "pc -P " +
			listenerID + "/receive_override_options=" + strings.Join(rest, ","),
			finding: "listener-overrides", says: option})
	}
	return faults
}

// restrictionFaults have the listener inherit one restriction of main.cf each.
func restrictionFaults() []misconfiguration {
	var faults []misconfiguration
	for _, stage := range []string{"helo", "client", "sender", "data", "end_of_data"} {
		name := "smtpd_" + stage + "_restrictions"
		faults = append(faults, misconfiguration{name: name + " of main.cf on the listener",
			script:  "pc -e " + name + "=reject_unknown_sender_domain; pc -PX " + listenerID + "/" + name,
			finding: "listener-options", says: name})
	}
	return faults
}

// bounceFaults are in the way of bounces home.
var bounceFaults = []misconfiguration{
	{name: "an SRS domain without class", script: `pc -X virtual_alias_domains`, finding: "srs-class",
		says: "srs.example.org is not in"},
	{name: "no reverse table", script: `pc -X recipient_canonical_maps`, finding: "srs-reverse",
		says: "neither"},
	{name: "no service for the reverse table", script: `pc -MX postmend-reverse/unix`, finding: "srs-reverse",
		says: "neither"},
	{name: "SRS addresses rewritten in the header", script: `pc -X recipient_canonical_classes`,
		finding: "srs-classes", says: "header"},
	{name: "SRS addresses rewritten in the header, beside another table",
		script: `pc -X recipient_canonical_classes
		pc -e 'recipient_canonical_maps=socketmap:unix:private/postmend-reverse:reverse, inline:{a@b=c@d}'`,
		finding: "srs-classes", says: "your other tables", byHand: true},
	{name: "PostSRSd before the filter", script: `pc -e sender_canonical_maps=tcp:127.0.0.1:10001`,
		finding: "postsrsd", says: "10001"},
	{name: "an SRS domain that takes any address",
		script: `pc -X virtual_alias_domains; pc -e relay_domains=srs.example.org`, finding: "srs-forged",
		says: "relay_recipient_maps is empty", byHand: true},
	{name: "neither the table nor a postmaster of the SRS domain",
		script:  `pc -e virtual_alias_maps=; pc -X recipient_canonical_maps`,
		finding: "srs-reverse", says: "neither virtual_alias_maps", also: []string{"srs-postmaster"}},
	{name: "no postmaster of the SRS domain", script: `pc -X virtual_alias_maps`, finding: "srs-postmaster",
		says: "postmaster@srs.example.org does not exist"},
	{name: "a rewriter of senders without a port",
		script: `srs=SRS0=abcd=AA=sender.example=check@example.org
		pc -e "sender_canonical_maps=pipemap:{inline:{check@sender.example=$srs}}"`,
		finding: "postsrsd", says: "makes SRS addresses"},
	{name: "the wrong protocol", script: `m 's/ --protocol socketmap//'`, finding: "srs-table",
		says: "socketmap"},
	{name: "root as the table's user",
		script: `m 's/user=postmend-test argv=\(.*lookup\)/user=root argv=\1/'`, finding: "srs-table",
		says: "root"},
	{name: "a table without privileges", script: `pc -F postmend-reverse/unix/unprivileged=y`,
		finding: "srs-table", says: "privileges"},
}

const keyRecord = "2026a._domainkey.example.org TXT v=DKIM1; k=rsa; p="

// dnsFaults are in what is published.
var dnsFaults = []misconfiguration{
	{name: "no SPF record", zone: [2]string{"srs.example.org TXT v=spf1 mx -all", ""}, finding: "dns-spf",
		says: "has no SPF record"},
	{name: "no SPF record, and a relayhost", script: "pc -e relayhost=[relay.example.net]",
		zone: [2]string{"srs.example.org TXT v=spf1 mx -all",
			"relay.example.net A 192.0.2.10"}, finding: "dns-spf", says: "relayhost [relay.example.net]",
		also: []string{"dns-outbound"}},
	{name: "no SPF record of the hostname", zone: [2]string{"mx.example.org TXT v=spf1 a -all", ""},
		finding: "dns-spf-hostname", says: "mx.example.org has no SPF record"},
	{name: "an SPF record of the hostname for others",
		zone:    [2]string{"mx.example.org TXT v=spf1 a -all", "mx.example.org TXT v=spf1 -all"},
		finding: "dns-spf-hostname", says: "fail"},
	{name: "an SPF record for nobody", zone: [2]string{"v=spf1 mx -all", "v=spf1 -all"}, finding: "dns-spf",
		says: "fail"},
	{name: "an SPF record for one of two addresses",
		zone: [2]string{"v=spf1 mx -all", "v=spf1 ip4:192.0.2.10 ~all"}, finding: "dns-spf",
		says: "2001:db8::10 is softfail"},
	{name: "two SPF records", zone: [2]string{"srs.example.org MX",
		"srs.example.org TXT v=spf1 a -all\nsrs.example.org MX"}, finding: "dns-spf", says: "2 SPF records"},
	{name: "no MX", zone: [2]string{"srs.example.org MX 10 mx.example.org", "srs.example.org A 192.0.2.10"},
		finding: "dns-mx", says: "no MX", also: []string{"dns-spf"}},
	{name: "an MX elsewhere", zone: [2]string{"srs.example.org MX 10 mx.example.org",
		"srs.example.org MX 10 mx.example.net\nmx.example.net A 192.0.2.99"},
		finding: "dns-mx", says: "mx.example.net", also: []string{"dns-spf"}},
	{name: "no DKIM record", zone: [2]string{keyRecord, "elsewhere.example.org TXT "}, finding: "dns-dkim",
		says: "no such record is published"},
	{name: "another key's DKIM record", zone: [2]string{keyRecord, keyRecord +
		"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAx1aKtWtCaJ1jsfyVlFf0jkQVd0\n# "}, finding: "dns-dkim",
		says: "p="},
	{name: "a revoked DKIM key", zone: [2]string{keyRecord, keyRecord + "\n# "}, finding: "dns-dkim",
		says: "revoked"},
	{name: "a DKIM key for tests", zone: [2]string{keyRecord, strings.Replace(keyRecord, "k=rsa",
		"k=rsa; t=y", 1)}, finding: "dns-dkim", says: "t=y"},
	{name: "no DMARC record", zone: [2]string{"_dmarc.example.org TXT v=DMARC1; p=quarantine", ""},
		finding: "dns-dmarc", says: "example.org"},
	{name: "two DMARC records", zone: [2]string{"_dmarc.example.org",
		"_dmarc.example.org TXT v=DMARC1; p=none\n_dmarc.example.org"}, finding: "dns-dmarc",
		says: "2 DMARC records"},
	{name: "no reverse name", zone: [2]string{"10.2.0.192.in-addr.arpa PTR mx.example.org", ""},
		finding: "dns-ptr", says: "192.0.2.10 has no PTR record"},
	{name: "a reverse name that does not lead back",
		zone: [2]string{"10.2.0.192.in-addr.arpa PTR mx.example.org",
			"10.2.0.192.in-addr.arpa PTR host.example.net"},
		finding: "dns-ptr", says: "host.example.net"},
	{name: "a hostname without address", script: "pc -e proxy_interfaces=192.0.2.10",
		zone: [2]string{"mx.example.org A 192.0.2.10\nmx.example.org AAAA 2001:db8::10\n",
			""}, finding: "dns-hostname", says: "mx.example.org",
		also: []string{"dns-spf", "dns-ptr", "dns-spf-hostname", "dns-outbound"}},
	{name: "a relayhost whose addresses are not named", script: "pc -e relayhost=[relay.example.net]:587",
		zone:    [2]string{"mx.example.org A ", "relay.example.net A 192.0.2.10\nmx.example.org A "},
		finding: "dns-outbound", says: "relay.example.net"},
	{name: "a relay that SPF does not name",
		script:  `pc -e relayhost=[relay.example.net]; c '1a outbound_addresses = ["198.51.100.0/28"]'`,
		zone:    [2]string{"mx.example.org A ", "relay.example.net A 192.0.2.10\nmx.example.org A "},
		finding: "dns-spf", says: "198.51.100.0/28 is fail"},
	{name: "an address that is not in DNS", script: "pc -e smtp_bind_address=192.0.2.99",
		finding: "dns-outbound", says: "192.0.2.99", also: []string{"dns-spf", "dns-spf-hostname"},
		zone: [2]string{"mx.example.org A ", "host.example.org A 192.0.2.99\n99.2.0.192.in-addr.arpa PTR " +
			"host.example.org\nmx.example.org A "}},
	{name: "a hostname with a private address",
		zone: [2]string{"mx.example.org A 192.0.2.10\nmx.example.org AAAA 2001:db8::10\n",
			"mx.example.org A 10.0.0.1\n"},
		finding: "dns-outbound", says: "no public address", byHand: true},
	{name: "an outbound address that does not exist",
		script: `c '1a outbound_addresses = ["gone.example.org"]'`, zone: [2]string{"mx.example.org A ",
			"mx.example.org A "},
		finding: "dns-outbound", says: "gone.example.org", byHand: true},
}
