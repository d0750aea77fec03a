package dnsserver

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// zone holds the nodes by name, lower case and with the final dot.
type zone map[string]*node

// node is a name. One without records is an empty non-terminal.
type node struct {
	behaviour string // "", SERVFAIL or DROP
	records   []dnsmessage.ResourceBody
}

// maxText bounds a TXT record, in octets, so that it fits into a message over TCP (65535) with its
// 255-octet strings and its name.
const maxText = 64000

// parse adds the lines of a zone text.
func (z zone) parse(text string) error {
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest := cutWord(line)
		kind, value := cutWord(rest)
		if err := z.add(name, strings.ToUpper(kind), value); err != nil {
			return fmt.Errorf("zone, line %d: %.80q: %w", n, line, err)
		}
	}
	return nil
}

// cutWord cuts s after its first word.
func cutWord(s string) (word, rest string) {
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		return s, ""
	}
	return s[:end], strings.TrimLeft(s[end:], " \t")
}

func (z zone) add(name, kind, value string) error {
	owner, err := parseName(name)
	if err != nil {
		return err
	}
	if kind == "SERVFAIL" || kind == "DROP" {
		z.node(owner.String()).behaviour = kind
		return nil
	}
	record, err := parseRecord(kind, value)
	if err != nil {
		return err
	}
	n := z.node(owner.String())
	n.records = append(n.records, record)
	return nil
}

// node gives the node of a name, and makes those above it exist (RFC 8020 section 2).
func (z zone) node(name string) *node {
	for above := name; above != ""; _, above, _ = strings.Cut(above, ".") {
		if z[above] == nil {
			z[above] = &node{}
		}
	}
	return z[name]
}

// absolute is the name by which a node is found.
func absolute(name string) string {
	folded := []byte(strings.TrimSuffix(name, ".") + ".")
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' { // only ASCII letters have a case (RFC 4343)
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

func parseName(s string) (dnsmessage.Name, error) {
	name := absolute(s)
	if name == "." {
		if s != "." {
			return dnsmessage.Name{}, errors.New("a name is missing; the root is written as a dot")
		}
		return dnsmessage.NewName(name)
	}
	if len(name) > 254 { // 255 octets as labels with their lengths (RFC 1035 section 2.3.4)
		return dnsmessage.Name{}, errors.New("a name has more than 254 octets")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		if label == "" || len(label) > 63 {
			return dnsmessage.Name{}, fmt.Errorf("label %q: labels have 1 to 63 octets", label)
		}
	}
	return dnsmessage.NewName(name)
}

func parseRecord(kind, value string) (dnsmessage.ResourceBody, error) {
	switch kind {
	case "A", "AAAA":
		return parseAddress(kind, value)
	case "TXT":
		if len(value) > maxText {
			return nil, fmt.Errorf("a TXT record of %d octets; at most %d can be sent", len(value), maxText)
		}
		var texts []string
		for len(value) > 255 { // RFC 1035 section 3.3
			texts, value = append(texts, value[:255]), value[255:]
		}
		return &dnsmessage.TXTResource{TXT: append(texts, value)}, nil
	case "MX":
		preference, host := cutWord(value)
		pref, err := strconv.ParseUint(preference, 10, 16)
		if err != nil {
			return nil, errors.New(`an MX record is "preference host"`)
		}
		name, err := parseName(host)
		return &dnsmessage.MXResource{Pref: uint16(pref), MX: name}, err
	case "CNAME":
		name, err := parseName(value)
		return &dnsmessage.CNAMEResource{CNAME: name}, err
	case "PTR":
		name, err := parseName(value)
		return &dnsmessage.PTRResource{PTR: name}, err
	case "NS":
		name, err := parseName(value)
		return &dnsmessage.NSResource{NS: name}, err
	}
	return nil, fmt.Errorf("type %q is none of A, AAAA, MX, TXT, CNAME, PTR, NS, SERVFAIL, DROP", kind)
}

func parseAddress(kind, value string) (dnsmessage.ResourceBody, error) {
	ip, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		return nil, err
	case kind == "A" && ip.Is4():
		return &dnsmessage.AResource{A: ip.As4()}, nil
	case kind == "AAAA" && ip.Is6() && ip.Zone() == "":
		return &dnsmessage.AAAAResource{AAAA: ip.As16()}, nil
	}
	return nil, fmt.Errorf("%s is no address for a record of type %s", ip, kind)
}

func typeOf(body dnsmessage.ResourceBody) dnsmessage.Type {
	switch body.(type) {
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	case *dnsmessage.MXResource:
		return dnsmessage.TypeMX
	case *dnsmessage.TXTResource:
		return dnsmessage.TypeTXT
	case *dnsmessage.CNAMEResource:
		return dnsmessage.TypeCNAME
	case *dnsmessage.PTRResource:
		return dnsmessage.TypePTR
	}
	return dnsmessage.TypeNS
}
