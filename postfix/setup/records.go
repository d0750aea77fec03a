package setup

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"

	"postmend/dkim"
	"postmend/filter/config"
	"postmend/filter/domain/publicsuffix"
	"postmend/postfix/postconf"
)

// Resolver tells what is published already.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
}

// Records are the DNS records that still have to be published.
type Records struct {
	Lines     []string // of a zone file, with remarks, in the order of the domains
	Published int      // how many more receivers find already; whether they are right is for check to say
}

// record is a line of a zone file, and what is said about it.
type record struct {
	name, kind, line string
	remark           string // before the line, without "; "
	isOf             func(text string) bool
	published        func(texts []string) bool // instead of isOf
}

// Records asks DNS which records are there; with a nil resolver none is.
func (s *Setup) Records(ctx context.Context, resolver Resolver) (Records, error) {
	all, err := s.records()
	if err != nil {
		return Records{}, err
	}
	isThere := make([]bool, len(all))
	var asking sync.WaitGroup
	for i, r := range all {
		if resolver != nil && r.line != "" {
			asking.Go(func() { isThere[i] = r.isPublished(ctx, resolver) })
		}
	}
	asking.Wait()
	var found Records
	remarked := map[string]bool{}
	for i, r := range all {
		switch {
		case isThere[i]:
			found.Published++
			continue
		case r.remark != "" && !remarked[r.remark]:
			remarked[r.remark] = true
			found.Lines = append(found.Lines, "; "+r.remark)
		}
		if r.line != "" {
			found.Lines = append(found.Lines, r.line)
		}
	}
	return found, nil
}

func (r *record) isPublished(ctx context.Context, resolver Resolver) bool {
	if r.kind == "MX" {
		mx, err := resolver.LookupMX(ctx, r.name)
		return err == nil && len(mx) > 0
	}
	texts, err := resolver.LookupTXT(ctx, r.name)
	if err != nil {
		return false
	}
	if r.published != nil {
		return r.published(texts)
	}
	return slices.ContainsFunc(texts, r.isOf)
}

func (s *Setup) records() ([]record, error) {
	h := s.home
	var all []record
	relay := s.config.Get("relayhost")
	if domain := h.config.SRS.Domain; domain != "" {
		mx := record{name: domain, kind: "MX",
			line: fmt.Sprintf("%s. IN MX 10 %s.", domain, h.config.Hostname)}
		spf := spfRecord(domain, h.spfMechanism("mx"))
		if relay != "" {
			spf.remark = `add the addresses of relayhost ` + relay +
				`, or the "include:" term that its operator gives, before "-all"`
		}
		all = append(all, mx, spf)
	}
	if !SignsBounces(s.config, s.Mode, h.config.DKIM.Keys) && relay == "" &&
		h.config.Hostname != h.config.SRS.Domain {
		spf := spfRecord(h.config.Hostname, h.spfMechanism("a"))
		spf.remark = "for bounces that Postfix itself makes"
		all = append(all, spf)
	}
	keys := slices.Clone(h.config.DKIM.Keys)
	first := slices.IndexFunc(keys, func(k config.Key) bool {
		return k.Domain == h.config.DKIM.DefaultDomain
	})
	if first > 0 {
		keys = slices.Insert(slices.Delete(keys, first, first+1), 0, h.config.DKIM.Keys[first])
	}
	policies := map[string]bool{}
	for _, k := range keys {
		record, err := keyRecord(k)
		if err != nil {
			return nil, err
		}
		all = append(all, record)
		domain, ok := publicsuffix.Registered(k.Domain)
		if !ok || policies[domain] {
			continue
		}
		policies[domain] = true
		all = append(all, policyRecord(domain))
	}
	return all, nil
}

// SignsBounces tells whether the bounces that Postfix makes pass postmend, and a key signs for their author,
// MAILER-DAEMON@$myorigin.
func SignsBounces(c *postconf.Config, mode Mode, keys []config.Key) bool {
	origin, err := c.Expand("myorigin")
	if err != nil || mode != Transport {
		return false
	}
	if strings.HasPrefix(origin, "/") { // the name of a file (postconf(5)), as Debian has it
		text, _ := os.ReadFile(origin)
		origin, _, _ = strings.Cut(string(text), "\n")
	}
	origin = canonical(strings.TrimSpace(origin))
	return slices.ContainsFunc(keys, func(k config.Key) bool {
		return origin == k.Domain || strings.HasSuffix(origin, "."+k.Domain)
	})
}

func spfRecord(domain, mechanisms string) record {
	return record{name: domain, kind: "TXT",
		line: fmt.Sprintf(`%s. IN TXT "v=spf1 %s -all"`, domain, mechanisms),
		isOf: func(text string) bool {
			version, _, _ := strings.Cut(text, " ")
			return strings.EqualFold(version, "v=spf1")
		}}
}

// keyRecord is that of a key, or a remark where the key is still to be made.
func keyRecord(k config.Key) (record, error) {
	if isMissing(k.File) {
		return record{remark: fmt.Sprintf("%s._domainkey.%s: printed when the key is made", k.Selector,
			k.Domain)}, nil
	}
	key, err := dkim.LoadKey(k.Domain, k.Selector, k.File)
	if err != nil {
		return record{}, err
	}
	line, err := key.ZoneRecord()
	return record{name: key.RecordName(), kind: "TXT", line: line, published: func(texts []string) bool {
		_, err := key.Published(texts)
		return err == nil
	}}, err
}

const policyRemark = "each record with p=none is optional: it asks receivers for nothing, but large " +
	"ones refuse bulk mail of a domain without a policy. For reports, add rua=mailto: and an address that " +
	"exists"

func policyRecord(domain string) record {
	return record{name: "_dmarc." + domain, kind: "TXT",
		line:   "_dmarc." + domain + `. IN TXT "v=DMARC1; p=none"`,
		remark: policyRemark, isOf: func(text string) bool {
			return strings.HasPrefix(strings.ToUpper(text), "V=DMARC1")
		}}
}

// spfMechanism names the addresses that mail leaves from, as far as main.cf tells them, or else says "those
// of this host" by another mechanism.
func (h *home) spfMechanism(otherwise string) string {
	var mechanisms []string
	for _, address := range h.config.OutboundAddresses {
		if ip, err := netip.ParseAddr(address); err == nil && ip.Is4() {
			mechanisms = append(mechanisms, "ip4:"+address)
		} else if err == nil {
			mechanisms = append(mechanisms, "ip6:"+address)
		}
	}
	if mechanisms == nil {
		return otherwise
	}
	return strings.Join(mechanisms, " ")
}
