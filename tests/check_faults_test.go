package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"postmend/postfix/check"
)

// misconfiguration is a change that makes a right host wrong, and how check has to name it.
type misconfiguration struct {
	name string
	// script makes it: see checkedHost.shell. zone makes it in DNS: what stands there, and what takes its place.
	script string
	zone   [2]string
	// finding is the name that it goes by in check's output, says a part of the text.
	finding, says string
	// also are findings that follow from it.
	also []string
	// ownEtc has check and what it says run beside a copy of /etc, where accounts can be made.
	ownEtc bool
	// byHand is a fault for which check is to print no command.
	byHand bool
}

const (
	filterID   = "postmend/unix"
	listenerID = "127.0.0.1:10026/inet"
)

// filesFaults are in what is ours.
var filesFaults = []misconfiguration{
	{name: "a mistyped key", script: `c 's/^hostname/hostnaem/'`, finding: "config", says: "line 1: unknown key \"hostnaem\"; is hostname meant?", byHand: true},
	{name: "a mistyped section", script: `c 's/^.srs.$/[srss]/'`, finding: "config", says: "is srs meant?", byHand: true},
	{name: "a configuration that the filter may not read", script: `chmod 600 "$CONF"`, finding: "config-readable", says: "postmend-test cannot read"},
	{name: "a configuration that others may change", script: `chmod g+w "$CONF"`, finding: "config-writable", says: "mode 0664"},
	{name: "another hostname than Postfix's", script: `c 's/^hostname.*/hostname = "other.example.org"/'`, finding: "hostname", says: `"mx.example.org"`},
	{name: "a hostname without domain", script: `c 's/^hostname.*/hostname = "mx"/'`, finding: "hostname", says: "not a full name"},
	{name: "a secret that others may read", script: `chmod o+r "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "mode 0604"},
	{name: "a secret that the filter may not read", script: `chown root "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "postmend-test cannot read"},
	{name: "no secret", script: `rm "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "does not exist"},
	{name: "an empty secret", script: `: > "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "secret"},
	{name: "a secret in a folder that anybody may write to", script: `chmod o+w "$HOME_DIR"`, finding: "srs-secrets", says: "can be replaced"},
	{name: "a secret of one letter", script: `printf 'x\n' > "$HOME_DIR/srs.secrets"`, finding: "srs-secret-length", says: "has 1 octets"},
	{name: "a key that others may read", script: `chmod 644 "$HOME_DIR"/dkim/*.pem`, finding: "dkim-keys", says: "mode 0644"},
	{name: "a secret of nobody's", script: `chown nobody "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "belongs to nobody"},
	{name: "a secret that belongs to another service", script: `chown postfix "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "give postmend a copy"},
	{name: "keys that another service reads", script: `chown root:postfix "$HOME_DIR"/dkim/*.pem; chmod 640 "$HOME_DIR"/dkim/*.pem`, finding: "dkim-keys", says: "may be read by postfix"},
	{name: "a secret that a group may read", script: `chgrp daemon "$HOME_DIR/srs.secrets"; chmod 640 "$HOME_DIR/srs.secrets"`, finding: "srs-secrets", says: "may be read by daemon"},
	{name: "a folder of another group's around the keys", script: `chgrp daemon "$HOME_DIR/dkim"; chmod 750 "$HOME_DIR/dkim"`, finding: "dkim-keys", says: "cannot read"},
	{name: "a key that the filter may not read", script: `chown root "$HOME_DIR"/dkim/*.pem`, finding: "dkim-keys", says: "postmend-test cannot read"},
	{name: "a key in a folder that is closed to the filter", script: `chmod 700 "$HOME_DIR/dkim"`, finding: "dkim-keys", says: "mode 0700"},
	{name: "no key", script: `rm "$HOME_DIR"/dkim/*.pem`, finding: "dkim-keys", says: "does not exist"},
	{name: "no folder of keys", script: `rm -r "$HOME_DIR/dkim"`, finding: "dkim-keys", says: "does not exist"},
	{name: "a damaged key", script: `echo nonsense > "$HOME_DIR/dkim/example.org.2026a.pem"`, finding: "dkim-keys", says: "PEM", byHand: true},
	{name: "no spool folder", script: `c "s|^spool_dir.*|spool_dir = \"$DIR/ours\"|"`, finding: "spool", says: "does not exist"},
	{name: "a spool folder of root's", script: `chown root "$HOME_DIR/spool"`, finding: "spool", says: "postmend-test cannot write"},
	{name: "a target for trials by hand", script: `printf '[reinject]\ntarget = "stdout:"\n' >> "$CONF"`, finding: "target", says: "stdout:"},
	{name: "sendmail as target, and a filtered pickup", script: `printf '[reinject]\ntarget = "sendmail:/usr/sbin/sendmail"\n' >> "$CONF"`,
		finding: "sendmail-loop", says: "filters it again"},
}

// routeFaults are in how mail gets to the filter and away from it.
var routeFaults = []misconfiguration{
	{name: "no filter service", script: `pc -MX ` + filterID, finding: "filter-service", says: "no pipe(8) service"},
	{name: "no content_filter", script: `pc -X content_filter`, zone: [2]string{"v=spf1 mx -all", "v=spf1 mx -all"}, finding: "route", says: "neither"},
	{name: "no content_filter, and DNS not asked", script: `pc -X content_filter`, finding: "route", says: "without --no-dns", byHand: true},
	{name: "another content_filter", script: `pc -e 'content_filter=amavis:[127.0.0.1]:10024'; pc -M 'amavis/unix=amavis unix - - n - 2 smtp'`, finding: "route", says: "amavis", byHand: true},
	{name: "a content_filter that master.cf lacks", script: `pc -e content_filter=postmendd:dummy`, zone: [2]string{"v=spf1 mx -all", "v=spf1 mx -all"},
		finding: "transport-missing", says: "no service postmendd"},
	{name: "a default_transport that master.cf lacks", script: `pc -e default_transport=nosuch:`, finding: "transport-missing", says: "no service nosuch"},
	{name: "a service's content_filter that master.cf lacks", script: `pc -P smtp/inet/content_filter=nosuch:`, finding: "transport-missing", says: "no service nosuch"},
	{name: "an alias that leads to another host", script: `printf 'bob: bob@remote.example\nalice: bob\ncarol: carol@example.org, "|/bin/cat"\n' > "$DIR/aliases"
		pc -e "alias_maps=hash:$DIR/aliases"; postalias -c "$DIR" "hash:$DIR/aliases"`, finding: "alias-forwards", says: "the alias bob to bob@remote.example;", byHand: true},
	{name: "a .forward that leads to another host", script: `mkdir "$DIR/home"; printf '\\dave, dave@remote.example\n' > "$DIR/home/.forward"
		echo "dave:x:4321:4321::$DIR/home:/bin/sh" >> "$ETC/passwd"`, finding: "alias-forwards", says: "home/.forward to dave@remote.example;", byHand: true, ownEtc: true},
	{name: "a table that the filter may not read", script: `printf 'x.example.org x\n' > "$DIR/virtual"; postmap -c "$DIR" "hash:$DIR/virtual"; chmod 600 "$DIR/virtual" "$DIR/virtual.db"
		pc -e "virtual_mailbox_domains=hash:$DIR/virtual"; c "1i local_domains_maps = [\"hash:$DIR/virtual\"]"`, finding: "local-domains-maps", says: "postmend-test cannot ask hash:"},
	{name: "both ways in", script: `pc -e default_transport=postmend:`, finding: "route", says: "twice"},
	{name: "port 25 without filter", script: `pc -P smtp/inet/content_filter=`, zone: [2]string{"v=spf1 mx -all", "v=spf1 mx -all"}, finding: "route-services", says: "smtp/inet"},
	{name: "aliases not expanded before the filter", script: `pc -e receive_override_options=no_address_mappings`, finding: "route-mappings", says: "no_address_mappings"},
	{name: "aliases not expanded by smtpd", script: `pc -P smtp/inet/receive_override_options=no_milters,no_address_mappings`, finding: "route-mappings", says: "smtp/inet"},
	{name: "no listener", script: `pc -MX ` + listenerID, finding: "listener", says: "127.0.0.1:10026"},
	{name: "the public smtpd as target", script: `printf '[reinject]\ntarget = "smtp://127.0.0.1:25"\n' >> "$CONF"`, finding: "listener", says: "takes mail from others"},
	{name: "the public smtpd as target, and no listener", script: `pc -MX ` + listenerID + `; printf '[reinject]\ntarget = "smtp://127.0.0.1:25"\n' >> "$CONF"`,
		finding: "listener", says: "takes mail from others"},
	{name: "a target beside the listener", script: `printf '[reinject]\ntarget = "smtp://127.0.0.1:10036"\n' >> "$CONF"`, finding: "listener", says: listenerID},
	{name: "the listener beside the default target", script: `m 's/^127.0.0.1:10026/127.0.0.1:10036/'`, finding: "listener", says: "127.0.0.1:10036/inet"},
	{name: "a local domain that Postfix lost", script: `c 's/^local_domains.*/local_domains = ["example.org", "example.net"]/'`, finding: "local-domains-class",
		says: "example.net", byHand: true},
	{name: "long lines folded", script: `pc -e smtp_line_length_limit=512`, finding: "line-length", says: "512"},
	{name: "8BITMIME not used", script: `pc -e 'smtp_discard_ehlo_keywords=8bitmime, chunking'`, finding: "8bit", says: "8BITMIME"},
	{name: "addresses rewritten on the way out", script: `pc -e 'smtp_generic_maps=inline:{ a@b=c@d }'`, finding: "after-signing", says: "smtp_generic_maps", byHand: true},
	{name: "a domain that is not in local_domains", script: `pc -e 'mydestination=example.org, new.example.org'`, finding: "local-domains", says: "new.example.org"},
	{name: "two domains, and no local_domains", script: `pc -e 'mydestination=example.org, new.example.org'; c '/^local_domains/d'`, finding: "local-domains", says: "example.org"},
	{name: "a network that Postfix relays for", script: `pc -e 'mynetworks=127.0.0.0/8, 198.51.100.0/24'`, finding: "networks", says: "not in trusted_networks: 198.51.100.0/24"},
	{name: "networks in a file and in a table", script: `echo '198.51.100.0/24' > "$DIR/networks"; printf '203.0.113.7 x\n[2001:db8::]/32 x\n' > "$DIR/more"
		pc -e "mynetworks=127.0.0.0/8, $DIR/networks, cidr:$DIR/more"`, finding: "networks", says: "198.51.100.0/24, 203.0.113.7/32, 2001:db8::/32"},
	{name: "a network that is trusted, and may not relay", script: `c '1i trusted_networks = ["127.0.0.0/8", "10.0.0.0/8"]'`, finding: "networks", says: "not in mynetworks of main.cf: 10.0.0.0/8", byHand: true},
	{name: "a table of domains that is not in local_domains_maps", script: `echo 'x.example.org x' > "$DIR/domains"; pc -e "virtual_mailbox_domains=texthash:$DIR/domains"`,
		finding: "local-domains", says: "texthash:"},
	{name: "messages larger than the spool", script: `pc -e message_size_limit=4000000000000000`, finding: "spool", says: "octets free", byHand: true},
}

// serviceFaults are in the filter's entry of master.cf.
var serviceFaults = []misconfiguration{
	{name: "a chroot", script: `pc -F ` + filterID + `/chroot=y`, finding: "filter-master-columns", says: "chroot"},
	{name: "no privileges", script: `pc -F ` + filterID + `/unprivileged=y`, finding: "filter-master-columns", says: "privileges"},
	{name: "flag R", script: `m s/flags=q/flags=Rq/`, finding: "filter-flags", says: "R adds a Return-Path"},
	{name: "flags D, O and F", script: `m s/flags=q/flags=DOFq/`, finding: "filter-flags", says: "D adds a Delivered-To"},
	{name: "flag u", script: `m s/flags=q/flags=uq/`, finding: "filter-flags", says: "SRS"},
	{name: "no flag q", script: `m 's/flags=q //'`, finding: "filter-flags", says: "lacks q"},
	{name: "null_sender left out", script: `m 's/null_sender=//'`, finding: "filter-null-sender", says: "MAILER-DAEMON"},
	{name: "null_sender set", script: `m 's/null_sender=/&postmaster/'`, finding: "filter-null-sender", says: "not empty"},
	{name: "-f and sender in one word", script: `m 's/-f \${sender}/-f${sender}/'`, finding: "filter-sender", says: "two words"},
	{name: "no -- before the recipients", script: `m 's/-- \${recipient}/${recipient}/'`, finding: "filter-recipients", says: "--"},
	{name: "folded recipients", script: `m 's/-- \${recipient}/-- ${user}@${domain}/'`, finding: "filter-macros", says: "${user}", also: []string{"filter-recipients"}},
	{name: "a macro that does not exist", script: `m 's/--size=/--envid=${orcpt} &/'`, finding: "filter-macros", says: "${orcpt}"},
	{name: "no client address", script: `m 's/--client-address=\${client_address}//'`, finding: "filter-arguments", says: "this host's own"},
	{name: "no user name", script: `m 's/--sasl-username=\${sasl_username}//'`, finding: "filter-arguments", says: "users who log in"},
	{name: "an unknown attribute", script: `m 's/flags=q/& colour=red/'`, finding: "filter-attributes", says: "colour"},
	{name: "an option behind the attributes", script: `m '/-o { pipe_delivery/d'; m 's/flags=q/& -o soft_bounce=yes/'`,
		finding: "filter-attributes", says: "-o soft_bounce=yes", also: []string{"filter-status-filter"}},
	{name: "root as user", script: `m '/flags=q/s/user=postmend-test/user=root/'`, finding: "filter-user", says: "root"},
	{name: "Postfix as user", script: `m '/flags=q/s/user=postmend-test/user=postfix/'`, finding: "filter-user", says: "Postfix's own"},
	{name: "nobody as user", script: `m '/flags=q/s/user=postmend-test/user=nobody/'`, finding: "filter-user", says: "programs without an account"},
	{name: "a general account as user", script: `m '/flags=q/s/user=postmend-test/user=www-data/'`, finding: "filter-user", says: "general accounts"},
	{name: "an account of the system as user", script: `m '/flags=q/s/user=postmend-test/user=daemon:daemon/'`, finding: "filter-user", says: "general accounts"},
	{name: "an account that another service runs as", script: `pc -M 'vmail/unix=vmail unix - n n - - pipe user=postmend-test argv=/bin/cat'`,
		finding: "filter-user", says: "vmail/unix in master.cf", also: []string{"srs-table", "srs-secrets", "dkim-keys", "spool"}, ownEtc: true},
	{name: "nobody as user, with all that is its own", script: `m 's/user=postmend-test/user=nobody/'; chown nobody "$HOME_DIR/srs.secrets" "$HOME_DIR"/dkim/*.pem "$HOME_DIR/spool"`,
		finding: "filter-user", says: "programs without an account", also: []string{"srs-table", "srs-secrets", "dkim-keys", "spool"}, ownEtc: true},
	{name: "a user that does not exist", script: `m '/flags=q/s/user=postmend-test/user=nosuchuser/'`, finding: "filter-user", says: "nosuchuser"},
	{name: "no user", script: `m '/flags=q/s/user=postmend-test//'`, finding: "filter-user", says: "missing"},
	{name: "no program", script: `own; rm "$DIR/postmend"`, finding: "filter-program", says: "does not exist", also: []string{"srs-table"}},
	{name: "an empty program", script: `own; : > "$DIR/postmend"`, finding: "filter-program", says: "is empty"},
	{name: "a program that others may change", script: `own; chmod g+w "$DIR/postmend"`, finding: "filter-program", says: "can be changed"},
	{name: "a program that the user may not run", script: `own; chmod 700 "$DIR/postmend"`, finding: "filter-program", says: "may not run"},
	{name: "a program in a folder that anybody may write to", script: `own; chmod 777 "$DIR"`, finding: "filter-program", says: "can be replaced"},
	{name: "a program that does not run", script: `own; printf '#!/bin/sh\necho broken >&2; exit 1\n' > "$DIR/postmend"`, finding: "filter-trial", says: "broken", byHand: true},
	{name: "a program without a path", script: `m "s|argv=$PROGRAM filter|argv=postmend filter|"`, finding: "filter-program", says: "absolute"},
	{name: "no status filter", script: `m '/-o { pipe_delivery/d'`, finding: "filter-status-filter", says: "not set"},
	{name: "a status filter that holds refusals", script: `m 's/\^5([^)]*)/^5(.*)/'`, finding: "filter-status-filter", says: "deferred instead"},
	{name: "a status filter that does not exist", script: `m 's/= regexp:.*}}/= regexp:\/nonexistent/'`, finding: "filter-status-filter", says: "/nonexistent"},
	{name: "a time limit below our deadline", script: `pc -e postmend_time_limit=30s`, finding: "filter-time-limit", says: "30s"},
	{name: "a time limit that the reply to the final dot may pass", script: `pc -e postmend_time_limit=100`, finding: "filter-time-limit", says: "a run may take"},
	{name: "many recipients in a run", script: `pc -e postmend_destination_recipient_limit=50`, finding: "filter-recipient-limit", says: "50"},
	{name: "few runs at once", script: `pc -F -e postmend/unix/process_limit=20`, finding: "filter-processes", says: "20"},
	{name: "another configuration in master.cf", script: `m 's| filter -c [^ ]*| filter|'`, finding: "filter-config-file", says: "/etc/postmend/postmend.toml"},
}

// listenerFaults are in the listener's entry of master.cf.
var listenerFaults = slices.Concat([]misconfiguration{
	{name: "a listener that filters again", script: `pc -PX ` + listenerID + `/content_filter`, finding: "listener-filter", says: "filters again"},
	{name: "a second filter behind the listener", script: `pc -P ` + listenerID + `/content_filter=amavis:x; pc -M 'amavis/unix=amavis unix - - n - 2 smtp'`, finding: "listener-filter", says: "amavis", byHand: true},
	{name: "a filter behind the listener that master.cf lacks", script: `pc -P ` + listenerID + `/content_filter=amavis:x`, finding: "listener-filter", says: "no service amavis"},
	{name: "a listener on all addresses", script: `m 's/^127.0.0.1:10026/10026/'; pc -e inet_interfaces=all`, finding: "listener-address", says: "every address"},
	{name: "a listener with Postfix's size limit", script: `pc -PX ` + listenerID + `/message_size_limit`, finding: "listener-size", says: "larger"},
	{name: "the listener's cleanup with Postfix's size limit", script: `pc -PX postmend-cleanup/unix/message_size_limit`, finding: "listener-size", says: "larger"},
	{name: "Postfix's own cleanup behind the listener", script: `pc -PX ` + listenerID + `/cleanup_service_name`, finding: "listener-size", says: "larger"},
	{name: "no cleanup for the listener", script: `pc -MX postmend-cleanup/unix`, finding: "listener-size", says: "larger"},
	{name: "OpenDKIM behind the listener", script: `pc -P ` + listenerID + `/smtpd_milters=inet:127.0.0.1:8891`, finding: "listener-milters", says: "8891"},
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
	return misconfiguration{name: option + " of the listener", script: "pc -P " + listenerID + "/" + option + "=" + value, finding: "listener-options", says: says}
}

// overrideFaults leave one value out of receive_override_options each.
func overrideFaults() []misconfiguration {
	var faults []misconfiguration
	all := []string{"no_unknown_recipient_checks", "no_header_body_checks", "no_milters", "no_address_mappings"}
	for i, option := range all {
		rest := slices.Delete(slices.Clone(all), i, i+1)
		faults = append(faults, misconfiguration{name: "a listener without " + option, script: "pc -P " + listenerID + "/receive_override_options=" + strings.Join(rest, ","),
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
	{name: "an SRS domain without class", script: `pc -X virtual_alias_domains`, finding: "srs-class", says: "srs.example.org is not in"},
	{name: "no reverse table", script: `pc -X recipient_canonical_maps`, finding: "srs-reverse", says: "neither"},
	{name: "no service for the reverse table", script: `pc -MX postmend-reverse/unix`, finding: "srs-reverse", says: "neither"},
	{name: "SRS addresses rewritten in the header", script: `pc -X recipient_canonical_classes`, finding: "srs-classes", says: "header"},
	{name: "SRS addresses rewritten in the header, beside another table",
		script:  `pc -X recipient_canonical_classes; pc -e 'recipient_canonical_maps=socketmap:unix:private/postmend-reverse:reverse, inline:{a@b=c@d}'`,
		finding: "srs-classes", says: "your other tables", byHand: true},
	{name: "PostSRSd before the filter", script: `pc -e sender_canonical_maps=tcp:127.0.0.1:10001`, finding: "postsrsd", says: "10001"},
	{name: "an SRS domain that takes any address", script: `pc -X virtual_alias_domains; pc -e relay_domains=srs.example.org`, finding: "srs-forged",
		says: "relay_recipient_maps is empty", byHand: true},
	{name: "no postmaster of the SRS domain", script: `pc -X virtual_alias_maps`, finding: "srs-postmaster", says: "postmaster@srs.example.org does not exist"},
	{name: "a rewriter of senders without a port", script: `pc -e "sender_canonical_maps=pipemap:{inline:{check@sender.example=SRS0=abcd=AA=sender.example=check@example.org}}"`, finding: "postsrsd", says: "makes SRS addresses"},
	{name: "the wrong protocol", script: `m 's/ --protocol socketmap//'`, finding: "srs-table", says: "socketmap"},
	{name: "root as the table's user", script: `m 's/user=postmend-test argv=\(.*lookup\)/user=root argv=\1/'`, finding: "srs-table", says: "root"},
	{name: "a table without privileges", script: `pc -F postmend-reverse/unix/unprivileged=y`, finding: "srs-table", says: "privileges"},
}

const keyRecord = "2026a._domainkey.example.org TXT v=DKIM1; k=rsa; p="

// dnsFaults are in what is published.
var dnsFaults = []misconfiguration{
	{name: "no SPF record", zone: [2]string{"srs.example.org TXT v=spf1 mx -all", ""}, finding: "dns-spf", says: "has no SPF record"},
	{name: "no SPF record, and a relayhost", script: "pc -e relayhost=[relay.example.net]",
		zone: [2]string{"srs.example.org TXT v=spf1 mx -all", "relay.example.net A 192.0.2.10"}, finding: "dns-spf", says: "relayhost [relay.example.net]",
		also: []string{"dns-outbound"}},
	{name: "no SPF record of the hostname", zone: [2]string{"mx.example.org TXT v=spf1 a -all", ""}, finding: "dns-spf-hostname", says: "mx.example.org has no SPF record"},
	{name: "an SPF record of the hostname for others", zone: [2]string{"mx.example.org TXT v=spf1 a -all", "mx.example.org TXT v=spf1 -all"}, finding: "dns-spf-hostname", says: "fail"},
	{name: "an SPF record for nobody", zone: [2]string{"v=spf1 mx -all", "v=spf1 -all"}, finding: "dns-spf", says: "fail"},
	{name: "an SPF record for one of two addresses", zone: [2]string{"v=spf1 mx -all", "v=spf1 ip4:192.0.2.10 ~all"}, finding: "dns-spf", says: "2001:db8::10 is softfail"},
	{name: "two SPF records", zone: [2]string{"srs.example.org MX", "srs.example.org TXT v=spf1 a -all\nsrs.example.org MX"}, finding: "dns-spf", says: "2 SPF records"},
	{name: "no MX", zone: [2]string{"srs.example.org MX 10 mx.example.org", "srs.example.org A 192.0.2.10"}, finding: "dns-mx", says: "no MX", also: []string{"dns-spf"}},
	{name: "an MX elsewhere", zone: [2]string{"srs.example.org MX 10 mx.example.org", "srs.example.org MX 10 mx.example.net\nmx.example.net A 192.0.2.99"},
		finding: "dns-mx", says: "mx.example.net", also: []string{"dns-spf"}},
	{name: "no DKIM record", zone: [2]string{keyRecord, "elsewhere.example.org TXT "}, finding: "dns-dkim", says: "there is no record"},
	{name: "another key's DKIM record", zone: [2]string{keyRecord, keyRecord + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAx1aKtWtCaJ1jsfyVlFf0jkQVd0\n# "}, finding: "dns-dkim", says: "p="},
	{name: "a revoked DKIM key", zone: [2]string{keyRecord, keyRecord + "\n# "}, finding: "dns-dkim", says: "revoked"},
	{name: "a DKIM key for tests", zone: [2]string{keyRecord, strings.Replace(keyRecord, "k=rsa", "k=rsa; t=y", 1)}, finding: "dns-dkim", says: "t=y"},
	{name: "no DMARC record", zone: [2]string{"_dmarc.example.org TXT v=DMARC1; p=quarantine", ""}, finding: "dns-dmarc", says: "example.org"},
	{name: "two DMARC records", zone: [2]string{"_dmarc.example.org", "_dmarc.example.org TXT v=DMARC1; p=none\n_dmarc.example.org"}, finding: "dns-dmarc", says: "2 DMARC records"},
	{name: "no reverse name", zone: [2]string{"10.2.0.192.in-addr.arpa PTR mx.example.org", ""}, finding: "dns-ptr", says: "192.0.2.10 has no PTR record"},
	{name: "a reverse name that does not lead back", zone: [2]string{"10.2.0.192.in-addr.arpa PTR mx.example.org", "10.2.0.192.in-addr.arpa PTR host.example.net"},
		finding: "dns-ptr", says: "host.example.net"},
	{name: "a hostname without address", script: "pc -e proxy_interfaces=192.0.2.10",
		zone: [2]string{"mx.example.org A 192.0.2.10\nmx.example.org AAAA 2001:db8::10\n", ""}, finding: "dns-hostname", says: "mx.example.org",
		also: []string{"dns-spf", "dns-ptr", "dns-spf-hostname", "dns-outbound"}},
	{name: "a relayhost whose addresses are not named", script: "pc -e relayhost=[relay.example.net]:587",
		zone: [2]string{"mx.example.org A ", "relay.example.net A 192.0.2.10\nmx.example.org A "}, finding: "dns-outbound", says: "relay.example.net"},
	{name: "a relay that SPF does not name", script: `pc -e relayhost=[relay.example.net]; c '1a outbound_addresses = ["198.51.100.0/28"]'`,
		zone: [2]string{"mx.example.org A ", "relay.example.net A 192.0.2.10\nmx.example.org A "}, finding: "dns-spf", says: "198.51.100.0/28 is fail"},
	{name: "an address that is not in DNS", script: "pc -e smtp_bind_address=192.0.2.99", finding: "dns-outbound", says: "192.0.2.99", also: []string{"dns-spf", "dns-spf-hostname"},
		zone: [2]string{"mx.example.org A ", "host.example.org A 192.0.2.99\n99.2.0.192.in-addr.arpa PTR host.example.org\nmx.example.org A "}},
	{name: "a hostname with a private address", zone: [2]string{"mx.example.org A 192.0.2.10\nmx.example.org AAAA 2001:db8::10\n", "mx.example.org A 10.0.0.1\n"},
		finding: "dns-outbound", says: "no public address", byHand: true},
	{name: "an outbound address that does not exist", script: `c '1a outbound_addresses = ["gone.example.org"]'`, zone: [2]string{"mx.example.org A ", "mx.example.org A "},
		finding: "dns-outbound", says: "gone.example.org", byHand: true},
}

func TestCheckNamesEachFaultAndPrintsWhatMendsIt(t *testing.T) {
	t.Parallel()
	program, key := checkedProgram(t), newKey(t)
	for _, f := range slices.Concat(filesFaults, routeFaults, serviceFaults, listenerFaults, bounceFaults, dnsFaults) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			h := newCheckedHost(t, program)
			h.setUpByHand(key)
			flags := []string{"--no-dns"}
			if f.zone[0] != "" {
				flags = nil
				h.publish()
				if !strings.Contains(h.zone, f.zone[0]) {
					t.Fatalf("the zone has no %q:\n%s", f.zone[0], h.zone)
				}
				h.zone = strings.Replace(h.zone, f.zone[0], f.zone[1], 1)
				h.publish()
			}
			if f.ownEtc {
				h.copyEtc()
			}
			h.shell(f.script)
			wrong := h.check(flags...)
			f.isNamedBy(t, wrong)
			if f.byHand {
				return
			}
			before := h.standing()
			h.mendAll(wrong)
			h.isUnharmed(before, flags == nil)
			if wrong := h.check(flags...); wrong != nil {
				t.Errorf("after what check said: %+v", wrong)
			}
		})
	}
}

// isNamedBy tells whether the findings are of the fault, and of nothing else.
func (f *misconfiguration) isNamedBy(t *testing.T, findings []check.Finding) {
	t.Helper()
	named := false
	for _, finding := range findings {
		named = named || finding.Name == f.finding && strings.Contains(finding.What, f.says)
		if finding.Name != f.finding && !slices.Contains(f.also, finding.Name) {
			t.Errorf("a right thing is found wrong: %+v", finding)
		}
		if hasRemedy := finding.Mend != "" || finding.Publish != "" || finding.Edit != nil; finding.Why == "" || hasRemedy == f.byHand {
			t.Errorf("no reason, or a remedy: %t: %+v", hasRemedy, finding)
		}
	}
	if !named {
		t.Errorf("want %s, %q, got %+v", f.finding, f.says, findings)
	}
}

// mendAll does what findings say, edits from the last line to the first, so that the lines stay those that were named.
func (h *checkedHost) mendAll(findings []check.Finding) {
	h.t.Helper()
	var edits []check.Edit
	for _, f := range findings {
		h.mend(f)
		if f.Edit != nil {
			edits = append(edits, *f.Edit)
		}
	}
	slices.SortStableFunc(edits, func(a, b check.Edit) int { return b.Line - a.Line })
	for _, e := range edits {
		h.edit(e)
	}
}

// edit does what a person would do with an editor.
func (h *checkedHost) edit(e check.Edit) {
	h.t.Helper()
	text, err := os.ReadFile(e.File)
	h.must(err)
	lines := strings.SplitAfter(string(text), "\n")
	section, key := "", e.Key
	if at := strings.LastIndexByte(e.Key, '.'); at >= 0 {
		section, key = e.Key[:at], e.Key[at+1:]
	}
	line := key + " = " + e.Value + "\n"
	switch {
	case e.Line > 0 && e.Add:
		lines[e.Line-1] = strings.Replace(lines[e.Line-1], "[", "["+e.Value+", ", 1)
	case e.Line > 0:
		lines[e.Line-1] = line
	case section == "":
		lines = slices.Insert(lines, 0, line)
	default:
		at := slices.Index(lines, "["+section+"]\n")
		if at < 0 {
			lines = append(lines, "["+section+"]\n")
			at = len(lines) - 1
		}
		lines = slices.Insert(lines, at+1, line)
	}
	h.must(os.WriteFile(e.File, []byte(strings.Join(lines, "")), 0o644))
}

// mend runs and publishes what a finding says.
func (h *checkedHost) mend(finding check.Finding) {
	h.t.Helper()
	if finding.Mend != "" {
		if reason := reachesOut(h.withoutAccount(finding.Mend), h.dir, h.program); reason != "" {
			h.t.Fatalf("not run, because %s: %s", reason, finding.Mend)
		}
		if out, err := h.command("sh", "-c", finding.Mend).CombinedOutput(); err != nil {
			h.t.Errorf("%s: %v\n%s", finding.Mend, err, out)
		}
	}
	if finding.Publish != "" {
		h.follow(finding.Publish)
	}
}

var (
	absolutePath = regexp.MustCompile(`(?m)(?:^|[\s'"=:>|(])(/[\w.][^\s'";|)]*)`)
	ownPostfix   = regexp.MustCompile(`(?m)(?:^|&& |\()post(conf|super|fix) (-c \S+)?`)
)

var makesAccount = regexp.MustCompile(`\{ id \S+ >/dev/null 2>&1 \|\| useradd [^;]*; \} && `)

// withoutAccount is a command without the part that makes an account, where that is made in a copy of /etc.
func (h *checkedHost) withoutAccount(command string) string {
	if h.etc == "" {
		return command
	}
	return makesAccount.ReplaceAllString(command, "")
}

// reachesOut tells why commands would change more than a host in a folder, "" if they would not: tests run as root, on somebody's machine.
func reachesOut(command, dir, program string) string {
	for _, match := range absolutePath.FindAllStringSubmatch(command, -1) {
		path := filepath.Clean(match[1])
		if path != program && path != dir && !strings.HasPrefix(path, dir+"/") && filepath.Dir(path) != "/dev" {
			return path + " is outside the test's folder"
		}
	}
	for _, match := range ownPostfix.FindAllStringSubmatch(command, -1) {
		if match[2] != "-c "+dir {
			return "it is about the machine's own Postfix"
		}
	}
	if strings.Contains(command, "useradd") {
		return "it makes an account"
	}
	return ""
}

func TestNoMendOfATestReachesTheMachine(t *testing.T) {
	for command, reaches := range map[string]bool{
		"chmod 1777 /tmp":                                              true,
		"chown nobody /tmp && chmod u+rwx /tmp":                        true,
		"chmod o-w /tmp/pm1/../x":                                      true,
		"chmod o-w /tmp/pm11":                                          true,
		"sed -i '1i x' /etc/postmend/postmend.toml":                    true,
		"(umask 077; openssl rand -base64 24 > /etc/x)":                true,
		"postconf -e content_filter=postmend:dummy":                    true,
		"{ id postmend >/dev/null 2>&1 || useradd postmend; } && true": true,
		"chmod o-w /tmp/pm1/etc":                                       false,
		"postconf -c /tmp/pm1 -e content_filter=postmend:dummy":        false,
		`postconf -c /tmp/pm1 -F 'x/command=pipe {x=regexp:{{/^5(.*)/ 4$$1}}} argv=/tmp/pm2/postmend filter'`: false,
		`sed -i 's|^local_domains[ \t]*=|&"x", |' /tmp/pm1/etc/postmend.toml`:                                 false,
	} {
		if reason := reachesOut(command, "/tmp/pm1", "/tmp/pm2/postmend"); (reason != "") != reaches {
			t.Errorf("%s: %q", command, reason)
		}
	}
}
