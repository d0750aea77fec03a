package check

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"postmend/filter/authn"
	"postmend/filter/authn/dns"
)

var dnsRules = []rule[*published]{
	{Name: "dns-hostname", Severity: Error, OK: "the hostname has addresses",
		Why: "receivers refuse mail from a host whose name in HELO does not exist, and the MX record of " +
			"the SRS domain leads nowhere", Judge: judgeHostAddress},
	{Name: "dns-outbound", Severity: Warning, OK: "the addresses that mail leaves from are known",
		Why: "without them postmend cannot tell whether a forgery would pass SPF because this host " +
			"forwards it: forgeries may pass, or mail is deferred", Judge: judgeOutbound},
	{Name: "dns-ptr", Severity: Warning,
		OK:    "this host's addresses have PTR records whose names lead back to them",
		Why:   "large receivers refuse mail from an address without a PTR record that leads back to it",
		Judge: judgePTR},
	{Name: "dns-spf", Severity: Error,
		OK:  "the SPF record of the SRS domain names the addresses that mail leaves from",
		Why: "forwarded mail fails SPF at the next hop, and strict receivers refuse it", Judge: judgeSPF},
	{Name: "dns-spf-hostname", Severity: Warning,
		OK: "SPF or DKIM passes for the bounces that Postfix itself makes",
		Why: "a bounce has the null sender, so SPF checks the hostname; a content filter does not sign " +
			"bounces, and strict receivers reject what neither SPF nor DKIM authenticates",
		Judge: judgeBounces},
	{Name: "dns-mx", Severity: Error, OK: "the MX record of the SRS domain leads here",
		Why:   "bounces of forwarded mail are lost, and receivers refuse a sender to which they cannot reply",
		Judge: judgeMX},
	{Name: "dns-dkim", Severity: Error, OK: "the published DKIM keys belong to the keys that sign",
		Why: "signatures of this host fail, and mail with a rewritten From: fails DMARC. If you cannot " +
			"publish the record of a domain other than default_domain, take its [[dkim.keys]] out of the " +
			"configuration: the domain works without a key",
		Judge: judgePublishedKeys},
	{Name: "dns-dmarc", Severity: Warning, OK: "the signing domains have DMARC policies",
		Why: "it is optional: p=none asks receivers for nothing, but large ones refuse bulk mail of a " +
			"domain without a policy",
		Judge: judgePublishedPolicies},
}

func (p *published) judge() []Finding { return apply("DNS", dnsRules, p) }

// unknown is the fault that DNS did not answer: our server, or that of the zone behind it.
func (p *published) unknown(name string, err error) []fault {
	wrong := fault{What: fmt.Sprintf("DNS did not answer for %s: %v", name, err), Severity: Warning,
		cause: "no DNS", about: strings.TrimSuffix(name, ".")}
	if errors.Is(err, dns.ErrServerFailure) {
		wrong.What += "; its name servers are silent, or their DNSSEC is broken: dig +trace " +
			strings.TrimSuffix(name, ".")
		wrong.cause = "no name servers"
		return []fault{wrong}
	}
	place := "/etc/resolv.conf"
	if p.config.Resolver != "" {
		place = "resolver in " + p.ConfigFile
	}
	wrong.What += "; make the server named in " + place + " answer, or name another"
	wrong.Why = "mail from outside is deferred for up to dns_patience; then it is forwarded without " +
		"knowing its DMARC result"
	return []fault{wrong}
}

// isUnknown tells whether DNS did not answer.
func isUnknown(err error) bool { return err != nil && !isNotFound(err) }

func isNotFound(err error) bool {
	var failure *net.DNSError
	return errors.As(err, &failure) && failure.IsNotFound
}

func judgeHostAddress(p *published) []fault {
	switch {
	case isUnknown(p.hostErr):
		return p.unknown(p.hostname, p.hostErr)
	case p.hostErr != nil && len(p.addresses) == 0:
		return []fault{{What: p.hostname +
			" has neither A nor AAAA records, and main.cf names no address: publish one"}}
	case p.hostErr != nil:
		return []fault{{What: p.hostname + " has neither A nor AAAA records",
			Publish: addressRecord(p.hostname, p.addresses[0].ip)}}
	}
	return nil
}

func addressRecord(name string, ip net.IP) string {
	kind := "A"
	if ip.To4() == nil {
		kind = "AAAA"
	}
	return name + ". IN " + kind + " " + ip.String()
}

func judgePTR(p *published) []fault {
	switch {
	case len(p.addresses) > 0:
	case isUnknown(p.hostErr):
		return p.unknown(p.hostname, p.hostErr)
	default:
		return []fault{{What: "the addresses that mail leaves from are not known: name them in " +
			"inet_interfaces or proxy_interfaces of main.cf", Severity: Note}}
	}
	var faults []fault
	for _, a := range p.addresses {
		name := reverseName(a.ip)
		record := name + ". IN PTR " + p.hostname + "."
		switch {
		case a.ip.IsPrivate():
			faults = append(faults, fault{What: a.ip.String() +
				" is a private address; name the public one in proxy_interfaces of main.cf", Severity: Note})
		case isUnknown(a.ptrErr):
			faults = append(faults, p.unknown(name, a.ptrErr)...)
		case len(a.names) == 0:
			faults = append(faults, fault{What: a.ip.String() + " has no PTR record", Publish: record})
		case a.confirmed == "" && a.unknown != nil:
			faults = append(faults, p.unknown(a.names[0], a.unknown)...)
		case a.confirmed == "":
			faults = append(faults,
				fault{What: fmt.Sprintf("the PTR record of %s is %s, and that name does not have the address",
					a.ip,
					a.names[0]), Publish: record})
		}
	}
	return faults
}

func reverseName(ip net.IP) string {
	address, _ := netip.AddrFromSlice(ip)
	return dns.ReverseName(address)
}

func judgeMX(p *published) []fault {
	if p.srs.domain == "" {
		return unjudged
	}
	record := p.srs.domain + ". IN MX 10 " + p.hostname + "."
	if isUnknown(p.mxErr) && len(p.mx) == 0 {
		return p.unknown(p.srs.domain, p.mxErr)
	}
	var elsewhere []string
	for _, mx := range p.mx {
		if !p.mxHere[mx.Host] {
			elsewhere = append(elsewhere, mx.Host)
		}
	}
	switch {
	case len(p.mx) == 0:
		return []fault{{What: p.srs.domain + " has no MX record", Publish: record}}
	case len(elsewhere) > 0 && p.mxUnknown != nil:
		return p.unknown(elsewhere[0], p.mxUnknown)
	case len(elsewhere) > 0 && isUnknown(p.hostErr):
		return p.unknown(p.hostname, p.hostErr)
	case len(elsewhere) == len(p.mx):
		return []fault{{What: "the MX of " + p.srs.domain + " is " + strings.Join(elsewhere, ", ") +
			", which is not this host", Publish: record}}
	case len(elsewhere) > 0:
		return []fault{{What: "the MX of " + p.srs.domain + " is " + strings.Join(elsewhere, ", ") +
			", too: those hosts need the same SRS secrets, for bounces and for the seals of arrival; " +
			"compare the files",
			Severity: Note}}
	}
	return nil
}

func judgePublishedKeys(p *published) []fault {
	hasKey := func(k publishedKey) bool { return k.key != nil }
	if !slices.ContainsFunc(p.keys, hasKey) {
		return unjudged
	}
	var faults []fault
	for _, k := range p.keys {
		if k.key == nil {
			continue
		}
		name := k.key.RecordName()
		if isUnknown(k.err) {
			faults = append(faults, p.unknown(name, k.err)...)
			continue
		}
		record, _ := k.key.ZoneRecord()
		testing, err := k.key.Published(k.texts)
		switch {
		case err != nil:
			faults = append(faults, fault{What: fmt.Sprintf("DKIM record %s: %v", name, err),
				Publish: record, cause: "DKIM record: " + err.Error(), about: name})
		case testing:
			faults = append(faults, fault{What: "DKIM record " + name +
				" has t=y: receivers treat signed mail as unsigned",
				Publish: record, Severity: Warning, cause: "t=y", about: name})
		}
	}
	return faults
}

func judgePublishedPolicies(p *published) []fault {
	if len(p.dmarc) == 0 {
		return unjudged
	}
	var faults []fault
	for _, d := range p.dmarc {
		record := "_dmarc." + d.domain + `. IN TXT "v=DMARC1; p=none"`
		several := 0
		for _, text := range d.texts {
			if _, ok := authn.ParseRecord(text); ok {
				several++
			}
		}
		switch {
		case several > 1:
			faults = append(faults,
				fault{What: fmt.Sprintf("_dmarc.%s has %d DMARC records: receivers ignore all of them",
					d.domain, several), Publish: record, cause: "DMARC records", about: d.domain})
		case d.result.Status == authn.TempError:
			faults = append(faults, fault{What: d.result.Reason,
				Why: "it is not known whether " + d.domain + " has a policy", cause: "no DMARC result",
				about: d.domain})
		case d.result.PolicyName == "":
			faults = append(faults, fault{What: "no DMARC record applies to " + d.domain, Publish: record,
				cause: "no DMARC record", about: d.domain})
		}
	}
	return faults
}
